"""Expected numbers: how many lenses a search should find."""
