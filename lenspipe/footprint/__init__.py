"""Stage footprint: which bricks are searched, in which chunks of the sky."""
