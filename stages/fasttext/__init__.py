"""fastText models: their file formats and their predictions, compiled. Shared by language and classifier."""
