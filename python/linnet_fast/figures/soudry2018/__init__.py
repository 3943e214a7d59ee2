"""Separable data, after Soudry, Hoffer, Nacson, Gunasekar and Srebro (2018)."""
