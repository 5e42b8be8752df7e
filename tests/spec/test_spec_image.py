"""Documents of images: descriptors, manifests, indexes, configurations."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from ocikit.errors import DigestMismatchError, NotSupportedError, ParseError, SizeMismatchError
from ocikit.spec import (
    DESCRIPTOR_EMPTY_JSON,
    Descriptor,
    Digest,
    DockerManifest,
    DockerManifestList,
    Document,
    Image,
    ImageConfig,
    ImageLayout,
    Index,
    Manifest,
    Platform,
    RootFS,
    mediatypes,
)

CONFIG = Descriptor.from_content(mediatypes.IMAGE_CONFIG, b'{"a":1}')
LAYER = Descriptor.from_content(mediatypes.IMAGE_LAYER_GZIP, b"layer")


def test_a_descriptor_describes_content() -> None:
    """Media type, digest and size come from the content, which then verifies."""
    assert LAYER.to_dict() == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": "sha256:" + hashlib.sha256(b"layer").hexdigest(),
        "size": 5,
    }
    LAYER.verify(b"layer")
    with pytest.raises(SizeMismatchError, match="blob: expected 5 bytes, found 6"):
        LAYER.verify(b"layers", what="blob")
    with pytest.raises(DigestMismatchError):
        LAYER.verify(b"Layer")
    assert Descriptor.from_content("a/b", b"", algorithm="sha512").digest.algorithm == "sha512"


def test_embedded_content_is_verified_before_it_is_used() -> None:
    """Inline data is what the digest says, or an error; a descriptor without any says None."""
    assert DESCRIPTOR_EMPTY_JSON.embedded_content() == b"{}"
    assert DESCRIPTOR_EMPTY_JSON.to_dict()["data"] == "e30="
    assert LAYER.embedded_content() is None
    lying = Descriptor(media_type="a/b", digest=LAYER.digest, size=5, data=b"Layer")
    with pytest.raises(DigestMismatchError, match="embedded"):
        lying.embedded_content()
    with pytest.raises(SizeMismatchError):
        Descriptor(media_type="a/b", digest=LAYER.digest, size=4, data=b"layer").embedded_content()
    with pytest.raises(NotSupportedError):
        Descriptor(media_type="a/b", digest=Digest("md5:0"), size=1, data=b"x").embedded_content()
    empty = Descriptor.from_dict({"mediaType": "a/b", "digest": Digest.from_bytes(b""), "size": 0, "data": ""})
    assert empty.embedded_content() == b""
    assert empty.to_dict()["data"] == ""


@pytest.mark.parametrize("data", ["e30", "e30=\n", "e3 0=", "e30_", "\u00e930="])
def test_inline_data_is_strict_base64(data: str) -> None:
    """Only the alphabet and padding of RFC 4648, section 4, is base64."""
    with pytest.raises(ParseError, match=r"^\$\.data: expected base64"):
        Descriptor.from_dict({"mediaType": "a/b", "digest": Digest.from_bytes(b"{}"), "size": 2, "data": data})


@pytest.mark.parametrize("name", ["mediaType", "digest", "size"])
def test_descriptors_must_be_complete(name: str) -> None:
    """A descriptor that does not say what, which or how much is refused, with its place in the manifest."""
    data = Manifest(config=CONFIG, layers=(LAYER, LAYER)).to_dict()
    del data["layers"][1][name]
    with pytest.raises(ParseError) as caught:
        Manifest.from_dict(data)
    assert caught.value.path == f"$.layers[1].{name}"
    assert caught.value.reason == "is REQUIRED and missing"


def test_bad_digests_are_parse_errors_with_a_path() -> None:
    """Inside a document a wrong digest is a fault of the document."""
    data = Manifest(config=CONFIG, layers=()).to_dict()
    data["config"]["digest"] = "sha256:abc"
    with pytest.raises(ParseError, match=r"^\$\.config\.digest: a sha256 digest has 64"):
        Manifest.from_dict(data)


SUBSTANCE: dict[type[Document], dict[str, Any]] = {
    Manifest: {"config": CONFIG.to_dict(), "layers": [LAYER.to_dict()]},
    DockerManifest: {"config": CONFIG.to_dict(), "layers": [LAYER.to_dict()]},
    Index: {"manifests": [LAYER.to_dict()]},
    DockerManifestList: {"manifests": [LAYER.to_dict()]},
}
FOREIGN: dict[type[Document], list[str]] = {
    Manifest: ["manifests", "fsLayers", "history"],
    DockerManifest: ["manifests", "fsLayers", "history"],
    Index: ["config", "layers", "fsLayers", "history"],
    DockerManifestList: ["config", "layers", "fsLayers", "history"],
}


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, names in FOREIGN.items() for name in names])
def test_ambiguous_documents_are_refused(cls: type[Document], name: str) -> None:
    """A document with the keys of two kinds is neither (CVE-2021-41190), in whatever case the keys are."""
    for spelling in (name, name.upper(), name.capitalize()):
        with pytest.raises(ParseError, match="ambiguous") as caught:
            cls.from_dict({"schemaVersion": 2, **SUBSTANCE[cls], spelling: []})
        assert caught.value.path == f"$.{spelling}"
    assert cls.from_dict({"schemaVersion": 2, **SUBSTANCE[cls], name: None}).to_dict()["schemaVersion"] == 2


@pytest.mark.parametrize("cls", SUBSTANCE)
def test_the_media_type_of_another_kind_is_refused(cls: type[Document]) -> None:
    """A manifest that calls itself an index, or Docker's, is not read as one of ours."""
    own = cls.MEDIA_TYPE  # type: ignore[attr-defined]
    assert cls.from_dict({"schemaVersion": 2, "mediaType": own, **SUBSTANCE[cls]}).validate() == ()
    for other in sorted(mediatypes.MANIFESTS - {own}):
        with pytest.raises(ParseError, match="another kind of document"):
            cls.from_dict({"schemaVersion": 2, "mediaType": other, **SUBSTANCE[cls]})


