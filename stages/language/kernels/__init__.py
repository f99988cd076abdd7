"""Compiled inner loops of language identification."""
