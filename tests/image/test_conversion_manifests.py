"""Manifests of images between Docker's schema 2 and OCI: what is kept, what is counted as lost, what is refused."""

from __future__ import annotations

import json
import subprocess
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
    Store,
    digest_of,
)
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import LimitExceededError, ManifestError, ManifestTypeRejectedError, OCIKitError
from ocikit.image.conversion.manifests import convert_manifest
from ocikit.image.manifest import parse_manifest
from ocikit.spec import DockerManifest, Manifest

if TYPE_CHECKING:
    from pathlib import Path

D = "sha256:" + "1" * 64
O_TAR, D_TAR = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
O_GONE, D_GONE = "application/vnd.oci.image.layer.nondistributable.v1.tar", D_TAR.replace("diff", "foreign.diff")


def described(media_type: str, **members: Any) -> dict[str, Any]:
    """Return a descriptor of nothing in particular."""
    return {"mediaType": media_type, "digest": D, "size": 2} | members


def oci(*layers: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return an OCI manifest."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(OCI_CONFIG),
        "layers": list(layers),
    } | members


def docker(*layers: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return a Docker manifest."""
    config = described(DOCKER_CONFIG)
    return {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": list(layers)} | members


def text(document: Any) -> bytes:
    """Return a document as its author may have formatted it."""
    return json.dumps(document, indent=3).encode()


def test_oci_to_docker() -> None:
    """Types change, digests and sizes do not; keys are in the order in which containers/image writes them."""
    urls = ["https://example.com/layer?a=1&b=<2>"]
    layers = [described(OCI_LAYER), described(O_TAR, size=0), described(f"{O_GONE}+gzip", urls=urls), described(O_GONE)]
    done = convert_manifest(text(oci(*layers)), OCI_MANIFEST, DOCKER_MANIFEST)
    assert done.media_type == DOCKER_MANIFEST
    assert done.lost == ()
    shown = [(DOCKER_LAYER, 2, ""), (D_TAR, 0, ""), (f"{D_GONE}.gzip", 2, "?"), (D_GONE, 2, "")]
    said = r',"urls":["https://example.com/layer?a=1\u0026b=\u003c2\u003e"]'
    lines = ",".join(
        f'{{"mediaType":"{one}","size":{size},"digest":"{D}"{said if where else ""}}}' for one, size, where in shown
    )
    assert done.data.decode() == (
        f'{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{"mediaType":"{DOCKER_CONFIG}","size":2,'
        f'"digest":"{D}"}},"layers":[{lines}]}}'
    )
    assert json.loads(done.data)["layers"][2]["urls"] == urls


def test_what_docker_has_no_words_for_is_counted() -> None:
    """Annotations, embedded content and unknown fields are named, and how many of each there were."""
    layer = described(
        OCI_LAYER, annotations={"a": "1", "b": "2"}, data="e30=", platform={"os": "x", "architecture": "y"}
    )
    other = described(OCI_LAYER, annotations={"c": "3"}, artifactType="x/y")
    config = described(OCI_CONFIG, data="e30=", strange=1)
    document = oci(
        layer, other, config=config, annotations={"d": "4", "e": "5", "f": "6"}, unknown={}, more=[1], empty=None
    )
    done = convert_manifest(text(document), OCI_MANIFEST, DOCKER_MANIFEST)
    assert done.lost == (
        "annotations of the manifest: 3",
        "other fields of the manifest (more): 1",
        "content embedded in the config: 1",
        "other fields of the config (strange): 1",
        "annotations of the layers: 3",
        "content embedded in the layers: 1",
        "other fields of the layers (artifactType, platform): 2",
    )
    assert convert_manifest(
        text(oci(described(OCI_LAYER), described(OCI_LAYER))), OCI_MANIFEST, DOCKER_MANIFEST
    ).data == (done.data)


def test_many_unknown_fields_are_few_words() -> None:
    """A message does not grow with what somebody put into a manifest."""
    members = {f"field-{number}-{'x' * 100}": 1 for number in range(1000)}
    (lost,) = convert_manifest(text(oci(**members)), OCI_MANIFEST, DOCKER_MANIFEST).lost
    assert lost.endswith(": 1,000")
    assert len(lost) < 300


def test_docker_to_oci_loses_nothing() -> None:
    """Whatever a Docker manifest says, known or not, is in the OCI manifest too."""
    layers = [described(DOCKER_LAYER, odd="x"), described(D_GONE, urls=["https://x"]), described(f"{D_TAR}.zstd")]
    done = convert_manifest(text(docker(*layers, annotations={"a": "b"}, strange=[1])), DOCKER_MANIFEST, OCI_MANIFEST)
    assert done.lost == ()
    assert json.loads(done.data) == oci(
        described(OCI_LAYER, odd="x"),
        described(O_GONE, urls=["https://x"]),
        described(f"{O_TAR}+zstd"),
        annotations={"a": "b"},
        strange=[1],
    )


@pytest.mark.parametrize(("document", "media_type"), [(oci(), OCI_MANIFEST), (docker(), DOCKER_MANIFEST)])
def test_the_own_type_is_no_change(document: dict[str, Any], media_type: str) -> None:
    """What has the type already stays byte for byte."""
    done = convert_manifest(text(document), media_type, media_type)
    assert done.data == text(document)
    assert done.lost == ()


REFUSED: list[tuple[dict[str, Any], str, str, type[OCIKitError], str]] = [
    # artifacts
    (oci(subject=described(OCI_MANIFEST)), OCI_MANIFEST, DOCKER_MANIFEST, ManifestTypeRejectedError, r"\$\.subject"),
    (oci(artifactType="a/b"), OCI_MANIFEST, DOCKER_MANIFEST, ManifestTypeRejectedError, "artifact type 'a/b'"),
    (oci(config=described("a/b")), OCI_MANIFEST, DOCKER_MANIFEST, ManifestTypeRejectedError, "config is of type 'a/b'"),
    (oci(described("a/b")), OCI_MANIFEST, DOCKER_MANIFEST, ManifestTypeRejectedError, "layer 0 is of type 'a/b'"),
    (docker(config=described("a/b")), DOCKER_MANIFEST, OCI_MANIFEST, ManifestTypeRejectedError, "no image"),
    # layers that Docker has no type for
    (oci(described(f"{O_TAR}+zstd")), OCI_MANIFEST, DOCKER_MANIFEST, ManifestTypeRejectedError, "recompress"),
    (oci(described(f"{O_TAR}+encrypted")), OCI_MANIFEST, DOCKER_MANIFEST, ManifestTypeRejectedError, "decrypt"),
    # other types
    (oci(), OCI_MANIFEST, DOCKER_LIST, ManifestTypeRejectedError, "the manifest of an image"),
    (oci(), OCI_INDEX, DOCKER_MANIFEST, ManifestTypeRejectedError, "the manifest of an image"),
    (oci(), OCI_MANIFEST, "application/json", ManifestTypeRejectedError, "application/json"),
    # malformed
    (oci(manifests=[]), OCI_MANIFEST, DOCKER_MANIFEST, ManifestError, "ambiguous"),
    (docker(), OCI_MANIFEST, DOCKER_MANIFEST, ManifestError, "another kind"),
    (oci(described(OCI_LAYER, size=-1)), OCI_MANIFEST, DOCKER_MANIFEST, ManifestError, "size"),
    (oci(layers=[1]), OCI_MANIFEST, DOCKER_MANIFEST, ManifestError, "layers"),
    (docker(annotations=3), DOCKER_MANIFEST, OCI_MANIFEST, ManifestError, "annotations"),
    (docker(subject="x"), DOCKER_MANIFEST, OCI_MANIFEST, OCIKitError, "subject"),
]


@pytest.mark.parametrize(("document", "media_type", "to", "error", "message"), REFUSED)
def test_refuses(document: dict[str, Any], media_type: str, to: str, error: type[OCIKitError], message: str) -> None:
    """What would be something else in the other type is not converted; the message says why."""
    with pytest.raises(error, match=message):
        convert_manifest(text(document), media_type, to)


def test_what_would_be_too_large_is_refused() -> None:
    """Escapes make a manifest longer; it does not become one that nobody reads."""
    document = oci(described(OCI_LAYER, urls=["https://x/" + "&" * 1_000_000]))
    with pytest.raises(LimitExceededError):
        convert_manifest(json.dumps(document).encode(), OCI_MANIFEST, DOCKER_MANIFEST)


DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")
TYPES = st.sampled_from([O_TAR, f"{O_TAR}+gzip", O_GONE, f"{O_GONE}+gzip"])
LAYERS = st.lists(
    st.builds(
        lambda media_type, digest, size, urls: (
            {"mediaType": media_type, "digest": digest, "size": size} | ({"urls": urls} if urls else {})
        ),
        TYPES,
        DIGESTS,
        st.integers(0, 2**63 - 1),
        st.lists(st.text(max_size=20), max_size=2),
    ),
    max_size=6,
)


@given(config=DIGESTS, layers=LAYERS, annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_there_and_back(config: str, layers: list[dict[str, Any]], annotations: dict[str, str]) -> None:
    """Through Docker's type and back an image has the same configuration and layers; only its annotations are gone."""
    document = oci(*layers, config=described(OCI_CONFIG, digest=config), annotations=annotations)
    before = parse_manifest(text(document), OCI_MANIFEST)
    there = convert_manifest(text(document), OCI_MANIFEST, DOCKER_MANIFEST)
    back = convert_manifest(there.data, DOCKER_MANIFEST, OCI_MANIFEST)
    assert there.lost == ((f"annotations of the manifest: {len(annotations)}",) if annotations else ())
    between, after = parse_manifest(there.data, DOCKER_MANIFEST), parse_manifest(back.data, OCI_MANIFEST)
    assert isinstance(before, Manifest)
    assert isinstance(between, DockerManifest)
    assert isinstance(after, Manifest)
    assert between.config.digest == after.config.digest == before.config.digest == config
    assert after.layers == before.layers
    assert [layer.digest for layer in between.layers] == [layer.digest for layer in before.layers]
    assert convert_manifest(back.data, OCI_MANIFEST, DOCKER_MANIFEST).data == there.data


def skopeo(*words: object) -> None:
    """Copy with skopeo."""
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", *map(str, words)], check=True, capture_output=True)


def test_as_skopeo_converts_to_docker(tmp_path: Path) -> None:
    """To Docker, skopeo writes the same bytes, as it keeps the configuration then."""
    store = Store()
    made = [store.layer({name: name.encode()}) for name in "abc"]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Healthcheck": {"Test": ["NONE"]}, "Shell": ["/bin/x"]},
    }
    config["rootfs"] = {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]}
    layers = [layer | {"annotations": {"<x>": "&"}} for layer, _ in made]
    document = oci(*layers, config=store.json(OCI_CONFIG, config), annotations={"b": "1", "a": "2"})
    source = store.layout(tmp_path / "oci", {"x": store.json(OCI_MANIFEST, document)})
    skopeo("--format", "v2s2", f"oci:{source}:x", f"dir:{tmp_path}/docker")
    ours = convert_manifest(json.dumps(document).encode(), OCI_MANIFEST, DOCKER_MANIFEST)
    assert (tmp_path / "docker/manifest.json").read_bytes() == ours.data
    assert ours.lost == ("annotations of the manifest: 2", "annotations of the layers: 3")


