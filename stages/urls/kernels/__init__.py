"""Kernels of the URL filter."""
