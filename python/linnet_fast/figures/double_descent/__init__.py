"""Test error over the number of samples, after Advani, Saxe, Sompolinsky (2020) and Hastie et al. (2022)."""
