"""Learning curves of deep linear networks in closed form, after Saxe, McClelland, Ganguli (2014)."""
