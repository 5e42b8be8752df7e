"""Images made of tar files: what they are made of, what they say, and that they are the same every time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from builders import check_layout, digest_of, tar_of

from ocikit.errors import (
    BlobNotFoundError,
    CompressionError,
    DigestMismatchError,
    InvalidReferenceError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
)
from ocikit.image import (
    BlobInfo,
    Policy,
    SystemContext,
    copy,
    image_name,
    inspect,
    parse_image_name,
    transports,
    unpack,
)
from ocikit.image.transports.tarball import TarballReference
from ocikit.spec import Digest, History, Image, ImageConfig, RootFS, mediatypes

if TYPE_CHECKING:
    from pathlib import Path

POLICY = Policy.insecure_accept_anything()
LOWER, UPPER = tar_of({"lower": b"l" * 1000, "both": b"1"}), tar_of({"upper": b"u", "both": b"2"})
COMPRESSORS = {"": None, "gz": "gzip", "zst": "zstd", "bz2": "bzip2", "xz": "xz"}


def packed(path: Path, data: bytes, program: str | None) -> Path:
    """Write some data, compressed by a program."""
    if program is not None:
        data = subprocess.run([program, "-c"], input=data, check=True, capture_output=True).stdout
    path.write_bytes(data)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return the lower layer in every compression, and the upper one."""
    made = {end: packed(tmp_path / f"lower.tar.{end}", LOWER, program) for end, program in COMPRESSORS.items()}
    return made | {"upper": packed(tmp_path / "upper.tar", UPPER, None)}


def parse(text: str) -> TarballReference:
    """Parse a reference."""
    reference = parse_image_name(f"tarball:{text}")
    assert isinstance(reference, TarballReference)
    return reference


@pytest.mark.parametrize(
    ("end", "media_type"),
    [
        ("", mediatypes.IMAGE_LAYER),
        ("gz", mediatypes.IMAGE_LAYER_GZIP),
        ("zst", mediatypes.IMAGE_LAYER_ZSTD),
        ("bz2", mediatypes.IMAGE_LAYER),
        ("xz", mediatypes.IMAGE_LAYER),
    ],
)
def test_layers(files: dict[str, Path], end: str, media_type: str) -> None:
    """A file is served as it is where there is a type for that, and decompressed where there is none."""
    served = LOWER if media_type == mediatypes.IMAGE_LAYER else files[end].read_bytes()
    with parse(str(files[end])).new_image_source() as source:
        data, stated = source.get_manifest()
        manifest = json.loads(data)
        assert stated == manifest["mediaType"] == mediatypes.IMAGE_MANIFEST
        assert manifest["layers"] == [{"mediaType": media_type, "digest": digest_of(served), "size": len(served)}]
        for _ in range(2):
            stream, size = source.get_blob(BlobInfo(digest=Digest(digest_of(served))))
            with stream:
                assert (stream.read(), size) == (served, len(served))
        stream, _ = source.get_blob(BlobInfo(digest=Digest(manifest["config"]["digest"])))
        config = Image.from_json(stream.read())
        assert [str(one) for one in config.rootfs.diff_ids] == [digest_of(LOWER)]
        with pytest.raises(BlobNotFoundError):
            source.get_blob(BlobInfo(digest=Digest.from_bytes(b"other")))
        with pytest.raises(BlobNotFoundError):
            source.get_manifest(Digest.from_bytes(data))


def test_an_image_that_others_read(files: dict[str, Path], tmp_path: Path) -> None:
    """Copied to a layout, the image is read by skopeo, and unpacked the upper file covers the lower one."""
    name = f"tarball:{files['gz']}:{files['upper']}"
    result = copy.image(POLICY, dest=f"oci:{tmp_path}/out:1", src=name)
    check_layout(tmp_path / "out")
    peer = ["skopeo", "inspect", f"oci:{tmp_path}/out:1"]
    seen = json.loads(subprocess.run(peer, check=True, capture_output=True).stdout)
    assert seen["Digest"] == result.digest
    assert seen["Layers"] == [digest_of(files["gz"].read_bytes()), digest_of(UPPER)]
    unpack(f"oci:{tmp_path}/out:1", tmp_path / "root", policy=POLICY)
    assert (tmp_path / "root/both").read_bytes() == b"2"
    assert (tmp_path / "root/lower").exists()


def test_equal_files_are_equal_images(files: dict[str, Path], tmp_path: Path) -> None:
    """The image depends on bytes and on what is asked for: not on names, times or the moment."""
    other = packed(tmp_path / "other name", LOWER, None)
    assert inspect(f"tarball:{files['']}").digest == inspect(f"tarball:{other}").digest
    config = inspect(f"tarball:{other}").config
    assert config is not None
    assert str(config.created) == "1970-01-01T00:00:00Z"
    asked = SystemContext(
        architecture_choice="arm", variant_choice="v7", os_choice="plan9", destination_timestamp=86_400
    )
    config = inspect(f"tarball:{other}", asked).config
    assert config is not None
    assert (config.architecture, config.variant, config.os) == ("arm", "v7", "plan9")
    assert {str(config.created), *(str(step.created) for step in config.history)} == {"1970-01-02T00:00:00Z"}


@pytest.mark.parametrize("seconds", [1 << 40, 1 << 70, -(1 << 40)])
def test_times_that_are_none(files: dict[str, Path], seconds: int) -> None:
    """A time that no configuration can have is an error that names it."""
    with pytest.raises(ManifestError, match=str(seconds)):
        inspect(f"tarball:{files['']}", SystemContext(destination_timestamp=seconds))


