"""Speed of linnet_fast beside JAX, PyTorch, NumPy and Numba, with a goal for every row."""

from __future__ import annotations
