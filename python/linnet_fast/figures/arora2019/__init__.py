"""Deep matrix factorisation, after Arora, Cohen, Hu and Luo (2019)."""
