"""Directional convergence of linear networks on spherically symmetric data."""
