"""C2PA content credentials: signed statements of how a file was made, inside the file or beside it.

Everything happens on this machine: no time stamp authority is contacted, nothing is fetched or reported.
Formats that cannot contain a manifest (PLY, GLB, EXR, MKV, ...) get it in a second file with `.c2pa` appended
to the name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import c2pa

from idol import __version__
from idol.atomic_io import atomic_file
from idol.errors import UserError
from idol.provenance.signing import Signer

ASSERTION_LABEL = "org.idol-diffusion.generation"
"""Label of the assertion that contains the `Facts`."""

Origin = Literal["generated", "edited", "drawn"]
"""How a file's content was made: by a model, by rendering a given clip, or by drawing (skeletons)."""

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DIGITAL_SOURCE_TYPES: dict[Origin, str] = {
    "generated": _IPTC + "trainedAlgorithmicMedia",
    "edited": _IPTC + "composite",  # captured and generated elements: of a given clip neither is known
    "drawn": _IPTC + "algorithmicMedia",
}
"""IPTC's digital source types."""

CredentialState = Literal["none", "valid", "trusted", "tampered"]

_FORMATS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
}
_OTHER = "application/octet-stream"  # signed as plain bytes
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_GIVEN_CLIP = "given clip"  # all that is published about what somebody else made
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Facts:
    """What the credentials publish about how a file was made.

    Attributes:
        model: Name of the checkpoint; "" if there was none or it is unknown. Of a folder only the last part
            of its path is published.
        checkpoint: SHA-256 of the checkpoint (`checkpoint_digest`); "" if unknown.
        seed: Seed of the initial noise; None if there was none.
        kind: What the file contains: "video", "depth", "preview", "stereo", ...
        origin: Whether a model made what it shows; determines the actions and their digital source type.
    """

    model: str = ""
    checkpoint: str = ""
    seed: int | None = None
    kind: str = "video"
    origin: Origin = "generated"

    def to_json(self) -> dict[str, Any]:
        """Return the assertion without unknown values, and without the origin, which the actions express."""
        known = {**asdict(self), "model": _public_name(self.model)}
        return {key: value for key, value in known.items() if value not in (None, "") and key != "origin"}


def checkpoint_digest(files: Iterable[tuple[str, str]]) -> str:
    """Return one SHA-256 for all files of a checkpoint: that of the output of `sha256sum`.

    Args:
        files: Name and SHA-256 of each file, in the order of `run.json`.
    """
    listed = "".join(f"{sha256}  {name}\n" for name, sha256 in files)
    return hashlib.sha256(listed.encode()).hexdigest()


@dataclass(frozen=True)
class Credentials:
    """The content credentials that were found in a file, or beside it.

    Attributes:
        state: "none"; "valid": unchanged since signing, by a signer nobody vouches for; "trusted": unchanged,
            by a signer that a given authority vouches for; "tampered": file or manifest changed since
            signing.
        signer: Common name of the certificate, "" if there is none.
        organization: Organization of the certificate.
        generator: The program that made the claim.
        sources: IPTC digital source types of the actions, the last part of each URI.
        facts: The assertion labeled `ASSERTION_LABEL`, {} if there is none.
        problems: C2PA's validation failures, except for missing trust.
        embedded: Whether the manifest is in the file itself, not beside it.
    """

    state: CredentialState = "none"
    signer: str = ""
    organization: str = ""
    generator: str = ""
    sources: tuple[str, ...] = ()
    facts: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()
    embedded: bool = True


def sidecar(path: Path) -> Path:
    """Return the path of the manifest of a file that cannot contain it."""
    return path.with_name(path.name + ".c2pa")


def sign(path: Path, facts: Facts, signer: Signer) -> Path:
    """Sign a file in place; the file, or the manifest beside it, is replaced atomically.

    Args:
        path: Any file; PNG, JPEG, WebP, GIF, TIFF, MP4 and MOV contain their manifest themselves.
        facts: What to publish.
        signer: Certificate and key that sign.

    Returns:
        The file that contains the manifest.

    Raises:
        UserError: If the file is missing or damaged, or the certificate is unsuitable for signing.
    """
    kind = _FORMATS.get(path.suffix.lower())
    builder = c2pa.Builder(_manifest(path.name, facts), _context())
    if kind is None:
        builder.set_no_embed()
    target = sidecar(path) if kind is None else path
    try:
        info = c2pa.C2paSignerInfo(signer.algorithm.encode(), signer.chain, signer.key, None)
        with c2pa.Signer.from_info(info) as native, path.open("rb") as source, atomic_file(target) as new:
            with (new if kind else new.with_name("unsigned")).open("w+b") as file:
                manifest = builder.sign(native, kind or _OTHER, source, file)
            if kind is None:
                new.write_bytes(manifest)
            shutil.copymode(path, new)
        return target
    except c2pa.C2paError as error:
        remedy = "give an undamaged file and a certificate of C2PA's profile"
        raise UserError(str(path), f"cannot be signed ({error})", remedy) from error
    except OSError as error:
        raise UserError(
            str(path), f"cannot be signed ({error.strerror})", "check the folder and the free disk space"
        ) from error


