"""Compiled parts of ordering."""
