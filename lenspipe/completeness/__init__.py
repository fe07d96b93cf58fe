"""Completeness: the selection function, measured with injected lenses."""
