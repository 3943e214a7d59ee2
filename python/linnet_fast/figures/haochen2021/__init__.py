"""Label noise and sparse vectors, after HaoChen, Wei, Lee and Ma (2021)."""
