"""Compiled inner loops (Numba) over Arrow buffers, and the tables that they read. No Python objects inside."""
