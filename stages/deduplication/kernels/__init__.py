"""Compiled inner loops of deduplication: words, shingles, signatures, digests, candidates."""
