"""The survey itself: bricks, Tractor catalogues, coadds, sweeps and the cutout service."""