def test_configuration_and_annotations(files: dict[str, Path]) -> None:
    """What with_config is given is in the image; layers are filled in, and what is missing."""
    plain = parse(f"{files['']}:{files['upper']}")
    found = inspect(plain.with_config(ImageConfig(cmd=("sh",), env=("A=b",)), annotations={"k": "v"}))
    assert found.config is not None
    assert (found.config.config.cmd, found.config.config.env) == (("sh",), ("A=b",))
    assert found.config.os == "linux"
    assert json.loads(found.raw_manifest)["annotations"] == {"k": "v"}
    steps = tuple(History(created_by=name, empty_layer=name == "none") for name in ("a", "none", "b"))
    whole = Image(architecture="riscv64", os="linux", author="me", rootfs=RootFS(), history=steps)
    config = inspect(plain.with_config(whole)).config
    assert config is not None
    assert (config.architecture, config.author, config.history) == ("riscv64", "me", steps)
    assert [str(one) for one in config.rootfs.diff_ids] == [digest_of(LOWER), digest_of(UPPER)]
    with pytest.raises(ManifestError, match="2 layers, and a history of 1"):
        plain.with_config(Image(architecture="x", os="y", rootfs=RootFS(), history=steps[:2]))
    assert plain.with_config(whole) != plain == plain.with_config()


def test_standard_input(files: dict[str, Path], tmp_path: Path) -> None:
    """Standard input is a layer as a file is, and nothing is left of it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"from ocikit import image; print(image.inspect('tarball:-:{files['upper']}').digest)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=files["gz"].read_bytes(),
        capture_output=True,
        check=True,
        env={"TMPDIR": str(scratch)},
    )
    assert done.stdout.decode().strip() == inspect(f"tarball:{files['gz']}:{files['upper']}").digest
    assert not list(scratch.iterdir())


def test_standard_input_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a standard input, with one of text, and with one that was read before, there is no image."""
    for stdin in (None, io.StringIO("text")):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(LayoutError, match="no standard input that gives bytes"):
            inspect("tarball:-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(LayoutError, match="found nothing in it"):
        inspect("tarball:-")


def test_names(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come back as they were written, and lead to the same files wherever one is by then."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("upper.tar")
    reference = parse("lower.tar.gz:link:-")
    assert image_name(reference) == "tarball:lower.tar.gz:link:-"
    assert reference.resolved == (str(files["gz"]), str(files["upper"]), "-")
    assert parse(reference.string_within_transport) == reference == parse(f"{files['gz']}:upper.tar:-")
    assert hash(reference) == hash(parse(f"{files['gz']}:upper.tar:-"))
    assert (reference.policy_configuration_identity, reference.policy_configuration_namespaces) == ("", ())
    for text in ("", ":", "link:", ":link", "-:-", "no/such/place", "a\0b"):
        with pytest.raises(InvalidReferenceError):
            parse(text)
    with pytest.raises(LimitExceededError):
        parse(":".join(["link"] * 513))
    for scope in ("/", str(tmp_path), "x"):
        with pytest.raises(ValueError, match="can never match"):
            transports.get("tarball").validate_policy_configuration_scope(scope)


def test_only_read(files: dict[str, Path]) -> None:
    """There is nothing to write and nothing to delete."""
    reference = parse(str(files["upper"]))
    with pytest.raises(NotSupportedError, match="not written"):
        reference.new_image_destination()
    with pytest.raises(NotSupportedError, match="remove the files"):
        reference.delete_image()


def damaged(data: bytes) -> bytes:
    """Return a tar with a wrong checksum."""
    return data[:10] + b"X" + data[11:]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", LayoutError, "found nothing in it"),
        (b"no tar file at all" * 100, LayoutError, "expected a tar file"),
        (damaged(LOWER), LayoutError, "expected a tar file"),
        (LOWER[:100], LayoutError, "expected a tar file"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 50, CompressionError, "damaged"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, CompressionError, "damaged"),
    ],
)
def test_what_is_no_tar_file(tmp_path: Path, data: bytes, error: type[Exception], message: str) -> None:
    """What is no tar file, or damaged, is refused when the image is opened, by the name of the file."""
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        inspect(f"tarball:{tmp_path}/x")
    assert f"{tmp_path}/x" in str(caught.value)


def test_places_that_are_no_files(tmp_path: Path) -> None:
    """Directories are refused, and what is missing is missing."""
    with pytest.raises(LayoutError, match="expected a tar file"):
        inspect(f"tarball:{tmp_path}")
    with pytest.raises(FileNotFoundError):
        inspect(f"tarball:{tmp_path}/none")


def test_a_long_name_at_the_beginning(tmp_path: Path) -> None:
    """A file that begins with a large extended header, or with nothing but an end, is a tar file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("x")
        member.pax_headers = {"comment": "c" * 1_000_000}
        tar.addfile(member)
    for data in (stream.getvalue(), b"\0" * 1024):
        (tmp_path / "x").write_bytes(data)
        assert inspect(f"tarball:{tmp_path}/x").layers[0].size == len(data)


def test_a_file_that_changes(files: dict[str, Path]) -> None:
    """What changes after its digest is known is not what the digest says, and what shrinks is an error."""
    digest = Digest(digest_of(UPPER))
    with parse(str(files["upper"])).new_image_source() as source:
        with files["upper"].open("r+b") as file:
            file.write(b"changed")
        stream, _ = source.get_blob(BlobInfo(digest=digest))
        with stream, pytest.raises(DigestMismatchError):
            digest.verify(stream.read())
        os.truncate(files["upper"], 100)
        stream, _ = source.get_blob(BlobInfo(digest=digest))
        with stream, pytest.raises(LayoutError, match="became shorter"):
            stream.read()
