"""Toxicity in five dimensions: the model, its thresholds, training and evaluation."""
