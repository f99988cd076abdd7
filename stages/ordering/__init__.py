"""Sums over the documents of a group in an order, however large the group. Used by quantiles and rebalancing."""
