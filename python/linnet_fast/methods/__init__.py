"""Ways to go down a loss, a file for each family."""
