"""Manifests have one meaning or none, and an index one image for a platform."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Store

from ocikit.errors import (
    AmbiguousImageError,
    ImageNotFoundError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
    OCIKitError,
)
from ocikit.image import SystemContext
from ocikit.image.manifest import guess_media_type, normalise_media_type, parse_manifest
from ocikit.image.platform import choose_instance, wanted_platforms
from ocikit.spec import Index

D = "sha256:" + "0" * 64
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def descriptor(media_type: str = OCI_CONFIG, **members: Any) -> dict[str, Any]:
    """Return a descriptor of nothing in particular."""
    return {"mediaType": media_type, "digest": D, "size": 2} | members


def manifest(**members: Any) -> dict[str, Any]:
    """Return a well-formed OCI manifest with further members."""
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(), "layers": [descriptor()]} | members


def index(**members: Any) -> dict[str, Any]:
    """Return a well-formed OCI index with further members."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST)]} | members


def untyped(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without its mediaType."""
    return {key: value for key, value in document.items() if key != "mediaType"}


def as_bytes(document: Any) -> bytes:
    """Return a row's document as bytes."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (manifest(), OCI_MANIFEST),
        (index(), OCI_INDEX),
        (manifest(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST),
        (index(mediaType=DOCKER_LIST), DOCKER_LIST),
        (untyped(manifest()), OCI_MANIFEST),
        (untyped(manifest(config=descriptor(DOCKER_CONFIG))), DOCKER_MANIFEST),
        (untyped(index()), OCI_INDEX),
        ({"schemaVersion": 1, "fsLayers": []}, SCHEMA1),
        ({"mediaType": "application/x"}, "application/x"),
    ],
)
def test_guesses_by_content(document: Any, expected: str) -> None:
    """A manifest says what it is, by its mediaType or by its shape."""
    assert guess_media_type(as_bytes(document)) == expected


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'"x"', untyped(index(layers=[])), untyped(index(config={}))])
def test_does_not_guess(document: Any) -> None:
    """What could be two things, or nothing, is not guessed."""
    with pytest.raises(ManifestError):
        guess_media_type(as_bytes(document))


@pytest.mark.parametrize("served", ["", "application/json", "text/plain; charset=utf-8", "application/octet-stream"])
def test_a_place_that_does_not_know_is_not_believed(served: str) -> None:
    """Types that say nothing make the content speak; others are taken as they are, less parameters and case."""
    assert normalise_media_type(served, as_bytes(index())) == OCI_INDEX
    assert normalise_media_type(f"{OCI_MANIFEST.upper()} ; charset=x", b"") == OCI_MANIFEST


