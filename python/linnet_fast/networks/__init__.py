"""Networks: chains of layers, the usual ones by name, and what they are as text."""
