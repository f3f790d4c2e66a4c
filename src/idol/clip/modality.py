"""The modalities of a clip, in the order of the `m` axis."""

from enum import IntEnum


class Modality(IntEnum):
    """A modality; the value is its position on the `m` axis and its label y in the U-Net (Sec. 3.1)."""

    VIDEO = 0
    DEPTH = 1

    @property
    def other(self) -> "Modality":
        """The modality that is generated where this one is known."""
        return Modality(1 - self)
