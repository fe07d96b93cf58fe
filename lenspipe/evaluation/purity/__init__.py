"""Purity: how many galaxies pass that are not lenses."""
