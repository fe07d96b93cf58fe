"""A search over settings of the training."""
