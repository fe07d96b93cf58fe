"""Statistics: metrics with intervals, calibration, balance, correlation, two-sample tests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "association": ["correlate_within_strata", "sky_patches"],
        "balance": ["compare_quantities", "OBSERVING_CONDITIONS", "QUANTITIES", "quantity_values"],
        "calibration": ["fit_calibration", "read_calibration", "write_calibration"],
        "metrics": [
            "auc",
            "completeness_at_fpr",
            "completeness_interval",
            "cross_entropy",
            "expected_calibration_error",
            "fraction_interval",
            "precision_recall",
            "PROPERTY_BINS",
            "purity_at",
            "purity_interval",
            "reliability",
            "roc_curve",
            "wilson_interval",
        ],
        "two_sample": ["classifier_auc", "ring_fluxes"],
    },
)
