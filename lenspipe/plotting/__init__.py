"""Colour images, residuals, pages of galaxies, and figures."""
