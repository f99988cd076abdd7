"""Model-based quality: a fastText classifier as a filter, the ranking of a corpus by it, and its training."""
