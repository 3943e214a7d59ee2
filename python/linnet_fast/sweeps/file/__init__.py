"""Sweeps from TOML files."""
