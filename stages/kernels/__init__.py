"""Compiled inner loops (Numba) over Arrow buffers, and the tables that they read; no Python objects."""

from pipeline.compiled import use_cache

use_cache()
