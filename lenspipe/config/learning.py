"""Sections on the samples that networks are trained on, and on scoring."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lenspipe.config.base import Fraction, Grade, PathText, Positive, PositiveInt, Section, as_list
from lenspipe.utils.files import stem

#: References in lenscat 1.1.3 that are not to lenses that can be seen from the ground.
_REFERENCES: dict[str, Literal["no lens", "unresolved", "compilation"]] = {
    # Catalogues of clusters and of X-ray sources: 13,771 of 32,838 entries have no other reference.
    "Lopes et al. (2004)": "no lens",  # NoSOCS
    "Gonzalez et al. (2001)": "no lens",  # Las Campanas Distant Cluster Survey
    "Gioia et al. (1990)": "no lens",  # EMSS
    "astro-ph/0405546": "no lens",  # Boehringer et al. 2004, REFLEX
    "astro-ph/0003219": "no lens",  # Boehringer et al. 2000, NORAS
    "Gladders et al. (2005)": "no lens",  # Red-Sequence Cluster Survey
    "Ebeling et al. (1998)": "no lens",  # ROSAT Brightest Cluster Sample
    "Ebeling et al. (2000)": "no lens",  # its extension
    "Olsen et al. (2006)": "no lens",  # clusters in the CFHTLS
    "Popesso et al. (2004)": "no lens",  # RASS-SDSS clusters
    "Menanteau et al. (2010)": "no lens",  # Southern Cosmology Survey
    "Furlanetto et al. (2012)": "no lens",  # clusters observed by the SOAR Gravitational Arc Survey
    "Cypriano et al. (2004)": "no lens",  # weak lensing by Abell clusters
    "van Breukelen et al. (2006)": "no lens",  # clusters in UKIDSS
    "Pierre et al. (2006)": "no lens",  # XMM-LSS
    # Chosen by spectra: the source is not seen beside the lens in images from the ground.
    "Talbot et al.": "unresolved",  # eBOSS and MaNGA
    "Holwerda et al. (2015)": "unresolved",  # blended spectra in GAMA
    "Bolton et al. (2008)": "unresolved",  # SLACS
    "Auger et al. (2009)": "unresolved",  # SLACS
    "2019yCat..18510048S": "unresolved",  # Shu et al. 2017, S4TM
    "Brownstein et al. (2011)": "unresolved",  # BELLS
    "1112.3683": "unresolved",  # BELLS
    "Shu et al. (2016)": "unresolved",  # BELLS GALLERY
    "Treu et al. (2011)": "unresolved",  # SWELLS
    # Found in images from space, or at other wavelengths.
    "1538-4357/aaae6a": "unresolved",  # Pourrahmani et al. 2018, HST
    "Faure et al. (2008)": "unresolved",  # HST
    "Pawase et al. (2014)": "unresolved",  # HST
    "Sand et al. (2005)": "unresolved",  # HST
    "~tt/LSD": "unresolved",  # HST
    "Negrello et al. (2016)": "unresolved",  # Herschel
    "Amvrosiadis et al. (2018)": "unresolved",  # ALMA
    # Lists of lenses that others found.
    "Moustakas et al. (2012)": "compilation",  # MasterLens
    "Cao et al. (2015)": "compilation",
    "Leaf et al. (2018)": "compilation",
}


class Catalogue(Section):
    """A catalogue of lenses, with grades; its path alone may stand for it."""

    path: PathText = Field(
        description="Table (docs/tables.md) with ra, dec and, optionally, grade; its "
        "address; or `lenscat`, the table of that package."
    )
    name: str | None = Field(
        None, description="Name used in references to its lenses. None: the name of the file."
    )
    grade: Grade | None = Field(None, description="Grade assigned to its lenses without one.")
    grades: dict[str, Grade] = Field(
        {"confident": "A", "probable": "C"},
        description="Grades that other words in its column of grades stand for.",
    )
    references: dict[str, Literal["no lens", "unresolved", "compilation"]] = Field(
        _REFERENCES,
        description="Text in an entry's reference -> its meaning. no lens: a catalogue of other "
        "objects, such as clusters; entries with no other reference are left out. unresolved: of "
        "lenses that cannot be seen from the ground; entries with no other reference, apart from "
        "compilations, are known lenses, but not trained on, and no bricks are searched for them. "
        "{}: all references are to lenses.",
    )
    ra_unit: Literal["deg", "hour"] | None = Field(
        None, description="Unit of numbers in ra. None: that of the column, or degrees."
    )

    @property
    def label(self) -> str:
        """Name used in references to its lenses: its name, or that of the file without suffixes."""
        return self.name or stem(self.path)


def _paths_as_catalogues(value: Any) -> Any:
    """Accept a path for a catalogue, and a single entry for a list."""
    entries = as_list(value)
    if not isinstance(entries, list | tuple):
        return value
    return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]


#: One or several catalogues, as written by the user.
Catalogues = Annotated[tuple[Catalogue, ...], BeforeValidator(_paths_as_catalogues)]


class Sample(Section):
    """The labelled sample."""

    known_lenses: Catalogues = Field(
        (),
        description="Catalogues of known lenses, or their paths. None: the simulated sky's list.",
    )
    confusing: tuple[PathText, ...] = Field(
        (),
        description="Lists of confusing non-lenses: ra, dec and, optionally, kind. None: the "
        "simulated sky's list.",
    )
    graded: tuple[PathText, ...] = Field(
        (),
        description="Lists of visually graded galaxies: ra, dec and grade, as written by mining "
        "and cleaning. A to C are lenses, D is not; galaxies without a grade are set aside.",
    )
    grades: tuple[Grade, ...] | None = Field(
        None, description="Grades of the lenses to train on. None: all, and lenses without a grade."
    )
    lens_types: tuple[str, ...] | None = Field(
        None, description="Tractor types of the lenses to train on. None: all of the parent sample."
    )
    kinds: tuple[str, ...] | None = Field(
        None,
        description="Kinds of the lenses to train on, as named in catalogues (lenscat: galaxy, "
        "group, cluster); lenses without a kind are included. None: all.",
    )
    merge_radius_arcsec: Positive = Field(
        5.0,
        description="Linking length with which entries of catalogues are grouped into systems, "
        "arcsec.",
    )
    match_radius_arcsec: Positive = Field(
        2.0, description="Maximum distance of a catalogue's position from its galaxy, arcsec."
    )
    exclusion_arcsec: Positive = Field(
        10.0, description="Minimum distance of non-lenses from known lenses, arcsec."
    )
    negatives_per_lens: Positive = Field(
        33.0,
        description="Maximum number of non-lenses per lens, the same for each Tractor type, region "
        "and number of exposures in the last band; confusing ones have priority.",
    )
    injected_per_lens: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Simulated lenses added to the training split, per known lens in it.",
    )
    cleaning_model: PathText | None = Field(
        None,
        description="Trained model (.keras), or `shipped`; non-lenses that it classifies as lenses "
        "are set aside for visual inspection.",
    )
    cleaning_threshold: Fraction = Field(
        0.5, description="Minimum probability at which a non-lens is set aside."
    )
    mined: PositiveInt = Field(
        100, description="Maximum number of galaxies that mining selects for visual inspection."
    )
    split_nside: int = Field(
        256, ge=1, description="HEALPix nside of the cells that are assigned to splits as a whole."
    )
    fractions: tuple[Fraction, Fraction, Fraction] = Field(
        (0.6, 0.15, 0.25),
        description="Fractions of the lenses for training, validation and test; with two numbers "
        "there is no test split, and `none` trains on all.",
    )

    @field_validator("confusing", "graded", mode="before")
    @classmethod
    def _single_as_list(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator("fractions", mode="before")
    @classmethod
    def _all_three(cls, value: Any) -> Any:
        if value in ("none", None):
            return (1.0, 0.0, 0.0)
        return [*value, 0.0] if isinstance(value, list | tuple) and len(value) == 2 else value

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError("must add up to 1")
        if value[0] == 0:
            raise ValueError("the fraction of the training split must be above 0")
        return value


class RoundFractions(Section):
    """Fractions of a round's galaxies that are chosen in each way; they add up to 1."""

    score: Fraction = Field(1.0, description="Fraction with the highest scores.")
    disagreement: Fraction = Field(
        0.0,
        description="Fraction on which the networks of an ensemble disagree most; by score where "
        "there is one network.",
    )
    diversity: Fraction = Field(
        0.0,
        description="Fraction that differ most from each other in the network's features "
        "(k-centre), among the preselected.",
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(sum(self.values()) - 1) > 1e-6:
            raise ValueError("must add up to 1")
        return self

    def values(self) -> tuple[float, float, float]:
        """Fractions by score, disagreement and diversity."""
        return self.score, self.disagreement, self.diversity


class Round(Section):
    """Rounds in which people grade, and a network is trained again (`lenspipe round`)."""

    number: PositiveInt = Field(200, description="Number of galaxies to look at in a round.")
    fractions: RoundFractions = Field(
        default_factory=RoundFractions, description="How they are chosen."
    )
    preselected: PositiveInt = Field(
        10,
        description="Galaxies with the highest scores among which different ones are chosen, in "
        "units of `number`.",
    )
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01,
        description="False-positive rate at which the recovery of two networks is compared.",
    )


