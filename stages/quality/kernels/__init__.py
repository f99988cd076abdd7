"""Compiled inner loops of the quality signals."""
