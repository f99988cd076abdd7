"""Compiled inner loops of the toxicity model and its training."""
