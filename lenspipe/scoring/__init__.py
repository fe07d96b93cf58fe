"""Stage scores: the network's probability for every galaxy."""
