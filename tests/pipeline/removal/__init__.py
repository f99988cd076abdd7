"""Tests of removals: documents taken out of finished outputs."""
