"""A sweep over settings of the training."""
