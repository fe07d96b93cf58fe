"""The selection function: which lenses a search finds, measured with lenses painted by itself.

Nothing heavy is imported here: the command line reads `lenspipe.selection.command` at every start.
"""