@pytest.mark.parametrize("cls", SUBSTANCE)
def test_what_makes_a_manifest_must_be_there(cls: type[Document]) -> None:
    """Without its config, layers or manifests a document is not that kind; an array that is null is empty."""
    for name in SUBSTANCE[cls]:
        data = {key: value for key, value in SUBSTANCE[cls].items() if key != name}
        with pytest.raises(ParseError, match="REQUIRED"):
            cls.from_dict(data)
    last = list(SUBSTANCE[cls])[-1]
    assert cls.from_dict({**SUBSTANCE[cls], last: None}).to_dict()[last] == []


def test_a_missing_media_type_stays_missing() -> None:
    """A document of OCI 1.0 without mediaType is written back without it; a new one has it."""
    old = Manifest.from_dict({"schemaVersion": 2, **SUBSTANCE[Manifest]})
    assert "mediaType" not in old.to_dict()
    assert Manifest(config=CONFIG, layers=()).to_dict()["mediaType"] == mediatypes.IMAGE_MANIFEST


def test_duplicate_keys_are_refused_where_images_are_read() -> None:
    """I-JSON, which the image specification requires, has unique keys."""
    text = Manifest(config=CONFIG, layers=()).to_json().decode()
    with pytest.raises(ParseError, match=r"^\$\.layers: key appears more than once"):
        Manifest.from_json(text.replace('"layers":[]', '"layers":[],"layers":[]'))
    # The text may be no JSON, further on.
    with pytest.raises(ParseError, match=r"^\$: not JSON, and a key appears more than once"):
        Manifest.from_json(text.replace('"layers":[]', '"layers":[],"layers":[]') + "}")


def test_an_artifact_with_a_subject_is_carried_whole() -> None:
    """Artifact type, subject and annotations of 1.1 are fields of manifest and index."""
    artifact = Manifest(
        artifact_type="application/vnd.example+type",
        config=DESCRIPTOR_EMPTY_JSON,
        layers=(DESCRIPTOR_EMPTY_JSON,),
        subject=LAYER,
        annotations={"com.example.key": "value"},
    )
    assert artifact.validate() == ()
    assert Manifest.from_json(artifact.to_json()) == artifact
    index = Index(manifests=(LAYER,), artifact_type="a/b", subject=LAYER, annotations={"a": ""})
    assert Index.from_json(index.to_json()) == index
    assert index.validate() == ()


