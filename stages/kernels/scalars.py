"""The types of single numbers in kernels: to Numba a literal and a NumPy scalar are one, to a type checker they are not."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Int: TypeAlias = int | np.int64
"""A signed number, 64 bits once compiled. Unsigned ones are `np.uint64`: the two must not mix unseen."""
Float: TypeAlias = float | np.float32 | np.float64
Bool: TypeAlias = bool | np.bool_
