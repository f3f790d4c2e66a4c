"""Where media came from: a watermark in the pixels, signed credentials in the file, and their check."""

from idol.provenance.credentials import Credentials, Facts, checkpoint_digest
from idol.provenance.marking import Provenance, provenance_of
from idol.provenance.report import FileReport, ProvenanceReport, verify
from idol.provenance.watermark import WatermarkDetection, detect, embed

__all__ = [
    "Credentials",
    "WatermarkDetection",
    "Facts",
    "FileReport",
    "Provenance",
    "ProvenanceReport",
    "checkpoint_digest",
    "detect",
    "embed",
    "provenance_of",
    "verify",
]
