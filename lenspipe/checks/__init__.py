"""Standing checks of a run: whether something has gone wrong that no error tells."""
