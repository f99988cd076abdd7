"""Upsampling by duplication count and quality (`rebalance`), and mixing to shares and budgets (`mix`)."""
