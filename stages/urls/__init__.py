"""Decisions by the address of a page: lists of domains, URLs and words."""
