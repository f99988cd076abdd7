"""Kernels over the bytes of HTML pages."""
