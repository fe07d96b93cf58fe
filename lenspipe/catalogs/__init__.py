"""Lists that users give: positions, known lenses, targets, confusing galaxies."""
