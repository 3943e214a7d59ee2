"""Losses of the end-to-end matrix, a file for each family."""
