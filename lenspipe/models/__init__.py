"""Networks, their layers, and what may be in a model file."""
