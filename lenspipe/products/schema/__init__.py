"""The schema of every file of a run: its path, columns and keys, and what makes it."""
