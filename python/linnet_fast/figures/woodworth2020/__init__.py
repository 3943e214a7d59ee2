"""Kernel and rich regimes of diagonal networks, after Woodworth et al. (2020)."""
