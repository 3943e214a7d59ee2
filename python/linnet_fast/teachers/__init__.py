"""Data as a recipe: teachers that are drawn anew for every seed."""
