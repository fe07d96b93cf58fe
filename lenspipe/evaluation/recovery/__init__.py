"""Recovery: how many published candidates a search scored and selected, and why not."""