HOSTILE: list[tuple[Any, str, type[OCIKitError], str]] = [
    # two meanings (CVE-2021-41190)
    (manifest(manifests=[]), OCI_MANIFEST, ManifestError, "ambiguous"),
    (index(layers=[]), OCI_INDEX, ManifestError, "ambiguous"),
    (index(config=descriptor()), OCI_INDEX, ManifestError, "ambiguous"),
    (manifest(fsLayers=[]), OCI_MANIFEST, ManifestError, "ambiguous"),
    (manifest(history=[]), OCI_MANIFEST, ManifestError, "ambiguous"),
    (manifest(Manifests=[]), OCI_MANIFEST, ManifestError, "ambiguous"),
    (manifest(mediaType=DOCKER_MANIFEST, manifests=[]), DOCKER_MANIFEST, ManifestError, "ambiguous"),
    (index(mediaType=DOCKER_LIST, layers=[]), DOCKER_LIST, ManifestError, "ambiguous"),
    # the place says one thing, the document another
    (manifest(), OCI_INDEX, ManifestError, "ambiguous"),
    (manifest(), DOCKER_MANIFEST, ManifestError, "another kind"),
    (index(), OCI_MANIFEST, ManifestError, "ambiguous"),
    (index(), DOCKER_LIST, ManifestError, "another kind"),
    (manifest(mediaType="application/x"), OCI_MANIFEST, ManifestError, "says of itself"),
    (manifest(), "application/x", ManifestError, "not the type of a manifest"),
    (manifest(), "", ManifestError, "not the type of a manifest"),
    # keys that parsers disagree about
    (b'{"schemaVersion":2,"layers":[],"layers":[]}', OCI_MANIFEST, ManifestError, "more than once"),
    (b'{"schemaVersion":2,"schemaVersion":2}', OCI_INDEX, ManifestError, "more than once"),
    (manifest(Layers=[]), OCI_MANIFEST, ManifestError, "differs only in case"),
    (manifest(Config=descriptor()), OCI_MANIFEST, ManifestError, "differs only in case"),
    (manifest(layers=[descriptor(Digest=D)]), OCI_MANIFEST, ManifestError, "differs only in case"),
    # not documents of the type
    (b"{", OCI_MANIFEST, ManifestError, "not JSON"),
    (b"[]", OCI_MANIFEST, ManifestError, "expected an object"),
    (b"\xff", OCI_INDEX, ManifestError, "UTF-8"),
    ({"schemaVersion": 2}, OCI_MANIFEST, ManifestError, "config"),
    (manifest(layers={}), OCI_MANIFEST, ManifestError, r"\$\.layers"),
    (manifest(layers=["x"]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]"),
    (manifest(layers=[descriptor(size="2")]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.size"),
    (manifest(layers=[descriptor(size=2.5)]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.size"),
    (manifest(layers=[descriptor(size=2**63)]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.size"),
    (manifest(layers=[descriptor(size=-1)]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.size"),
    (manifest(config=descriptor(size=-1)), OCI_MANIFEST, ManifestError, r"\$\.config\.size"),
    (index(manifests=[descriptor(size=-1)]), OCI_INDEX, ManifestError, r"\$\.manifests\[0\]\.size"),
    (manifest(layers=[descriptor(digest="../x")]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.digest"),
    (manifest(layers=[descriptor(digest=D.upper())]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.digest"),
    (manifest(layers=[descriptor(digest="sha256:0/../..")]), OCI_MANIFEST, ManifestError, r"digest"),
    (manifest(layers=[descriptor(data="%")]), OCI_MANIFEST, ManifestError, r"\$\.layers\[0\]\.data"),
    (manifest(schemaVersion=1), OCI_MANIFEST, ManifestError, "schemaVersion"),
    (index(schemaVersion=3), OCI_INDEX, ManifestError, "schemaVersion"),
    # too much
    (b" " * (4 * 1024 * 1024 + 1), OCI_MANIFEST, LimitExceededError, "manifest bytes"),
    (b'{"x":' + b"[" * 500 + b"]" * 500 + b"}", OCI_MANIFEST, LimitExceededError, "depth"),
    # too old
    ({"schemaVersion": 1}, SCHEMA1, NotSupportedError, "schema 1"),
]


@pytest.mark.parametrize(("document", "media_type", "error", "match"), HOSTILE)
def test_refuses(document: Any, media_type: str, error: type[OCIKitError], match: str) -> None:
    """A document that is malformed, ambiguous or of another type than it is served as has no meaning at all."""
    with pytest.raises(error, match=match):
        parse_manifest(as_bytes(document), media_type)


def index_of(*platforms: str, **extra: Any) -> Index:
    """Return an index with an entry for each platform; "" for none. Each entry's size is its position."""
    entries = []
    for number, platform in enumerate(platforms):
        entry = descriptor(OCI_MANIFEST, digest=f"sha256:{number:064x}", size=number) | extra
        if platform:
            os, architecture, *variant = platform.split("/")
            entry["platform"] = {"os": os, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
        entries.append(entry)
    parsed = parse_manifest(as_bytes({"schemaVersion": 2, "manifests": entries}), OCI_INDEX)
    assert isinstance(parsed, Index)
    return parsed


CHOICES = [
    ("linux/amd64", ("linux/arm64", "linux/amd64"), 1),
    ("linux/amd64", ("linux/amd64", "linux/amd64"), 0),
    ("linux/amd64", ("linux/amd64/v3", "linux/amd64"), 1),
    ("linux/amd64", ("linux/amd64/v3", "linux/amd64/v1"), 1),
    ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2", "linux/amd64/v4"), 1),
    ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"), 2),
    ("linux/arm/v8", ("linux/arm/v5", "linux/arm/v7", "linux/arm/v6"), 1),
    ("linux/arm/v7", ("linux/arm", "linux/arm/v5"), 1),
    ("linux/arm/v7", ("linux/arm/v8", "linux/arm"), 1),
    ("linux/arm64", ("linux/arm64/v8",), 0),
    ("linux/arm64", ("linux/arm64/v8", "linux/arm64"), 1),
    ("linux/arm64/v8", ("linux/arm64", "linux/arm64/v8"), 1),
    ("linux/arm64/v9", ("linux/arm64", "linux/arm64/v9"), 1),
    ("windows/amd64", ("linux/amd64", "windows/amd64"), 1),
    ("linux/amd64", ("unknown/unknown", "linux/amd64"), 1),
    ("linux/amd64", ("", "linux/amd64"), 1),
    ("linux/amd64", ("linux/arm64", ""), 1),
    ("linux/riscv64", ("", "unknown/unknown", "linux/amd64"), 0),
]


def wish(platform: str) -> SystemContext:
    """Return the context that chooses a platform."""
    os, architecture, *variant = platform.split("/")
    return SystemContext(os_choice=os, architecture_choice=architecture, variant_choice=variant[0] if variant else None)


@pytest.mark.parametrize(("wanted", "platforms", "expected"), CHOICES)
def test_chooses(wanted: str, platforms: tuple[str, ...], expected: int) -> None:
    """The best variant that the machine can run wins, and an entry without a platform only when nothing else fits."""
    assert choose_instance(index_of(*platforms), wish(wanted)).size == expected


@pytest.mark.parametrize(
    ("wanted", "platforms"),
    [
        ("linux/amd64", ()),
        ("linux/amd64", ("linux/arm64", "windows/amd64")),
        ("linux/amd64", ("linux/amd64/v2",)),
        ("linux/arm/v6", ("linux/arm/v7",)),
        ("linux/amd64", ("unknown/unknown",)),
        ("unknown/unknown", ("unknown/unknown",)),
    ],
)
def test_finds_nothing(wanted: str, platforms: tuple[str, ...]) -> None:
    """An image for another machine and an attestation are not chosen; the message says what there is."""
    with pytest.raises(ImageNotFoundError, match=f"no image for {wanted}, there is"):
        choose_instance(index_of(*platforms), wish(wanted))


def test_does_not_choose_by_chance() -> None:
    """Of several entries that name no platform none is better than the others."""
    with pytest.raises(AmbiguousImageError, match="2 name no platform"):
        choose_instance(index_of("", ""), wish("linux/amd64"))


def test_an_artifact_is_no_image_for_a_platform() -> None:
    """An entry with an artifact type and without a platform is not taken for the image."""
    with pytest.raises(ImageNotFoundError):
        choose_instance(index_of("", artifactType="application/x"), wish("linux/amd64"))


def test_this_machine() -> None:
    """Without a wish the running machine counts, with the names that Go has for it."""
    import platform  # noqa: PLC0415 - only this test asks the machine

    names = {"x86_64": "amd64", "aarch64": "arm64"}
    wanted = wanted_platforms()
    assert wanted[0].os == "linux"
    assert wanted[0].architecture == names.get(platform.machine(), wanted[0].architecture)
    store = Store()
    here = store.image(architecture=wanted[0].architecture, variant=wanted[0].variant)
    document = json.loads(store.blobs[store.index(store.image(architecture="z80"), here)["digest"]])
    parsed = parse_manifest(as_bytes(document), OCI_INDEX)
    assert isinstance(parsed, Index)
    assert choose_instance(parsed).digest == here["digest"]
