"""Deduplication: MinHash, exact, paragraphs; clusters and who is kept of them."""
