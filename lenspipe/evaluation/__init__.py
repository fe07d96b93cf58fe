"""Evaluation of models and of searches."""
