"""How representation costs are computed: one module per family of networks, and a search."""