class Injection(Section):
    """Arcs like those of the simulated sky, injected into cutouts of galaxies for training."""

    theta_e: Literal["dispersion", "drawn"] = Field(
        "dispersion",
        description="Einstein radii from the galaxy's velocity dispersion (estimated from its "
        "luminosity) and the halos of groups, or drawn uniformly in theta_e_range.",
    )
    theta_e_range: tuple[Positive, Positive] = Field(
        (0.5, 10.0), description="Minimum and maximum Einstein radius, arcsec."
    )

    @field_validator("theta_e_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError("the first Einstein radius must be below the second")
        return value


class Records(Section):
    """TFRecords of the labelled sample."""

    dtype: Literal["float32", "float16"] = Field(
        "float32", description="Number format of the cutouts."
    )


class Inference(Section):
    """Scoring."""

    model: PathText | None = Field(
        None,
        description="Trained model (.keras) to search with, or `shipped`, the model that comes "
        "with lenspipe (docs/shipped-model.md). None: one is trained in this run.",
    )
    batch_size: PositiveInt = Field(256, description="Cutouts per step.")
    symmetries: Literal[1, 8] = Field(
        1, description="Number of orientations of a cutout whose scores are averaged: 1, or all 8."
    )
    backend: Literal["auto", "tensorflow", "openvino"] = Field(
        "auto",
        description="Library that runs the network. auto: TensorFlow on a GPU; on a CPU OpenVINO "
        "if it is installed and faster for the first cutouts.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of OpenVINO. bfloat16 is twice as fast on CPUs that support it "
        "(others use float32) and changes scores by up to 0.01.",
    )

    @model_validator(mode="after")
    def _bfloat16_needs_openvino(self) -> Self:
        if self.precision == "bfloat16" and self.backend == "tensorflow":
            raise ValueError("precision: bfloat16 is OpenVINO's; set backend to auto or openvino")
        return self
