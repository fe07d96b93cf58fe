"""The one exception that lenspipe raises for something its user can mend."""

__all__ = ["LenspipeError"]


class LenspipeError(Exception):
    """Bad input, said in one line: which file or key, what was found, expected, and what to do.

    Scripts and the command line print its text without a traceback.
    """
