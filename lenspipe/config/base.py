"""What all sections of the settings have in common."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Degrees = Annotated[float, Field(ge=0, le=360)]

Fraction = Annotated[float, Field(ge=0, le=1)]

Positive = Annotated[float, Field(gt=0)]

PositiveInt = Annotated[int, Field(gt=0)]

BrickName = Annotated[str, Field(pattern=r"^\d{4}[pm]\d{3}$")]

Grade = Literal["A", "B", "C", "D"]


class Section(BaseModel):
    """A section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def merged(one, other):
    """Two maps as one: values of the second win, maps within both are merged likewise."""
    both = {
        key: merged(one[key], other[key])
        for key in one.keys() & other.keys()
        if isinstance(one[key], dict) and isinstance(other[key], dict)
    }
    return one | other | both


def as_list(value):
    """One entry as a list of it; nothing as an empty one."""
    return [] if value is None else [value] if isinstance(value, str | dict) else value
