"""Statistics: metrics with intervals, calibration, balance, correlation, two-sample tests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "association": ["correlate_within_strata", "sky_patches"],
        "balance": ["compare_quantities", "OBSERVING_CONDITIONS", "QUANTITIES", "quantity_values"],
        "calibration": ["fit_calibration", "read_calibration", "write_calibration"],
        "intervals": [
            "binomial_interval",
            "estimate_fraction",
            "fraction_interval",
            "purity_at",
            "purity_interval",
        ],
        "metrics": [
            "auc",
            "auc_interval",
            "completeness_at_fpr",
            "completeness_at_true_rate",
            "cross_entropy",
            "expected_calibration_error",
            "precision_recall",
            "PROPERTY_BINS",
            "reliability",
            "roc_curve",
        ],
        "two_sample": ["classifier_auc", "ring_fluxes"],
        "votes": ["vote_information", "weigh_votes"],
    },
)