def test_as_skopeo_converts_to_oci(tmp_path: Path) -> None:
    """To OCI, skopeo writes the same but for the configuration, from which it drops what OCI does not name."""
    store = Store()
    top = store.image({"a": b"a"}, {"b": b"b"}, docker=True)
    source = store.directory(tmp_path / "docker", top)
    skopeo("--format", "oci", f"dir:{source}", f"dir:{tmp_path}/oci")
    theirs = json.loads((tmp_path / "oci/manifest.json").read_bytes())
    before = store.blobs[top["digest"]]
    ours = json.loads(convert_manifest(before, DOCKER_MANIFEST, OCI_MANIFEST).data)
    assert ours.pop("config") == json.loads(before)["config"] | {"mediaType": OCI_CONFIG}
    # Its configuration has the same content here, as there is nothing in it that is Docker's own, in another form.
    written = theirs.pop("config")
    config = (tmp_path / "oci" / written["digest"].partition(":")[2]).read_bytes()
    assert json.loads(config) == json.loads(store.blobs[json.loads(before)["config"]["digest"]])
    assert ours == theirs


def test_skopeo_reads_what_was_converted(tmp_path: Path) -> None:
    """An image whose manifest was converted here is copied by skopeo, which verifies and parses all of it."""
    for docker_first in (True, False):
        store = Store()
        top = store.image({"a": b"a"}, docker=docker_first)
        types = (DOCKER_MANIFEST, OCI_MANIFEST) if docker_first else (OCI_MANIFEST, DOCKER_MANIFEST)
        done = convert_manifest(store.blobs[top["digest"]], *types)
        directory = store.directory(tmp_path / f"source-{docker_first}", store.blob(types[1], done.data))
        skopeo(
            "--format", "oci" if docker_first else "v2s2", f"dir:{directory}", f"dir:{tmp_path}/copied-{docker_first}"
        )
        assert digest_of((tmp_path / f"copied-{docker_first}/manifest.json").read_bytes()) == digest_of(done.data)
