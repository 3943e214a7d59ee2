"""The geometry of optimisers on separable data, after Fan, Schmidt and Thrampoulidis (2025)."""
