"""Stage cutouts: images of the parent sample's galaxies, a file per brick."""
