"""Progress of a run: what is done, what failed, how long it takes."""
