"""Stage mosaics: PNG pages of candidates and bricks."""
