"""Neural networks from folders in Hugging Face's layout, shared by `encoder` and `toxicity`."""
