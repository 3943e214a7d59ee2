"""Experiments after Z. Dai, M. Karzand, N. Srebro, NeurIPS 2021: costs of linear networks."""
