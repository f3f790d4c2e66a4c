"""Content credentials: what is signed is read back by the C2PA library itself, and damage is told."""

import json
import os
import stat

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from idol import __version__
from idol.assets import sha256_of
from idol.clip.images import read_image, write_image
from idol.clip.video import read_video, write_video
from idol.errors import UserError
from idol.provenance import Facts, Provenance, checkpoint_digest, signing, verify
from idol.provenance.credentials import read_credentials, sidecar
from support.cli_runs import call, refused

FACTS = Facts("mini", "ab" * 32, 7)
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Each test makes its own certificate."""
    monkeypatch.setenv("IDOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noise(frames=3, side=64):
    return np.random.default_rng(0).integers(0, 256, (frames, 3, side, side)).astype(np.uint8)


@pytest.fixture
def png(tmp_path):
    write_image(tmp_path / "frame.png", noise()[0])
    return tmp_path / "frame.png"


@pytest.fixture
def mp4(tmp_path):
    write_video(tmp_path / "video.mp4", noise(), 10.0)
    return tmp_path / "video.mp4"


def store(path, kind):
    """What the C2PA library reads, by itself."""
    with c2pa.Reader(kind, path.open("rb")) as reader:
        return json.loads(reader.json()), reader.get_validation_state()


@pytest.mark.parametrize("kind", ["image/png", "video/mp4"])
def test_the_library_finds_what_was_signed(png, mp4, kind):
    path = png if kind == "image/png" else mp4
    pixels = read_image(path) if kind == "image/png" else read_video(path).frames
    Provenance().sign(path, FACTS)
    found, state = store(path, kind)
    manifest = found["manifests"][found["active_manifest"]]
    assert state == "Valid"
    program = manifest["claim_generator_info"][0]
    assert (program["name"], program["version"]) == ("idol-diffusion", __version__)
    assert manifest["title"] == path.name
    assertions = {a["label"]: a["data"] for a in manifest["assertions"]}
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", GENERATED)
    said = {"model": "mini", "checkpoint": "ab" * 32, "seed": 7, "kind": "video"}
    assert assertions["org.idol-diffusion.generation"] == said
    after = read_image(path) if kind == "image/png" else read_video(path).frames
    np.testing.assert_array_equal(after, pixels)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_changed_byte_is_told(png, mp4):
    for path, kind in ((png, "image/png"), (mp4, "video/mp4")):
        Provenance().sign(path, FACTS)
        assert verify(path).files[0].credentials.state == "valid"
        data = bytearray(path.read_bytes())
        data[-60 if path == png else -2000] ^= 1  # in the pixels
        path.write_bytes(data)
        assert store(path, kind)[1] == "Invalid"
        found = read_credentials(path)
        assert found.state == "tampered" and any("mismatch" in p for p in found.problems)


def test_a_image_saved_anew_has_lost_its_credentials(png):
    Provenance().sign(png, FACTS)
    write_image(png, read_image(png))
    assert read_credentials(png).state == "none"


def test_the_users_own_certificate_is_named_and_can_be_trusted(png, own):
    Provenance(certificate=own / "chain.pem", private_key=own / "key.pem").sign(png, FACTS)
    signature = store(png, "image/png")[0]
    (manifest,) = signature["manifests"].values()
    assert manifest["signature_info"]["issuer"] == "Studio Example"
    assert manifest["signature_info"]["alg"] == "Es384"
    found = read_credentials(png)
    assert (found.state, found.signer, found.organization) == ("valid", "desk 4", "Studio Example")
    assert read_credentials(png, own / "root.pem").state == "trusted"
    other = signing.local_signer().chain
    (own / "other.pem").write_bytes(other)
    assert read_credentials(png, own / "other.pem").state == "valid"


def test_the_certificate_made_here_is_kept_and_private(cache):
    first, second = signing.local_signer(), signing.local_signer()
    assert first == second
    kept = cache / "provenance" / "signer.pem"
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
    assert [p.name for p in kept.parent.iterdir()] == ["signer.pem"]
    leaf, root = x509.load_pem_x509_certificates(first.chain)
    leaf.verify_directly_issued_by(root)
    assert "PRIVATE" not in repr(first)


def test_a_file_that_cannot_hold_it_gets_it_beside(tmp_path):
    cloud = tmp_path / "cloud.ply"
    cloud.write_text("ply\nformat ascii 1.0\nelement vertex 0\nend_header\n")
    before = cloud.read_bytes()
    Provenance().sign(cloud, FACTS)
    assert cloud.read_bytes() == before and sidecar(cloud).name == "cloud.ply.c2pa"
    report = verify(cloud).files[0]
    assert report.credentials.state == "valid" and not report.credentials.embedded
    assert report.watermark is None and report.skipped
    cloud.write_bytes(before + b"\n")
    assert read_credentials(cloud).state == "tampered"


def test_no_way_to_a_folder_is_published(tmp_path):
    assert Facts(str(tmp_path)).to_json() == {"model": tmp_path.name, "kind": "video"}
    assert Facts("/home/someone/weights/mine/").to_json()["model"] == "mine"
    assert Facts("C:\\Users\\someone\\mine").to_json()["model"] == "mine"
    assert Facts("owner/model", seed=0).to_json() == {"model": "owner/model", "kind": "video", "seed": 0}


@pytest.mark.parametrize(
    ("origin", "actions"),
    [
        ("generated", [("c2pa.created", "trainedAlgorithmicMedia")]),
        ("edited", [("c2pa.opened", ""), ("c2pa.edited", "composite")]),
        ("drawn", [("c2pa.created", "algorithmicMedia")]),
    ],
)
def test_the_origin_decides_the_actions(png, origin, actions):
    Provenance().sign(png, Facts(kind="frame", origin=origin))
    found, state = store(png, "image/png")
    manifest = found["manifests"][found["active_manifest"]]
    said = {a["label"]: a["data"] for a in manifest["assertions"]}
    assert state == "Valid" and said["org.idol-diffusion.generation"] == {"kind": "frame"}
    taken = said["c2pa.actions.v2"]["actions"]
    assert [(a["action"], a.get("digitalSourceType", "").rsplit("/", 1)[-1]) for a in taken] == actions
    parents = [(i["relationship"], i["title"]) for i in manifest.get("ingredients", [])]
    assert parents == ([("parentOf", "given clip")] if origin == "edited" else [])
    assert read_credentials(png).sources == (actions[-1][1],)


def test_the_digest_of_a_checkpoint_is_that_of_sha256sum(tmp_path):
    files = [("unet/model.safetensors", "ab" * 32), ("model_index.json", "cd" * 32)]
    listed = tmp_path / "SHA256SUMS"
    listed.write_text("".join(f"{sha256}  {name}\n" for name, sha256 in files))
    assert checkpoint_digest(files) == sha256_of(listed)


def test_switched_off_nothing_is_touched(png):
    before, frames = png.read_bytes(), noise()
    off = Provenance(watermark=False, credentials=False)
    off.sign(png, FACTS)
    assert png.read_bytes() == before and off.mark(frames) is frames


def test_wrong_certificates_are_told_at_once(own, tmp_path):
    chain, key = own / "chain.pem", own / "key.pem"
    with pytest.raises(UserError, match="certificate: is given without `private_key`"):
        Provenance(certificate=chain)
    with pytest.raises(UserError, match="private_key: is given without `certificate`"):
        Provenance(private_key=key)
    with pytest.raises(UserError, match="certificate: .*cannot be read"):
        Provenance(certificate=tmp_path / "missing.pem", private_key=key)
    with pytest.raises(UserError, match="certificate: .*no PEM certificate"):
        Provenance(certificate=key, private_key=key)
    with pytest.raises(UserError, match="private_key: .*no PEM private key"):
        Provenance(certificate=chain, private_key=chain)
    (tmp_path / "other.pem").write_bytes(signing.local_signer().key)
    with pytest.raises(UserError, match="is not the key of"):
        Provenance(certificate=chain, private_key=tmp_path / "other.pem")
    secret = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    key.write_bytes(secret)
    with pytest.raises(UserError, match="is encrypted"):
        Provenance(certificate=chain, private_key=key)


def test_a_certificate_of_another_profile_is_refused_and_the_file_stays(png, own):
    before = png.read_bytes()
    root = own / "root.pem"  # an authority must not sign content
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bare")])
    bare = signing._certificate(name, name, key.public_key(), key, True)
    root.write_bytes(bare.public_bytes(serialization.Encoding.PEM))
    (own / "key.pem").write_bytes(signing._pem(key))
    with pytest.raises(UserError, match="cannot be signed"):
        Provenance(certificate=root, private_key=own / "key.pem").sign(png, FACTS)
    assert png.read_bytes() == before


def test_what_cannot_be_signed_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be signed"):
        Provenance().sign(tmp_path / "missing.png", FACTS)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="cannot be signed"):
        Provenance().sign(tmp_path / "text.png", FACTS)
    assert (tmp_path / "text.png").read_text() == "no image"


def test_the_command_line_tells_what_it_finds(png, mp4, tmp_path):
    provenance = Provenance()
    write_video(mp4, provenance.mark(np.full((3, 3, 128, 128), 90, np.uint8)), 10.0)
    provenance.sign(mp4, FACTS)
    done = call("verify", mp4, png, "--json")
    assert done.code == 0
    marked, clean = (report["files"][0] for report in done.json["reports"])
    assert marked["watermark"]["found"] and marked["credentials"]["state"] == "valid"
    assert marked["credentials"]["facts"]["seed"] == 7
    assert not clean["watermark"]["found"] and clean["credentials"]["state"] == "none"
    assert "watermark: found" in done.err and "untrusted signer" in done.err
    assert "that proves nothing" in done.err and "credentials: none" in done.err
    data = bytearray(mp4.read_bytes())
    data[-2000] ^= 1
    mp4.write_bytes(data)
    done = call("verify", mp4, "--json")
    assert done.code == 0 and "TAMPERED" in done.err
    assert done.json["reports"][0]["files"][0]["credentials"]["state"] == "tampered"


def test_the_command_line_refuses_what_it_cannot_examine(tmp_path, png):
    (tmp_path / "notes.txt").write_text("words")
    assert "cannot be decoded" in refused("verify", tmp_path / "notes.txt")
    assert "no such file" in refused("verify", tmp_path / "missing.png")
    assert "not the folder of a run" in refused("verify", tmp_path)
    assert "--trust" in refused("verify", png, "--trust", tmp_path / "missing.pem")


def test_a_run_folder_is_examined_whole(tmp_path):
    from support.drawn import drawn_clip

    clip, provenance = drawn_clip(0, size=96), Provenance()
    clip.save(tmp_path / "run")
    write_video(tmp_path / "run" / "depth.mp4", noise(), 10.0)
    provenance.sign(tmp_path / "run" / "depth.mp4", Facts("mini", kind="depth"))
    report = verify(tmp_path / "run")
    assert [f.path.name for f in report.files] == ["frames", "depth.mp4"]
    frames, depth = report.files
    assert frames.watermark is not None and not frames.watermark.found and not report.watermark_found
    assert depth.watermark is None and depth.credentials.facts["kind"] == "depth"
