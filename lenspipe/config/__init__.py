"""Settings, paths, releases and flags: all that a run knows before it opens a file."""
