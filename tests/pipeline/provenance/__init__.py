"""Tests of what the provenance is made of."""
