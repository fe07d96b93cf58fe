"""Purity: false-positive rates of a search and the purity of its candidates."""
