"""Expected numbers: how many lenses a search should find, beside what it found.

Nothing heavy is imported here: the command line reads `lenspipe.expected.command` at every start.
"""
