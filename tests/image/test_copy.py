"""Copying between layouts, archives and directories: unchanged, verified, each blob once, whole or not at all."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import (
    OCI_INDEX,
    OCI_MANIFEST,
    Store,
    check_layout,
    digest_of,
    manifest_at,
    pack,
    skopeo_digest,
)

from ocikit.errors import (
    ImageNotFoundError,
    LimitExceededError,
)
from ocikit.image import Policy, SystemContext, copy, delete, inspect, parse_image_name, unpack
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ALL = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)


def run(*command: object) -> None:
    """Run a program; it succeeds."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def by_hand(path: Path) -> None:
    """Make a layout with nothing but Python."""
    store = Store()
    store.layout(path, {"app:1": store.image({"a": b"a"}, {"b": b"b" * 300_000}, platform=False)})


def by_umoci(path: Path) -> None:
    """Make a layout with umoci: an empty image and one layer."""
    run("umoci", "init", "--layout", path)
    run("umoci", "new", "--image", f"{path}:app")
    (path.parent / "file").write_text("of umoci")
    run("umoci", "insert", "--image", f"{path}:app", path.parent / "file", "/file")
    run("umoci", "tag", "--image", f"{path}:app", "app:1")
    run("umoci", "rm", "--image", f"{path}:app")


def by_skopeo(path: Path) -> None:
    """Make a layout with skopeo."""
    by_hand(path.with_suffix(".first"))
    source = f"oci:{path.with_suffix('.first')}:app:1"
    run("skopeo", "--insecure-policy", "copy", source, f"oci:{path}:app:1")


def by_buildah(path: Path) -> None:
    """Make a layout with buildah, from scratch."""
    store = path.parent / "buildah"
    tool = ["buildah", "--storage-driver", "vfs", "--root", f"{store}/root", "--runroot", f"{store}/run"]
    made = subprocess.run([*tool, "from", "scratch"], check=True, capture_output=True, text=True).stdout.strip()
    (path.parent / "file").write_text("of buildah")
    run(*tool, "copy", made, path.parent / "file", "/file")
    run(*tool, "config", "--cmd", "/file", made)
    run(*tool, "commit", "--signature-policy", _policy_file(path.parent), made, f"oci:{path}:app:1")
    run(*tool, "rm", made)


def _policy_file(directory: Path) -> Path:
    file = directory / "accept.json"
    file.write_bytes(ANY.to_json())
    return file


@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
@pytest.mark.parametrize("make", [by_hand, by_umoci, by_skopeo, by_buildah])
def test_round_trip(tmp_path: Path, make: Callable[[Path], None], compress: str) -> None:
    """Archive -> layout -> dir -> archive -> layout keeps the manifest, as skopeo sees it at every stop."""
    layout = tmp_path / "made"
    make(layout)
    expected = manifest_at(layout, "app:1")
    archive = pack(layout, tmp_path / "first.tar", compress=compress)
    stops = [
        f"oci:{tmp_path}/layout:app:1",
        f"dir:{tmp_path}/directory",
        f"oci-archive:{tmp_path}/second.tar:app:1",
        f"oci:{tmp_path}/again:app:1",
    ]
    source = f"oci-archive:{archive}:app:1"
    for stop in stops:
        result = copy.image(ANY, dest=stop, src=source)
        assert result.digest == expected
        assert digest_of(result.manifest) == expected
        assert skopeo_digest(stop) == expected
        assert not result.reused
        source = stop
    assert expected in check_layout(tmp_path / "again")
    assert check_layout(tmp_path / "layout") == check_layout(tmp_path / "again")


def test_skopeo_reads_every_blob(tmp_path: Path) -> None:
    """Skopeo copies what was copied here, which verifies every blob."""
    by_hand(tmp_path / "in")
    copy.image(ANY, dest=f"oci:{tmp_path}/layout:x", src=f"oci:{tmp_path}/in:app:1")
    copy.image(ANY, dest=f"dir:{tmp_path}/dir", src=f"oci:{tmp_path}/in:app:1")
    copy.image(ANY, dest=f"oci-archive:{tmp_path}/x.tar:x", src=f"oci:{tmp_path}/in:app:1")
    for number, name in enumerate(("oci:layout:x", "dir:dir", "oci-archive:x.tar:x")):
        transport, _, rest = name.partition(":")
        run("skopeo", "--insecure-policy", "copy", f"{transport}:{tmp_path}/{rest}", f"dir:{tmp_path}/out{number}")


