"""Representation costs, the regularizers that networks induce, and the way back."""