def test_docker_fields_of_a_configuration_are_kept() -> None:
    """What Docker has and OCI has not survives, at the top and in config, nulls of OCI fields do not."""
    data = {
        "created": "2024-09-26T21:31:42Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": ["sh"],
            "Env": None,
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000},
            "OnBuild": None,
            "Shell": ["/bin/sh", "-c"],
        },
        "container_config": {"Cmd": ["/bin/sh"]},
        "docker_version": "20.10",
        "rootfs": {"type": "layers", "diff_ids": [Digest.from_bytes(b"")]},
    }
    image = Image.from_json(json.dumps(data))
    assert image.config.extra["Healthcheck"] == data["config"]["Healthcheck"]  # type: ignore[index]
    assert image.config.extra["OnBuild"] is None
    written = image.to_dict()
    del data["config"]["Env"]  # type: ignore[attr-defined]
    assert written == data


def test_a_time_that_is_none_is_refused() -> None:
    """Go refuses such a document, and so does ocikit, with the path of the time."""
    with pytest.raises(ParseError, match=r"^\$\.history\[1\]\.created: expected a time") as caught:
        Image.from_dict({"history": [{"created": "2024-09-26T21:31:42Z"}, {"created": "yesterday"}]})
    assert caught.value.path == "$.history[1].created"


