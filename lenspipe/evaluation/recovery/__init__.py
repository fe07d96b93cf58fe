"""Recovery: what became of published candidates."""
