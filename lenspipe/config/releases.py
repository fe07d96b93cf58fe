"""Constants of the Legacy Surveys."""

from lenspipe.config.surveys.legacy import RELEASES

__all__ = ["BRICK_PIXELS", "MASKBITS", "PIXEL_SCALE_ARCSEC"]

PIXEL_SCALE_ARCSEC = RELEASES["dr9"].pixel_scale_arcsec
BRICK_PIXELS = RELEASES["dr9"].brick_pixels
MASKBITS = RELEASES["dr9"].mask_bits
