"""Names of images: what is one, what it means to a policy, and what it never is."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from builders import Store

from ocikit.errors import InvalidReferenceError, NotSupportedError
from ocikit.image import image_name, parse_image_name, transports
from ocikit.image.transports.directory import DirectoryReference
from ocikit.image.transports.oci import LayoutReference
from ocikit.image.transports.oci_archive import ArchiveReference

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["1", "a.b", "a-b_c:d@e+f", "a--b", "docker.io/library/busybox:1.37.0-glibc", "notlatest@1", "A/b/C", "v1@sha"]
NO_NAMES = ["a..b", "a---b", ".a", "a.", "a/", "/a", "a//b", "a b", "a\n", "ä", "-", "a@", "a:"]


def parse(name: str) -> LayoutReference:
    """Parse the name of an image in a layout directory."""
    reference = parse_image_name(name)
    assert isinstance(reference, LayoutReference)
    return reference


def test_the_table() -> None:
    """Transports are listed sorted, found by name, and a missing one says what there is."""
    names = ("containers-storage", "dir", "docker", "docker-archive", "docker-daemon", "oci", "oci-archive", "tarball")
    assert transports.list_names() == names
    assert tuple(transports.get(name).name for name in names) == names
    with pytest.raises(InvalidReferenceError, match=r"'foo' is unknown; known are containers-storage:, dir:"):
        transports.get("foo")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oci", "expected transport:reference"),
        ("", "expected transport:reference"),
        ("OCI:/x", "unknown"),
        (" oci:/x", "unknown"),
        ("docker:busybox", "expected // and the name of an image"),
        ("sif:x.sif", "copy the image to an oci: layout"),
        ("ostree:x", "gone everywhere"),
    ],
)
def test_what_is_no_image_name(name: str, message: str) -> None:
    """A name without a transport, or with one that is not here, is refused with what to do instead."""
    with pytest.raises(InvalidReferenceError, match=message):
        parse_image_name(name)


@pytest.mark.parametrize("path", ["\ud800", "x/\ud800", "\ud800/x"])
@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_what_no_path_can_be(transport: str, path: str) -> None:
    """Characters that no file name has are refused as those that no name of an image has are."""
    with pytest.raises(InvalidReferenceError, match="a path cannot have"):
        parse_image_name(f"{transport}:{path}")


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
@pytest.mark.parametrize("name", NAMES)
def test_names_in_layouts(tmp_path: Path, transport: str, name: str) -> None:
    """The path ends at the first colon; all of the grammar of ref.name is accepted behind it, and comes back."""
    reference = parse_image_name(f"{transport}:{tmp_path}/x:{name}")
    assert isinstance(reference, LayoutReference | ArchiveReference)
    assert (reference.path, reference.resolved, reference.name) == (f"{tmp_path}/x", f"{tmp_path}/x", name)
    assert image_name(reference) == str(reference) == f"{transport}:{tmp_path}/x:{name}"
    assert parse_image_name(image_name(reference)) == reference
    assert reference.docker_reference is None


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_in_a_layout(tmp_path: Path, transport: str, name: str) -> None:
    """Outside the grammar of ref.name a name is refused, not repaired."""
    with pytest.raises(InvalidReferenceError, match="no name of an image"):
        parse_image_name(f"{transport}:{tmp_path}/x:{name}")


def test_skopeo_has_the_same_grammar(tmp_path: Path) -> None:
    """What skopeo calls an invalid image is refused here and nothing else is."""
    layout = Store().layout(tmp_path, {})
    for name in [*NAMES, *NO_NAMES]:
        run = subprocess.run(["skopeo", "inspect", f"oci:{layout}:{name}"], capture_output=True, text=True, check=False)
        assert ("Invalid image" in run.stderr) == (name in NO_NAMES), run.stderr


def test_positions(tmp_path: Path) -> None:
    """@N is a position when it stands alone, and a decimal number; it names nothing new."""
    reference = parse(f"oci:{tmp_path}:@12")
    assert (reference.name, reference.position) == (None, 12)
    assert image_name(reference) == f"oci:{tmp_path}:@12"
    for text in ("@", "@-5", "@x", "@1x", "@+1", "@1 ", "@٣", "@9999999999"):
        with pytest.raises(InvalidReferenceError, match="position"):
            parse_image_name(f"oci:{tmp_path}:{text}")
    with pytest.raises(InvalidReferenceError, match="not positions"):
        parse_image_name(f"oci-archive:{tmp_path}:@1")
    with pytest.raises(InvalidReferenceError, match="a new one gets a name"):
        reference.new_image_destination()


def test_an_empty_name_is_none(tmp_path: Path) -> None:
    """A colon at the end is the same as none, in the directory transport it is part of the path."""
    assert parse(f"oci:{tmp_path}:") == parse(f"oci:{tmp_path}")
    assert image_name(parse(f"oci:{tmp_path}:")) == f"oci:{tmp_path}"
    directory = parse_image_name(f"dir:{tmp_path}/a:b:")
    assert isinstance(directory, DirectoryReference)
    assert directory.resolved == f"{tmp_path}/a:b:"


def test_relative_paths_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are resolved when they are parsed; the name stays as it was written."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for path in ("link", "./link", "real/../link", "link/", str(tmp_path / "link"), f"/{tmp_path}/link"):
        for name in (f"oci:{path}:a", f"oci-archive:{path}:a", f"dir:{path}"):
            reference = parse_image_name(name)
            assert isinstance(reference, LayoutReference | ArchiveReference | DirectoryReference)
            assert reference.resolved == f"{tmp_path}/real"
            assert image_name(reference) == name
    relative = parse("oci:link/new/:x")
    monkeypatch.chdir("/")
    assert relative.resolved == f"{tmp_path}/real/new"


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_paths_that_lead_nowhere(tmp_path: Path, transport: str) -> None:
    """An empty path, one with a missing parent, and a dangling link are refused."""
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in ("", f"{tmp_path}/no/x", f"{tmp_path}/dangling", f"{tmp_path}/\0"):
        with pytest.raises(InvalidReferenceError, match="path"):
            parse_image_name(f"{transport}:{path}")


def test_identities_and_namespaces(tmp_path: Path) -> None:
    """A policy sees the resolved path, whatever the image is called in it, then its parents but not the root."""
    (tmp_path / "link").symlink_to(tmp_path)
    parents = [str(parent) for parent in (tmp_path, *tmp_path.parents)][:-1]
    names = [f"oci:{tmp_path}/link/x{rest}" for rest in (":a/b:c", "", ":@3")]
    names += [f"oci-archive:{tmp_path}/link/x:a/b:c", f"oci-archive:{tmp_path}/link/x", f"dir:{tmp_path}/link/x"]
    for name in names:
        reference = parse_image_name(name)
        assert reference.policy_configuration_identity == f"{tmp_path}/x"
        assert list(reference.policy_configuration_namespaces) == parents
    assert parse_image_name("oci:/").policy_configuration_namespaces == ()
    assert parse_image_name("dir:/").policy_configuration_namespaces == ()


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_scopes(transport: str) -> None:
    """Scopes are absolute paths in their shortest form; the root is not one."""
    validate = transports.get(transport).validate_policy_configuration_scope
    for scope in ("/a", "/a/b", "/a/b:latest", "/a b/ü", "/a:b/c"):
        validate(scope)
    for scope, message in {
        "relative": "absolute",
        "": "absolute",
        "/": "empty scope",
        "/a/": "shortest form, such as '/a'",
        "/a/../b": "'/b'",
        "/a//b": "'/a/b'",
        "//a": "shortest",
        "/a/.": "'/a'",
    }.items():
        with pytest.raises(ValueError, match=message):
            validate(scope)


def test_equal_references_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """References that lead to the same image are equal and hash equally, however the path was written."""
    monkeypatch.chdir(tmp_path)
    assert parse("oci:x:a") == parse(f"oci:{tmp_path}/x:a") != parse("oci:x:b")
    assert len({parse("oci:x:a"), parse("oci:./x:a"), parse("oci:x")}) == 2


@pytest.mark.parametrize("transport", ["oci-archive", "dir"])
def test_places_that_hold_one_image_are_not_deleted_from(tmp_path: Path, transport: str) -> None:
    """Deleting says what to remove instead."""
    with pytest.raises(NotSupportedError, match="remove the"):
        transports.delete(f"{transport}:{tmp_path}/x")
