"""Compiled loops of the extraction."""
