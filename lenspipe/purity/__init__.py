"""Purity: what passes without being a lens, measured on the search itself, and what to expect.

Nothing heavy is imported here: the command line reads `lenspipe.purity.command` at every start.
"""
