"""What is done to everything that is written: the one thing that generation, rendering and the app call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from idol.errors import UserError
from idol.provenance.credentials import Facts, sign
from idol.provenance.signing import Signer, load_signer, local_signer
from idol.provenance.watermark import Marker


def provenance_of(
    watermark: bool, certificate: str | Path | None = None, private_key: str | Path | None = None
) -> Provenance:
    """From the arguments that every writing verb takes.

    Raises:
        UserError: As of `Provenance`.
    """
    chain, key = (None if path is None else Path(path) for path in (certificate, private_key))
    return Provenance(watermark=watermark, certificate=chain, private_key=key)


@dataclass(frozen=True)
class Provenance:
    """Whether outputs are marked and signed, and by whom.

    Attributes:
        watermark: Put the invisible mark into images and videos; depth is never marked.
        certificate: PEM of the user's own certificate chain; one of this machine's making by default.
        private_key: PEM of its key.
        credentials: Sign files.

    Raises:
        UserError: If only one of certificate and key is given, or they cannot be used.
    """

    watermark: bool = True
    certificate: Path | None = None
    private_key: Path | None = None
    credentials: bool = True

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            alone, other = ("certificate", "private_key")[:: 1 if self.certificate else -1]
            raise UserError(alone, f"is given without `{other}`", "give both or none")
        if self.credentials and self.certificate is not None:
            self.signer()  # a wrong certificate is told before any work is done

    def signer(self) -> Signer:
        """Who signs."""
        if self.certificate is None or self.private_key is None:
            return local_signer()
        return load_signer(self.certificate, self.private_key)

    def marker(self, first: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """What marks all parts of one video alike, or leaves them as they are where marking is switched off.

        Args:
            first: (f, 3, h, w) uint8 sRGB: the first part, or the whole video.

        Returns:
            A function of a part, (f, 3, h, w) uint8 sRGB, that returns it marked.

        Raises:
            UserError: If they are no such frames; the returned function raises it likewise.
        """
        return Marker.fit(first).mark if self.watermark else lambda part: part

    def mark(self, video: np.ndarray) -> UInt8[np.ndarray, "f 3 h w"]:
        """The frames with the watermark, or as they are where it is switched off.

        Args:
            video: (f, 3, h, w) uint8 sRGB, a whole one; for one that comes in parts take a `marker`.

        Raises:
            UserError: If they are none such.
        """
        return self.marker(video)(video)

    def sign(self, path: str | Path, facts: Facts) -> None:
        """Signs a written file in place, or does nothing where credentials are switched off.

        Args:
            path: The file.
            facts: What may be published of how it was made.

        Raises:
            UserError: If it cannot be signed; the file is then as before.
        """
        if self.credentials:
            sign(Path(path), facts, self.signer())
