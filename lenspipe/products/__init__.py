"""The files that a run leaves: their columns, readers and writers."""
