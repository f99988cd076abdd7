"""Scores by a neural network: any sequence classifier or regressor in Hugging Face's layout."""
