"""Types and functions that the sections of the settings share."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lenspipe.utils.files import expanded

Degrees = Annotated[float, Field(ge=0, le=360)]

Fraction = Annotated[float, Field(ge=0, le=1)]

Positive = Annotated[float, Field(gt=0)]

PositiveInt = Annotated[int, Field(gt=0)]

BrickName = Annotated[str, Field(pattern=r"^[0-9]{4}[pm][0-9]{3}$")]

#: Path or address, with ~ and environment variables replaced.
PathText = Annotated[str, AfterValidator(expanded)]

Grade = Literal["A", "B", "C", "D"]


class Section(BaseModel):
    """A section of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two maps recursively; values of the second override those of the first."""
    both = {
        key: merged(one[key], other[key])
        for key in one.keys() & other.keys()
        if isinstance(one[key], dict) and isinstance(other[key], dict)
    }
    return {**one, **other, **both}


def as_list(value: Any) -> Any:
    """Return a single entry as a list, and None as an empty list."""
    return [] if value is None else [value] if isinstance(value, str | dict) else value
