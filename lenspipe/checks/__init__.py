"""Standing checks: what may be wrong with a run without any error."""
