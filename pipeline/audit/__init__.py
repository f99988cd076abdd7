"""Verifying an output: named checks over its files, and the way of one document through a run."""
