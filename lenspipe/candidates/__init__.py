"""Stage candidates: threshold, merging, matching, names, ranks."""
