"""Documents in which anything may be anything: converted, edited and read, or refused with an error of ours."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from builders import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import OCIKitError
from ocikit.image.compression import Compression
from ocikit.image.conversion.digests import manifest_digest
from ocikit.image.conversion.edits import with_replaced_entries, with_replaced_layers
from ocikit.image.conversion.indexes import convert_index
from ocikit.image.conversion.manifests import convert_manifest
from ocikit.image.conversion.schema1 import parse_schema1, schema1_to_oci, schema1_to_schema2
from ocikit.image.conversion.variants import missing_variants
from ocikit.image.manifest import parse_manifest
from ocikit.spec import Descriptor, Digest, DockerManifestList, Index

if TYPE_CHECKING:
    from collections.abc import Iterator

D = "sha256:" + "1" * 64
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
PLATFORM = {"architecture": "arm", "os": "linux", "os.version": "1", "os.features": ["a"], "variant": "v7"}


def described(media_type: str, **members: Any) -> dict[str, Any]:
    """Return a descriptor with everything that one can have."""
    return {"mediaType": media_type, "digest": D, "size": 2, "urls": ["https://x"], "annotations": {"a": "b"}} | members


STEP = {
    "id": "1" * 64,
    "created": "2020-01-01T00:00:00Z",
    "container_config": {"Cmd": ["a"]},
    "config": {"Env": ["A=B"]},
}
WHOLE: dict[str, dict[str, Any]] = {
    OCI_MANIFEST: {"config": described(OCI_CONFIG), "layers": [described(OCI_LAYER)], "annotations": {"c": "d"}},
    DOCKER_MANIFEST: {"config": described(DOCKER_CONFIG), "layers": [described(DOCKER_LAYER)]},
    OCI_INDEX: {"manifests": [described(DOCKER_MANIFEST, platform=PLATFORM)], "annotations": {"c": "d"}},
    DOCKER_LIST: {"manifests": [described(DOCKER_MANIFEST, platform=PLATFORM)]},
    SCHEMA1: {"fsLayers": [{"blobSum": D}], "history": [STEP], "name": "x", "architecture": "arm"},
}
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**70,
        0.5,
        "",
        "x",
        "\u212a",
        D,
        "md5:00",
        OCI_INDEX,
        OCI_LAYER,
        [],
        [None],
        ["x"],
        {},
        {"x": None},
    ]
)
KEYS = st.sampled_from(
    [
        "artifactType",
        "subject",
        "data",
        "platform",
        "features",
        "os",
        "throwaway",
        "parent",
        "signatures",
        "strange",
        "Cmd",
    ]
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a document: what holds it, and its key or index."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Return a document of some type in which a few places hold something else, or are more than there were."""
    media_type = draw(st.sampled_from(sorted(WHOLE)))
    version = 1 if media_type == SCHEMA1 else 2
    document = copy.deepcopy({"schemaVersion": version, "mediaType": media_type} | WHOLE[media_type])
    for _ in range(draw(st.integers(0, 3))):
        holder, key = draw(st.sampled_from(list(places(document))))
        if isinstance(holder, dict) and draw(st.booleans()):
            key = draw(KEYS)
        holder[key] = copy.deepcopy(draw(VALUES))
    history = document.get("history")
    for step in history if isinstance(history, list) else []:
        if isinstance(step, dict):
            inner = json.dumps(step)
            step.clear()
            step["v1Compatibility"] = inner
    return document, media_type


def everything(data: bytes, media_type: str) -> None:
    """Do all that can be done with a document; what comes out can be read."""
    layers = [Descriptor(media_type=OCI_LAYER, digest=Digest(D), size=1)]
    new = {Digest(D): Descriptor(media_type=DOCKER_MANIFEST, digest=Digest(f"sha256:{2:064x}"), size=1)}
    manifest_digest(data, media_type)
    if media_type == SCHEMA1:
        parse_schema1(data)
        schema1_to_oci(data, [Digest(D)], layers)
        schema1_to_schema2(data, [Digest(D)], layers)
    elif media_type in {OCI_MANIFEST, DOCKER_MANIFEST}:
        with_replaced_layers(data, media_type, [None], layers[0])
        to = DOCKER_MANIFEST if media_type == OCI_MANIFEST else OCI_MANIFEST
        done = convert_manifest(data, media_type, to)
        assert convert_manifest(done.data, to, media_type).media_type == media_type
    else:
        index = parse_manifest(data, media_type)
        assert isinstance(index, Index | DockerManifestList)
        missing_variants(index, [Compression.GZIP])
        to = DOCKER_LIST if media_type == OCI_INDEX else OCI_INDEX
        with_replaced_entries(data, media_type, {}, dropped=[entry.digest for entry in index.manifests])
        with_replaced_entries(data, media_type, new)
        done = convert_index(data, media_type, to)
        assert convert_index(done.data, to, media_type).media_type == media_type


@settings(max_examples=1500, deadline=None)
@given(documents())
def test_anything(made: tuple[dict[str, Any], str]) -> None:
    """Whatever stands in a document, an error is one of ours."""
    document, media_type = made
    try:
        everything(json.dumps(document).encode(), media_type)
    except OCIKitError as error:
        assert 0 < len(str(error)) < 2000  # noqa: PT017 - only one of the two outcomes


@pytest.mark.parametrize("media_type", sorted(WHOLE))
def test_whole_documents_go_through(media_type: str) -> None:
    """The documents that are damaged above are sound: what is refused there is refused for the damage."""
    document = copy.deepcopy({"schemaVersion": 1 if media_type == SCHEMA1 else 2} | WHOLE[media_type])
    if media_type == SCHEMA1:
        document["history"] = [{"v1Compatibility": json.dumps(STEP)}]
    everything(json.dumps(document).encode(), media_type)


@pytest.mark.parametrize(
    ("media_type", "key"),
    [(OCI_MANIFEST, "layers"), (DOCKER_MANIFEST, "layers"), (OCI_INDEX, "manifests"), (DOCKER_LIST, "manifests")],
)
def test_null_is_an_empty_list(media_type: str, key: str) -> None:
    """Go writes a list that was never made as null; it is an empty one."""
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type} | WHOLE[media_type] | {key: None}).encode()
    if key == "layers":
        to = DOCKER_MANIFEST if media_type == OCI_MANIFEST else OCI_MANIFEST
        done = convert_manifest(data, media_type, to)
        assert json.loads(with_replaced_layers(data, media_type, [], parse_config(media_type)))[key] == []
    else:
        done = convert_index(data, media_type, DOCKER_LIST if media_type == OCI_INDEX else OCI_INDEX)
    assert json.loads(done.data)[key] == []


def parse_config(media_type: str) -> Descriptor:
    """Return a configuration for a manifest of a type."""
    config = OCI_CONFIG if media_type == OCI_MANIFEST else DOCKER_CONFIG
    return Descriptor(media_type=config, digest=Digest(D), size=3)
