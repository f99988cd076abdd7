"""Compiled inner loops of rebalancing."""
