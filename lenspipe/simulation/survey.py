"""The data release as which the simulated sky is written."""

from lenspipe.config.surveys.legacy import RELEASES

__all__ = ["BRICK_PIXELS", "MASK_BITS", "PIXEL_SCALE_ARCSEC", "RELEASE", "ZERO_POINT_MAG"]

RELEASE = RELEASES["dr9"]
BRICK_PIXELS = RELEASE.brick_pixels
MASK_BITS = RELEASE.mask_bits
PIXEL_SCALE_ARCSEC = RELEASE.pixel_scale_arcsec
ZERO_POINT_MAG = RELEASE.zero_point_mag