def test_an_empty_configuration_is_left_out() -> None:
    """The config object of an image is written only when it says something (omitzero)."""
    image = Image(architecture="amd64", os="linux", rootfs=RootFS())
    assert image.to_dict() == {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    assert Image.from_dict({**image.to_dict(), "config": {}}) == image
    assert Image.from_dict({**image.to_dict(), "config": None}).config == ImageConfig()


def test_the_platform_of_an_image_is_that_of_its_descriptor() -> None:
    """An image says what it needs to run in the words that an index uses."""
    image = Image.from_dict(
        {"architecture": "arm", "os": "linux", "variant": "v7", "os.version": "1", "os.features": ["x"]}
    )
    expected = Platform(architecture="arm", os="linux", variant="v7", os_version="1", os_features=("x",))
    assert image.platform == expected


def test_docker_platform_features_are_kept() -> None:
    """The list of CPU features in Docker's manifest lists is an unknown field like others."""
    entry = {**LAYER.to_dict(), "platform": {"architecture": "amd64", "os": "linux", "features": ["sse4"]}}
    data = {"schemaVersion": 2, "mediaType": mediatypes.DOCKER_MANIFEST_LIST, "manifests": [entry]}
    assert DockerManifestList.from_dict(data).to_dict() == data


def test_chain_ids_name_stacks_of_layers() -> None:
    """The first is the diffID, each further one the digest of the one below, a space and the diffID."""
    a, b, c = (Digest.from_bytes(name) for name in (b"a", b"b", b"c"))
    ab = Digest("sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest())
    abc = Digest("sha256:" + hashlib.sha256(f"{ab} {c}".encode()).hexdigest())
    assert RootFS(diff_ids=(a, b, c)).chain_ids() == (a, ab, abc)
    assert RootFS().chain_ids() == ()


def test_the_layout_header_is_what_tools_write() -> None:
    """The oci-layout file of every tool in use."""
    assert ImageLayout().to_json() == b'{"imageLayoutVersion":"1.0.0"}'
    assert ImageLayout.from_json("{}").validate()[0].path == "$.imageLayoutVersion"


def _manifest(**changes: Any) -> dict[str, Any]:
    return {**Manifest(config=CONFIG, layers=(LAYER,)).to_dict(), **changes}


def _descriptor(**changes: Any) -> dict[str, Any]:
    return {**LAYER.to_dict(), **changes}


VIOLATIONS: dict[str, tuple[type[Document], dict[str, Any], list[str]]] = {
    "schema version 1": (Manifest, _manifest(schemaVersion=1), ["$.schemaVersion: must be 2, found 1"]),
    "no schema version": (Index, {"manifests": []}, ["$.schemaVersion: must be 2, found 0"]),
    "odd media type": (Manifest, _manifest(mediaType="a/b"), ["$.mediaType: must be application/vnd.oci"]),
    "odd artifact type": (Manifest, _manifest(artifactType="thing"), ["$.artifactType: expected a media type"]),
    "empty config": (
        Manifest,
        _manifest(config=DESCRIPTOR_EMPTY_JSON.to_dict()),
        ["$.artifactType: is REQUIRED because config is the empty descriptor"],
    ),
    "descriptor in a manifest": (
        Manifest,
        _manifest(layers=[_descriptor(), _descriptor(size=-1, mediaType="x")], subject=_descriptor(mediaType="")),
        ["$.layers[1].mediaType:", "$.layers[1].size: must not be negative, found -1", "$.subject.mediaType:"],
    ),
    "media type with parameter": (Descriptor, _descriptor(mediaType="text/plain; a=b"), ["$.mediaType:"]),
    "media type too long": (Descriptor, _descriptor(mediaType=f"a/{'b' * 128}"), ["$.mediaType:"]),
    "urls": (
        Descriptor,
        _descriptor(urls=["https://example.com/a?b=%20#c", "no uri", "http://a/%zz", "1http://a", "", "https://a/\n"]),
        [f"$.urls[{index}]: expected a URI" for index in range(1, 6)],
    ),
    "artifact type of a descriptor": (Descriptor, _descriptor(artifactType="/"), ["$.artifactType:"]),
    "data that lies": (Descriptor, _descriptor(data="TGF5ZXI="), ["$.data: is not the content"]),
    "data of another size": (Descriptor, _descriptor(data="e30="), ["$.data: is not the content"]),
    "platform": (
        Index,
        {"schemaVersion": 2, "manifests": [_descriptor(platform={})]},
        ["$.manifests[0].platform.architecture: is REQUIRED", "$.manifests[0].platform.os: is REQUIRED"],
    ),
    "nothing in an image": (
        Image,
        {},
        ["$.architecture: is REQUIRED", "$.os: is REQUIRED", "$.rootfs.type: must be layers, found ''"],
    ),
    "other root file system": (
        Image,
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "tarball"}},
        ["$.rootfs.type: must be layers, found 'tarball'"],
    ),
    "docker without media type": (
        DockerManifest,
        {"schemaVersion": 2, **SUBSTANCE[DockerManifest]},
        ["$.mediaType: must be application/vnd.docker"],
    ),
    "docker list of schema 1": (
        DockerManifestList,
        {"schemaVersion": 1, "mediaType": mediatypes.DOCKER_MANIFEST_LIST, "manifests": []},
        ["$.schemaVersion: must be 2"],
    ),
    "layout without version": (ImageLayout, {"imageLayoutVersion": ""}, ["$.imageLayoutVersion: is REQUIRED"]),
}


@pytest.mark.parametrize(("cls", "data", "expected"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations_are_found_with_their_path(cls: type[Document], data: dict[str, Any], expected: list[str]) -> None:
    """Every violated MUST of the image specification is reported once, where it is."""
    found = [str(violation) for violation in cls.from_dict(data).validate()]
    assert len(found) == len(expected), found
    for violation, start in zip(found, expected, strict=True):
        assert violation.startswith(start)


def test_unverifiable_data_is_no_violation() -> None:
    """Inline data under an algorithm that cannot be computed here may well be right."""
    assert Descriptor(media_type="a/b", digest=Digest("blake3:00"), size=1, data=b"x").validate() == ()


def test_unknown_media_types_are_no_violation() -> None:
    """Layers, configurations and entries of any type are allowed."""
    odd = Descriptor.from_content("application/xml", b"<a/>")
    assert Manifest(config=odd, layers=(odd,)).validate() == ()
    assert Index(manifests=(odd,)).validate() == ()
