"""Random images, copied with random options: a plan says what a copy does, and what is written is whole."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Store,
    check_layout,
    config_of,
    digest_of,
    tar_of,
)
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from ocikit.errors import OCIKitError
from ocikit.image import BlobInfo, Policy, SystemContext, copy, inspect
from ocikit.image.compression import CompressedStream, Compression, DecompressedStream
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from builders import Descriptor

ANY = Policy.insecure_accept_anything()
SELECTIONS = copy.ImageListSelection

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda tar: tar,
    "tar+gzip": lambda tar: gzip.compress(tar, mtime=0),
    "tar+zstd": lambda tar: CompressedStream(io.BytesIO(tar), Compression.ZSTD).read(),
    "tar+bzip2": bz2.compress,
}
OCI_TYPES = [f"application/vnd.oci.image.layer.v1.{kind}" for kind in ("tar", "tar+gzip", "tar+zstd")]
DOCKER_TYPES = [f"application/vnd.docker.image.rootfs.diff.{kind}" for kind in ("tar", "tar.gzip")]

layers = st.lists(
    st.tuples(st.sampled_from([b"a", b"b" * 3000, b"c"]), st.sampled_from([*PACKED]), st.integers(0, 2)), max_size=3
)
images = st.tuples(
    layers, st.booleans(), st.sampled_from(["amd64", "arm64"]), st.dictionaries(st.just("a"), st.just("b"))
)
contexts = st.builds(
    SystemContext,
    compression_format=st.sampled_from([None, None, "gzip", "zstd"]),
    compression_level=st.sampled_from([None, 1]),
    os_choice=st.just("linux"),
    architecture_choice=st.just("amd64"),
)


def add_image(store: Store, image: tuple[Any, ...]) -> Descriptor:
    """Add an image; the type of a layer is sometimes not that of its bytes."""
    contents, docker, architecture, annotations = image
    made, diff_ids = [], []
    for content, packed, claim in contents:
        tar = tar_of({"f": content})
        types = DOCKER_TYPES if docker else OCI_TYPES
        own = [one for one in types if one.endswith((packed, packed.replace("+", ".")))]
        made.append(store.blob(own[0] if own and claim else types[claim % len(types)], PACKED[packed](tar)))
        diff_ids.append(digest_of(tar))
    config = config_of(*diff_ids) | {"architecture": architecture}
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": store.json(DOCKER_CONFIG if docker else OCI_CONFIG, config),
        "layers": made,
        **({"annotations": annotations} if annotations and not docker else {}),
    }
    platform = {"os": "linux", "architecture": architecture}
    return store.json(document["mediaType"], document, platform=platform)


@st.composite
def option_sets(draw: st.DrawFn, several: bool, listed: list[str]) -> copy.CopyOptions:  # noqa: FBT001 - a strategy
    """Draw options that do not contradict each other."""
    selection = draw(st.sampled_from([*SELECTIONS] if several else [SELECTIONS.SYSTEM]))
    everything = selection is SELECTIONS.ALL
    return copy.CopyOptions(
        image_list_selection=selection,
        instances=(Digest(draw(st.sampled_from(listed))),) if selection is SELECTIONS.SPECIFIC else (),
        sparse_manifest_list_action=draw(st.sampled_from([*copy.SparseManifestListAction])),
        source_ctx=SystemContext(os_choice="linux", architecture_choice="amd64"),
        destination_ctx=draw(contexts),
        force_manifest_mime_type=draw(st.sampled_from([None, None, OCI_MANIFEST, DOCKER_MANIFEST])),
        ensure_compression_variants_exist=(copy.CompressionVariant(compression="zstd"),)
        if everything and draw(st.booleans())
        else (),
        verify_diff_ids=draw(st.booleans()),
        link_blobs=draw(st.booleans()),
        max_parallel=draw(st.sampled_from([1, 4])),
    )


def plain_layers(name: str) -> list[bytes]:
    """Return the layers of an image without their compression."""
    seen = inspect(name, SystemContext(os_choice="linux", architecture_choice="amd64"))
    with seen.reference.new_image_source() as source:
        found = []
        for layer in seen.manifest.layers:
            stream, _ = source.get_blob(BlobInfo.from_descriptor(layer))
            with DecompressedStream(stream) as content:
                found.append(content.read())
        return found


@given(data=st.data(), made=st.lists(images, min_size=1, max_size=3), several=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_plans_and_copies(data: st.DataObject, made: list[tuple[Any, ...]], several: bool) -> None:  # noqa: FBT001
    """Plan and copy agree on everything, errors included; layers hold what they held, and a second copy is free."""
    store = Store()
    entries = [add_image(store, image) for image in made]
    assume(not several or any(image[2] == "amd64" for image in made))
    top = store.index(*entries) if several else entries[0]
    options = data.draw(option_sets(several, [entry["digest"] for entry in entries]))
    kind = data.draw(st.sampled_from(["oci", "dir", "oci-archive"]))
    with tempfile.TemporaryDirectory() as scratch:
        source = f"dir:{store.directory(Path(scratch, 'in'), top)}"
        names: dict[str, Any] = {"src": source, "dest": f"{kind}:{scratch}/out" + (":x" if kind != "dir" else "")}
        planned: copy.CopyPlan | None = None
        try:
            planned = copy.plan(ANY, **names, options=options)
            result = copy.image(ANY, **names, options=options)
        except OCIKitError as error:
            # What only the bytes of a layer tell is found when they are read.
            if planned is not None and "bzip2" not in str(error) and "zstd" not in str(error):
                raise
            event("refused")
            return
        event("copied")
        assert [blob.source_digest for blob in planned.blobs] == [blob.source_digest for blob in result.blobs]
        for wish, blob in zip(planned.blobs, result.blobs, strict=True):
            assert wish.outcome is blob.outcome
        assert planned.manifests[-1].media_type == result.media_type
        assert planned.preserves_digests == (result.digest == planned.manifests[-1].source_digest) or several
        if kind == "oci":
            assert result.digest in check_layout_of(Path(scratch, "out"), sparse=options.image_list_selection)
        if not several:
            assert plain_layers(names["dest"]) == [tar_of({"f": one[0]}) for one in made[0][0]]
        if kind == "oci" and not options.verify_diff_ids:
            again = copy.image(ANY, **names, options=options)
            assert again.digest == result.digest
            assert not again.copied


def check_layout_of(path: Path, *, sparse: copy.ImageListSelection) -> set[str]:
    """Check a layout whole, or, where an index lists what is not there on purpose, only its names."""
    if sparse is SELECTIONS.SPECIFIC:
        return {entry["digest"] for entry in json.loads((path / "index.json").read_bytes())["manifests"]}
    return check_layout(path)
