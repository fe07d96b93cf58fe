"""Stage training: networks, ensembles, and sweeps of settings."""
