"""The command line, and how the workflow runs its scripts."""