def _manifest(title: str, facts: Facts) -> dict[str, Any]:
    program = {"name": "idol-diffusion", "version": __version__}
    made = {"digitalSourceType": DIGITAL_SOURCE_TYPES[facts.origin], "softwareAgent": program}
    actions: list[dict[str, Any]] = [{"action": "c2pa.created", **made}]
    ingredients = []
    if facts.origin == "edited":  # C2PA requires content that was not created to open its parent first
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_GIVEN_CLIP]}}
        actions = [opened, {"action": "c2pa.edited", **made}]
        ingredients = [{"label": _GIVEN_CLIP, "title": _GIVEN_CLIP, "relationship": "parentOf"}]
    assertions = [
        {"label": "c2pa.actions", "data": {"actions": actions}},
        {"label": ASSERTION_LABEL, "data": facts.to_json()},
    ]
    return {
        "claim_generator_info": [program],
        "title": title,
        "ingredients": ingredients,
        "assertions": assertions,
    }


def _public_name(model: str) -> str:
    """Return the last part of a folder's path; hub ids ("owner/name") and plain names are unchanged."""
    is_place = Path(model).exists() or model.startswith(("/", ".", "~")) or "\\" in model
    return model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if is_place else model


def _context(trust: Path | None = None) -> c2pa.Context:
    settings: dict[str, Any] = {"verify": _OFFLINE, "builder": {"thumbnail": {"enabled": False}}}
    if trust is not None:
        try:
            settings["trust"] = {"user_anchors": trust.read_text()}
        except (OSError, ValueError) as error:
            raise UserError("trust", f"{trust} cannot be read", "give a file of PEM certificates") from error
    return c2pa.Context.from_dict(settings)


def read_credentials(path: Path, trust: Path | None = None) -> Credentials:
    """Read the credentials of a file and check that it is unchanged since signing.

    Args:
        path: The file; a manifest beside it takes precedence over one inside.
        trust: PEM file of the authorities whose signers are trusted; none by default.

    Raises:
        UserError: If a file cannot be read.
    """
    context, kind = _context(trust), _FORMATS.get(path.suffix.lower())
    beside = sidecar(path)
    try:
        with path.open("rb") as file:
            if beside.is_file():
                return _read(kind or _OTHER, file, beside.read_bytes(), context)
            return Credentials() if kind is None else _read(kind, file, None, context)
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "give another file") from error


def _read(kind: str, file: Any, manifest: bytes | None, context: c2pa.Context) -> Credentials:
    embedded = manifest is None
    try:
        with c2pa.Reader(kind, file, manifest, context=context) as reader:
            return _parse_store(json.loads(reader.json()), embedded)
    except c2pa.C2paError.ManifestNotFound:
        return Credentials()
    except c2pa.C2paError as error:  # there is a manifest, but it is damaged
        return Credentials("tampered", problems=(str(error),), embedded=embedded)


def _parse_store(store: dict[str, Any], embedded: bool) -> Credentials:
    manifest = store["manifests"][store["active_manifest"]]
    signature = manifest.get("signature_info", {})
    data = {a["label"]: a["data"] for a in manifest.get("assertions", [])}
    actions = [a for label in data if label.startswith("c2pa.actions") for a in data[label]["actions"]]
    sources = (a.get("digitalSourceType", "").rsplit("/", 1)[-1] for a in actions)
    programs = (
        f"{g['name']} {g.get('version', '')}".strip() for g in manifest.get("claim_generator_info", [])
    )
    status = [s for s in store.get("validation_status", []) if s["code"] != _UNTRUSTED]
    states: dict[str, CredentialState] = {"Valid": "valid", "Trusted": "trusted"}
    return Credentials(
        state=states.get(store.get("validation_state", ""), "tampered"),
        signer=signature.get("common_name") or "",
        organization=signature.get("issuer") or "",
        generator=", ".join(programs),
        sources=tuple(source for source in sources if source),
        facts=data.get(ASSERTION_LABEL, {}),
        problems=tuple(f"{s['code']}: {s.get('explanation', '')}" for s in status),
        embedded=embedded,
    )
