"""Compiled inner loops (Numba) over Arrow buffers, and the tables that they read; no Python objects."""
