"""Follow-up: sheets on single candidates and tables of targets."""
