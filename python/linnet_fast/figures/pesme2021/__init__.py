"""The noise of batches on diagonal networks, after Pesme, Pillaud-Vivien and Flammarion (2021)."""
