"""Stage parent: which galaxies are looked at, and what each cut removes."""
