"""How outputs are watermarked and signed; used by everything that writes files for others."""

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
    """Return the provenance for the arguments that every writing command takes.

    Args:
        watermark: Whether to put the invisible watermark into images and videos.
        certificate: PEM file of the certificate chain that signs; None: one of this machine.
        private_key: PEM file of its private key; given exactly if `certificate` is.

    Raises:
        UserError: If only one of certificate and key is given, or they cannot be used.
    """
    chain, key = (None if path is None else Path(path) for path in (certificate, private_key))
    return Provenance(watermark=watermark, certificate=chain, private_key=key)


@dataclass(frozen=True)
class Provenance:
    """Whether outputs are watermarked and signed, and by whom.

    Attributes:
        watermark: Whether to put the invisible watermark into images and videos; depth is never marked.
        certificate: PEM file of the user's own certificate chain; None: one that this machine creates.
        private_key: PEM file of its private key.
        credentials: Whether to sign files.

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
            self.signer()  # reports an unusable certificate before any work is done

    def signer(self) -> Signer:
        """Return the certificate and key that sign."""
        if self.certificate is None or self.private_key is None:
            return local_signer()
        return load_signer(self.certificate, self.private_key)

    def marker(self, first: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that marks all parts of one video alike, or does nothing if watermarking is off.

        Args:
            first: (f, 3, h, w) uint8 sRGB: the first part, or the complete video.

        Returns:
            A function that takes a part, (f, 3, h, w) uint8 sRGB, and returns it with the mark.

        Raises:
            UserError: If the frames have another type or shape; the returned function raises it likewise.
        """
        return Marker.fit(first).mark if self.watermark else lambda part: part

    def mark(self, video: np.ndarray) -> UInt8[np.ndarray, "f 3 h w"]:
        """Return the frames with the watermark, or unchanged if watermarking is off.

        Args:
            video: (f, 3, h, w) uint8 sRGB, a complete video; use `marker` for one that comes in parts.

        Raises:
            UserError: If the frames have another type or shape.
        """
        return self.marker(video)(video)

    def sign(self, path: str | Path, facts: Facts) -> None:
        """Sign a file in place; do nothing if credentials are off.

        Args:
            path: The file.
            facts: What is published about how it was made.

        Raises:
            UserError: If the file cannot be signed; it is then unchanged.
        """
        if self.credentials:
            sign(Path(path), facts, self.signer())
