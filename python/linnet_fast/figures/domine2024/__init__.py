"""From lazy to rich, after Domine, Anguita, Proca, Braun, Kunin, Mediano and Saxe (2024)."""
