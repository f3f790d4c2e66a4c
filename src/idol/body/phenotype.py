"""Shape parameters of a body, those of MakeHuman and Anny."""

from __future__ import annotations

from dataclasses import dataclass

ADULT = 2 / 3
"""The lowest value of `age`: 25 years."""


@dataclass(frozen=True)
class Phenotype:
    """Shape parameters in [0, 1], for adults only.

    An `age` of 2/3 is 25 years, 1 is 90 years. `african`, `asian` and `caucasian` are relative weights of the
    shape model's three base forms.

    Raises:
        ValueError: If the age is below `ADULT`.
    """

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float
    cupsize: float
    firmness: float
    african: float
    asian: float
    caucasian: float

    def __post_init__(self) -> None:
        if self.age < ADULT:
            raise ValueError(f"age: found {self.age}, that of a minor, expected at least {ADULT}")

    @property
    def years(self) -> float:
        """Age in years, between the shape model's anchors at 25 and 90."""
        return 25 + (self.age - ADULT) / (1 - ADULT) * 65


AVERAGE_ADULT = Phenotype(
    gender=0.5,
    age=ADULT + 0.05,
    muscle=0.5,
    weight=0.5,
    height=0.5,
    proportions=0.5,
    cupsize=0.45,
    firmness=0.6,
    african=1 / 3,
    asian=1 / 3,
    caucasian=1 / 3,
)
"""The body that is assumed for a person of unknown shape."""
