"""Groups of columns that several tables share. A column is described here once."""

from lenspipe.products.schema.declarations import Column

__all__ = [
    "CONDITIONS", "FLAGS", "GRADE", "IDENTITY", "MAGNITUDES", "POSITION", "RANKING",
    "SCORES", "TRACTOR", "TRUTH", "WITH_TYPE", "only",
]  # fmt: skip


def only(columns: tuple[Column, ...], *names: str) -> tuple[Column, ...]:
    """Choose columns by name, in the order of the names."""
    by_name = {column.name: column for column in columns}
    return tuple(by_name[name] for name in names)


#: Which galaxy it is.
IDENTITY = (
    Column("id", "str", "", "release-brickid-objid: `9010-506100-17`"),
    Column("release", "int16", "", "processing run of the release, as in the Tractor catalogue"),
    Column("brickid", "int32", "", "number of the brick, as in the Tractor catalogue"),
    Column("objid", "int32", "", "number of the object in the brick"),
    Column("brick", "str", "", "name of the brick"),
    Column("region", "str", "", "`north` or `south`"),
    Column("ra", "float64", "deg", "right ascension, J2000"),
    Column("dec", "float64", "deg", "declination, J2000"),
)
TYPE = Column("type", "str", "", "Tractor type", "src.morph.type")
WITH_TYPE = (*IDENTITY, TYPE)
POSITION = only(IDENTITY, "ra", "dec")

#: What the Tractor catalogue says of a galaxy. A further column is one line here (and its
#: source in `lenspipe.survey.tractor`).
TRACTOR = (
    TYPE,
    Column("mag_<magband>", "float32", "mag",
           "AB magnitude, not corrected for extinction; NaN where the flux is not positive; z is "
           "always included"),
    Column("sersic", "float32", "", "Sérsic index; NaN for types other than SER"),
    Column("shape_r", "float32", "arcsec",
           "half-light radius; up to DR8 that of the profile of the type"),
    Column("shape_e1", "float32", "", "ellipticity component 1"),
    Column("shape_e2", "float32", "", "ellipticity component 2"),
    Column("nobs_<band>", "int16", "", "number of exposures at the centre"),
    Column("galdepth_<band>", "float32", "nanomaggy^-2",
           "inverse variance of the flux of a small galaxy"),
    Column("psfsize_<band>", "float32", "arcsec",
           "seeing, FWHM; NaN where the release does not provide it"),
    Column("maskbits", "int32", "", "the survey's MASKBITS"),
    Column("ebv", "float32", "mag",
           "Galactic reddening E(B-V); NaN where the release does not provide it"),
)  # fmt: skip
#: Magnitudes and observing conditions, which tables of chosen galaxies repeat.
CONDITIONS = only(TRACTOR, "mag_<magband>", "nobs_<band>", "galdepth_<band>", "psfsize_<band>")
MAGNITUDES = only(TRACTOR, "mag_<magband>", "nobs_<band>")
FLAGS = Column("flags", "int32", "", "quality flags of the cutout ([bits](#flags))")

#: Columns that one scoring adds.
SCORES = (
    Column("p_<member>", "float32", "",
           "ensembles only: probability of being a lens from each network", optional=True),
    Column("p_<model>", "float32", "", "probability of being a lens from that model, 0 to 1"),
    Column("p", "float32", "", "probability on which the search is based"),
    Column("p_calibrated", "float32", "",
           "`p` after the model's [calibration](#how-well-a-model-does); NaN if it has none"),
)  # fmt: skip

GRADE = Column("grade", "str", "", "A, B or C for a lens, D for a non-lens; empty if not graded")
#: List of galaxies that people grade.
RANKING = (
    Column("rank", "int64", "", "rank by `p`, from 1"),
    Column("name", "str", "", "IAU-style name of the position"),
    IDENTITY[0],
    *POSITION,
    IDENTITY[4],
    Column("p", "float64", "", "score, rounded to six decimals"),
    GRADE,
)

#: Truth of an injected lens, as `lenspipe.simulation.injection.inject` draws it.
TRUTH = (
    Column("z_lens", "float64", "", "redshift of the galaxy"),
    Column("z_source", "float64", "", "redshift of the source"),
    Column("sigma_v", "float64", "km/s", "velocity dispersion"),
    Column("theta_e_arcsec", "float64", "arcsec", "Einstein radius"),
    Column("mass_e1", "float64", "", "ellipticity component 1 of the mass, defined as Tractor's"),
    Column("mass_e2", "float64", "", "ellipticity component 2 of the mass"),
    Column("shear_1", "float64", "", "external shear, x to the West and y to the North"),
    Column("shear_2", "float64", "", "external shear, second component"),
    Column("beta_1", "float64", "theta_E", "position of the source, to the West"),
    Column("beta_2", "float64", "theta_E", "position of the source, to the North"),
    Column("source_r_half", "float64", "arcsec", "half-light radius of the source"),
    Column("clump_seed", "int64", "", "seed of the shape of the source"),
    Column("source_mag_<band>", "float64", "mag", "AB magnitude of the source without lensing"),
    Column("weight", "float64", "",
           "expected number of such lenses behind the galaxy divided by the probability of drawing "
           "one"),
    Column("magnification", "float64", "", "total magnification"),
    Column("arc_snr", "float64", "", "signal-to-noise ratio of the arcs in the best band"),
    Column("snr_band", "str", "", "that band"),
    Column("theta_e_from", "str", "",
           "`dispersion`: the Einstein radius follows from the velocity dispersion; `drawn`: it "
           "was drawn uniformly"),
    Column("arc_mag_<band>", "float64", "mag", "AB magnitude of all lensed images together"),
    Column("lens_rate", "float64", "",
           "expected number of lensed sources behind the galaxy, visible or not"),
)  # fmt: skip
