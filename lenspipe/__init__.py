"""Find strong gravitational lenses in the DESI Legacy Imaging Surveys."""

__version__ = "0.1.0"
