"""Quantiles of scores within groups of documents."""
