"""Compiled inner loops (Numba) that kernels of several stages share, and the Unicode tables that they read."""
