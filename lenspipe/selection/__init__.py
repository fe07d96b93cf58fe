"""The selection function: which lenses the search finds, measured with painted ones."""
