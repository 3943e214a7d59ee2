"""Experiments after G. Gidel, F. Bach, S. Lacoste-Julien, NeurIPS 2019: ranks learned one by one."""
