"""Statistics: metrics with intervals, calibration, balance, association, two-sample tests."""
