"""Experiments after D. Lin, R. Sun, Z. Zhang, NeurIPS 2021: how fast directions converge."""
