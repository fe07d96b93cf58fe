"""Visual inspection: candidates graded by people in their browser."""
