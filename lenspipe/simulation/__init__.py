"""The simulated sky: galaxies, confusing cases and lenses, written as a Legacy Surveys DR9 tree."""