def test_the_result_says_what_was_done(tmp_path: Path) -> None:
    """Blobs appear once each, copied the first time and reused the second, with sizes and types."""
    store = Store()
    same = {"same": b"same"}
    image = store.image(same, {"other": b"x"}, same, platform=False)
    layout = store.layout(tmp_path / "in", {"a": image})
    first = copy.image(ANY, dest=f"oci:{tmp_path}/out:a", src=f"oci:{layout}:a")
    manifest = json.loads(first.manifest)
    wanted = [manifest["config"], *manifest["layers"][:2]]
    found = [{"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size} for blob in first.blobs]
    assert found == wanted
    assert first.copied == first.blobs
    assert first.digest == image["digest"]
    assert first.media_type == OCI_MANIFEST
    assert str(first.reference) == f"oci:{tmp_path}/out:a"
    second = copy.image(ANY, dest=parse_image_name(f"oci:{tmp_path}/out:b"), src=f"oci:{layout}:a")
    assert second.reused == second.blobs
    assert [blob.digest for blob in second.blobs] == [blob.digest for blob in first.blobs]


# Indexes


@pytest.fixture
def multi(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a layout with an index of everything an index may have, and its parts by name."""
    store = Store()
    parts = {
        "amd64": store.image({"x": b"amd64"}),
        "arm64": store.image({"x": b"arm64"}, architecture="arm64", variant="v8"),
        "armv6": store.image({"x": b"armv6"}, architecture="arm", variant="v6"),
        "attestation": store.image({"x": b"att"}, architecture="unknown", os="unknown"),
        "s390x": store.image({"x": b"s390x"}, architecture="s390x"),
    }
    parts["nested"] = store.index(parts["s390x"], platform={"os": "linux", "architecture": "s390x"})
    names = ("amd64", "arm64", "armv6", "attestation", "nested", "arm64")
    parts["index"] = store.index(*(parts[name] for name in names))
    return store.layout(tmp_path / "in", {"multi": parts["index"]}), parts


@pytest.mark.parametrize(
    ("architecture", "variant", "expected"),
    [("amd64", None, "amd64"), ("arm64", None, "arm64"), ("arm", "v7", "armv6"), ("s390x", None, "s390x")],
)
def test_system(
    multi: tuple[Path, dict[str, Any]], tmp_path: Path, architecture: str, variant: str | None, expected: str
) -> None:
    """The image for the platform is copied and becomes the image; the index is not."""
    layout, parts = multi
    wish = SystemContext(os_choice="linux", architecture_choice=architecture, variant_choice=variant)
    options = copy.CopyOptions(source_ctx=wish)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:multi", options=options)
    assert result.digest == manifest_at(tmp_path / "out", "x") == parts[expected]["digest"]
    assert result.instances == ()
    assert len(check_layout(tmp_path / "out")) == 3


@pytest.mark.parametrize("dest", ["oci:{}/out:x", "dir:{}/out", "oci-archive:{}/out:x"])
def test_all(multi: tuple[Path, dict[str, Any]], tmp_path: Path, dest: str) -> None:
    """The index keeps its bytes; everything it lists comes along, attestations and nested indexes included."""
    layout, parts = multi
    stop = dest.format(tmp_path)
    result = copy.image(ANY, dest=stop, src=f"oci:{layout}:multi", options=ALL)
    assert result.digest == skopeo_digest(stop) == parts["index"]["digest"]
    assert result.media_type == OCI_INDEX
    order = ("amd64", "arm64", "armv6", "attestation", "s390x", "nested")
    assert list(result.instances) == [parts[name]["digest"] for name in order]
    again = copy.image(ANY, dest=f"oci:{tmp_path}/again:x", src=stop, options=ALL)
    assert again.instances == result.instances
    assert check_layout(tmp_path / "again") == check_layout(layout)


def test_specific(multi: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Only the chosen instances come along; the index stays as it is and skopeo can still use what is there."""
    layout, parts = multi
    options = copy.CopyOptions(
        image_list_selection=copy.ImageListSelection.SPECIFIC, instances=(Digest(parts["arm64"]["digest"]),)
    )
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:multi", options=options)
    assert result.digest == parts["index"]["digest"]
    assert result.instances == (parts["arm64"]["digest"],)
    files = {file.name for file in (tmp_path / "out/blobs/sha256").iterdir()}
    assert parts["arm64"]["digest"].partition(":")[2] in files
    assert parts["amd64"]["digest"].partition(":")[2] not in files
    assert len(files) == 4
    run(
        *("skopeo", "--insecure-policy", "--override-arch", "arm64", "--override-variant", "v8", "copy"),
        *(f"oci:{tmp_path}/out:x", f"dir:{tmp_path}/arm64"),
    )


def test_an_instance_that_is_not_listed(multi: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Asking for an instance that the index does not list is an error that names it."""
    layout, parts = multi
    options = copy.CopyOptions(
        image_list_selection=copy.ImageListSelection.SPECIFIC, instances=(Digest(parts["s390x"]["digest"]),)
    )
    with pytest.raises(ImageNotFoundError, match=parts["s390x"]["digest"]):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:multi", options=options)
    assert not (tmp_path / "out").exists()


def test_no_image_for_the_platform(multi: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The error lists the platforms there are."""
    options = copy.CopyOptions(source_ctx=SystemContext(os_choice="linux", architecture_choice="mips"))
    with pytest.raises(ImageNotFoundError, match=r"linux/mips, there is linux/amd64, linux/arm/v6, linux/arm64/v8"):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{multi[0]}:multi", options=options)


def test_indexes_nested_without_end(tmp_path: Path) -> None:
    """Depth has a limit, whatever is selected."""
    store = Store()
    top = store.image()
    for _ in range(9):
        top = store.index(top, platform={"os": "linux", "architecture": "amd64"})
    layout = store.layout(tmp_path / "in", {"deep": top})
    system = copy.CopyOptions(source_ctx=SystemContext(os_choice="linux", architecture_choice="amd64"))
    for options in (ALL, system):
        with pytest.raises(LimitExceededError, match="nested"):
            copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:deep", options=options)


def test_options_that_contradict_each_other() -> None:
    """Instances go with SPECIFIC and only with that; somebody has to copy."""
    digest = Digest(digest_of(b""))
    with pytest.raises(ValueError, match="needs instances"):
        copy.CopyOptions(image_list_selection=copy.ImageListSelection.SPECIFIC)
    with pytest.raises(ValueError, match="only for"):
        copy.CopyOptions(instances=(digest,))
    with pytest.raises(ValueError, match="max_parallel"):
        copy.CopyOptions(max_parallel=0)
    with pytest.raises(ValueError, match=r"expected one of ImageListSelection.SYSTEM.* found 'all'"):
        copy.CopyOptions(image_list_selection="all")  # type: ignore[arg-type]


def test_what_is_no_image_and_what_is_no_policy(tmp_path: Path) -> None:
    """A path in place of a name, and a file name in place of a policy, are errors that say what is expected."""
    by_hand(tmp_path / "in")
    name = f"oci:{tmp_path}/in:app:1"
    for call in (
        lambda: copy.image(ANY, dest=f"oci:{tmp_path}/out", src=tmp_path / "in"),  # type: ignore[arg-type]
        lambda: inspect(tmp_path / "in"),  # type: ignore[arg-type]
        lambda: delete(tmp_path / "in"),  # type: ignore[arg-type]
        lambda: unpack(tmp_path / "in", tmp_path / "root", policy=ANY),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"expected an image name such as .* found PosixPath"):
            call()
    with pytest.raises(TypeError, match=r"'policy.json': expected a policy"):
        copy.image("policy.json", dest=f"oci:{tmp_path}/out", src=name)  # type: ignore[arg-type]


# The same place on both sides


def test_a_copy_within_a_layout(tmp_path: Path) -> None:
    """A second name in the same layout, and the same name again, cost no blob and lose nothing."""
    by_hand(tmp_path / "in")
    before = check_layout(tmp_path / "in")
    for name in ("second", "app:1"):
        result = copy.image(ANY, dest=f"oci:{tmp_path}/in:{name}", src=f"oci:{tmp_path}/in:app:1")
        assert result.reused == result.blobs
        assert check_layout(tmp_path / "in") == before
    assert manifest_at(tmp_path / "in", "second") == manifest_at(tmp_path / "in", "app:1")


def test_a_copy_onto_itself(tmp_path: Path) -> None:
    """An archive and a directory may be copied onto themselves; afterwards they hold the same image."""
    by_hand(tmp_path / "in")
    for name in (f"oci-archive:{tmp_path}/x.tar:app:1", f"dir:{tmp_path}/dir"):
        first = copy.image(ANY, dest=name, src=f"oci:{tmp_path}/in:app:1")
        second = copy.image(ANY, dest=name, src=name)
        assert second.digest == first.digest == skopeo_digest(name)
        copy.image(ANY, dest=f"oci:{tmp_path}/check-{name[:3]}:x", src=name)
