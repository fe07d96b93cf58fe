"""Stage sample: the labelled sample that networks are trained on."""
