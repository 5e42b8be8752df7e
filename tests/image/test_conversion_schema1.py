"""Docker's schema 1: the digest of what was signed, what the steps say, and the image that comes of them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Store, digest_of
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import (
    DigestMismatchError,
    LimitExceededError,
    ManifestError,
    ManifestTypeRejectedError,
    NotSupportedError,
    OCIKitError,
)
from ocikit.image.conversion.digests import manifest_digest, verify_manifest
from ocikit.image.conversion.schema1 import (
    EMPTY_LAYER,
    parse_schema1,
    schema1_digest,
    schema1_layers,
    schema1_payload,
    schema1_to_oci,
    schema1_to_schema2,
)
from ocikit.image.manifest import parse_manifest
from ocikit.spec import Descriptor, Digest, Image, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
UNSIGNED = "application/vnd.docker.distribution.manifest.v1+json"


def layer(number: int) -> str:
    """Return the digest of a layer that has a number."""
    return f"sha256:{number:064x}"


def step(number: int, **members: Any) -> dict[str, Any]:
    """Return the v1 configuration of a step; the first has number 1."""
    parent = {"parent": f"{number - 1:064x}"} if number > 1 else {}
    return {"id": f"{number:064x}", **parent, "created": f"2020-01-0{number}T00:00:00Z", **members}


TOP = {"architecture": "arm", "os": "linux", "config": {"Cmd": ["/x"], "Healthcheck": {}}, "docker_version": "1.9"}
STEPS = (
    (layer(1), step(1, container_config={"Cmd": ["/bin/sh", "-c", "ADD <a>"]}, author="me")),
    (EMPTY_LAYER, step(2, throwaway=True, comment="nothing")),
    (layer(3), step(3, Size=7, layer_id="x", parent_id="y", **TOP)),
)


def document(*steps: tuple[str, Any], **members: Any) -> dict[str, Any]:
    """Return a manifest of these steps, the first step first."""
    return {
        "name": "library/x",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest} for digest, _ in reversed(steps)],
        "history": [{"v1Compatibility": v1 if isinstance(v1, str) else json.dumps(v1)} for _, v1 in reversed(steps)],
        "schemaVersion": 1,
    } | members


def text(value: Any, indent: int | None = 3) -> bytes:
    """Return a document as JSON; signers indent by three."""
    return json.dumps(value, indent=indent).encode()


def b64(data: bytes) -> str:
    """Return data as JWS has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(payload: bytes, **header: Any) -> dict[str, Any]:
    """Return a signature over a payload, as far as a digest needs one."""
    length = len(payload.rstrip(b"}\n"))
    protected = {"formatLength": length, "formatTail": b64(payload[length:]), "time": "2020-01-01T00:00:00Z"} | header
    return {"header": {"alg": "ES256"}, "signature": "x", "protected": b64(json.dumps(protected).encode())}


def signed(payload: bytes, *signatures: Any) -> bytes:
    """Insert signatures into a payload before its last brace."""
    length = len(payload.rstrip(b"}\n"))
    body = json.dumps(list(signatures or [signature(payload)])).encode()
    return payload[:length] + b',\n   "signatures": ' + body + b"\n}"


@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_the_digest_is_of_what_was_signed(indent: int | None, count: int) -> None:
    """Signatures, one or several, are no part of it; an unsigned manifest is all payload."""
    payload = text(document(*STEPS), indent)
    data = signed(payload, *[signature(payload)] * count)
    assert schema1_payload(data) == schema1_payload(payload) == payload
    expected = digest_of(payload)
    assert schema1_digest(data) == manifest_digest(data, SIGNED) == manifest_digest(data, UNSIGNED) == expected
    assert manifest_digest(data, DOCKER_MANIFEST) == digest_of(data) != expected
    assert schema1_digest(data, "sha512") == f"sha512:{hashlib.sha512(payload).hexdigest()}"
    verify_manifest(Digest(expected), data, SIGNED)
    with pytest.raises(DigestMismatchError):
        verify_manifest(Digest(digest_of(data)), data, SIGNED)
    with pytest.raises(NotSupportedError):
        verify_manifest(Digest("blake3:" + "0" * 64), data, SIGNED)
    assert parse_schema1(data) == parse_schema1(payload)


PAYLOAD = text(document(*STEPS))
BAD_SIGNATURES: list[tuple[Any, str]] = [
    ([], "at least one"),
    ({}, "at least one"),
    ([1], "protected"),
    ([{}], "protected"),
    ([{"protected": ""}], "found ''"),
    ([{"protected": "!"}], "base64url"),
    ([{"protected": "e30="}], "base64url"),
    ([{"protected": "é"}], "base64url"),
    ([{"protected": b64(b"x")}], "not JSON"),
    ([{"protected": b64(b"[]")}], "expected a JSON object"),
    ([{"protected": b64(b'{"formatLength":1,"formatLength":2}')}], "more than once"),
    ([signature(PAYLOAD, formatLength=True)], "formatLength"),
    ([signature(PAYLOAD, formatLength=1.5)], "formatLength"),
    ([signature(PAYLOAD, formatLength=0)], "formatLength"),
    ([signature(PAYLOAD, formatLength=-5)], "formatLength"),
    ([signature(PAYLOAD, formatLength=10**9)], "formatLength"),
    ([signature(PAYLOAD, formatTail=None)], "formatTail"),
    ([signature(PAYLOAD, formatTail="")], "formatTail"),
    ([signature(PAYLOAD, formatTail="e")], "base64url"),
    ([signature(PAYLOAD, formatLength=5)], "what was signed"),
    ([signature(PAYLOAD, formatTail=b64(b',"tag":"other"}'))], "what was signed"),
    ([signature(PAYLOAD, formatTail=b64(b',"more":1}'))], "something else, or more"),
    ([signature(PAYLOAD), signature(PAYLOAD, formatTail=b64(b" \n}"))], "different payloads"),
]


@pytest.mark.parametrize(("signatures", "message"), BAD_SIGNATURES)
def test_bad_signatures(signatures: Any, message: str) -> None:
    """A file that does not say clearly what was signed has no digest."""
    data = text(document(*STEPS, signatures=signatures))
    for asked in (schema1_payload, schema1_digest, parse_schema1):
        with pytest.raises(ManifestError, match=message):
            asked(data)


def test_more_than_was_signed() -> None:
    """What is put behind the signed part is covered by no digest, and is refused."""
    data = signed(PAYLOAD)
    assert schema1_payload(data) == PAYLOAD
    for more in (b',"extra":1}', b',"layers":[]}'):
        with pytest.raises(ManifestError, match="or more, than what was signed"):
            schema1_digest(data.rstrip(b"}") + more)
    with pytest.raises(ManifestError, match="more than once"):
        schema1_digest(data.rstrip(b"}") + b',"fsLayers":[]}')
    with pytest.raises(LimitExceededError):
        schema1_digest(signed(PAYLOAD, *[signature(PAYLOAD)] * 65))
    with pytest.raises(LimitExceededError):
        schema1_digest(b" " * (1 << 22) + PAYLOAD)


def test_reads() -> None:
    """Steps come the lowest first; those without a layer are known but no layers."""
    image = parse_schema1(signed(PAYLOAD))
    assert (image.name, image.tag, image.architecture) == ("library/x", "latest", "amd64")
    assert [(entry.digest, entry.throwaway) for entry in image.entries] == [
        (layer(1), False),
        (EMPTY_LAYER, True),
        (layer(3), False),
    ]
    assert schema1_layers(PAYLOAD) == image.layers == (layer(1), layer(3))


def test_the_empty_layer_is_one_unless_it_is_thrown_away() -> None:
    """Old Dockers did not mark steps without a layer: the gzip of nothing is a layer then, as Docker has it."""
    assert schema1_layers(text(document((EMPTY_LAYER, step(1)), (EMPTY_LAYER, step(2))))) == (EMPTY_LAYER, EMPTY_LAYER)
    assert digest_of(
        gzip.decompress(bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000"))
    ) == digest_of(bytes(1024))


def test_a_step_written_twice_is_one() -> None:
    """Two steps in a row with one ID are one, as for Docker; with different layers they are a contradiction."""
    twice = (STEPS[0], STEPS[0], *STEPS[1:])
    assert parse_schema1(text(document(*twice))) == parse_schema1(PAYLOAD)
    with pytest.raises(ManifestError, match="different layers"):
        parse_schema1(text(document(STEPS[0], (layer(9), STEPS[0][1]), *STEPS[1:])))


def one(v1: Any = None, digest: str = layer(1), **members: Any) -> dict[str, Any]:
    """Return a manifest with one step."""
    return document((digest, step(1) if v1 is None else v1), **members)


HOSTILE: list[tuple[Any, str]] = [
    (b"", "not JSON"),
    (b"[]", "expected a JSON object"),
    (b'{"schemaVersion":1,"schemaVersion":1}', "more than once"),
    (one(schemaVersion=2), "expected 1, found 2"),
    (one(schemaVersion=True), "a number"),
    (one(schemaVersion=None), "expected 1"),
    (one(config={}), "ambiguous"),
    (one(layers=[]), "ambiguous"),
    (one(Manifests=[]), "ambiguous"),
    (one(mediaType=DOCKER_MANIFEST), "says of itself"),
    (one(FSLayers=[]), "only in case"),
    (one(History=[]), "only in case"),
    (one(name=1), r"\$\.name: expected a string"),
    (one(fsLayers=[]), "as many entries"),
    (one(fsLayers=None, history=None), "at least one"),
    (one(history=[{}, {}]), "as many entries"),
    (one(fsLayers={}), "an array"),
    (one(fsLayers=[1]), "blobSum"),
    (one(fsLayers=[{"blobsum": layer(1)}]), "only in case"),
    (one(digest="sha256:0"), r"fsLayers\[0\]"),
    (one(digest="../../etc/passwd"), r"fsLayers\[0\]"),
    (one(history=[{}]), "v1Compatibility"),
    (one(history=[{"v1Compatibility": {}}]), "a string"),
    (one("x"), "not JSON"),
    (one("[]"), "expected a JSON object"),
    (one('{"id":"a","id":"b"}'), "more than once"),
    (one({}), "64 hexadecimal digits"),
    (one(step(1) | {"id": "../x"}), "64 hexadecimal digits"),
    (one(step(1, ID="x")), "only in case"),
    (one(step(1, throwaway="true")), "true or false"),
    (one(step(1, container_config=[])), "an object"),
    (one(step(1, container_config={"Cmd": "x"})), "an array"),
    (one(step(1, container_config={"Cmd": [1]})), "expected strings"),
    (one(step(1, container_config={"cmd": []})), "only in case"),
    (one(step(1, parent="0" * 64)), "as its parent"),
    (document((layer(1), step(1)), (layer(2), step(3))), "as its parent"),
    (document((layer(1), step(1)), (layer(2), step(2) | {"parent": None})), "found none"),
    (document((layer(1), step(1)), (layer(2), step(2)), (layer(3), step(1, parent=step(2)["id"]))), "have the ID"),
]


@pytest.mark.parametrize(("value", "message"), HOSTILE)
def test_refuses(value: Any, message: str) -> None:
    """A manifest that is malformed, ambiguous or no chain of steps is an error that says where."""
    data = value if isinstance(value, bytes) else text(value)
    with pytest.raises(ManifestError, match=message):
        parse_schema1(data)


def test_limits() -> None:
    """The number of steps, the size and the depth of what they hold are bounded."""
    with pytest.raises(LimitExceededError, match="layers"):
        parse_schema1(text(document(*[(layer(1), "{}")] * 4097), None))
    with pytest.raises(LimitExceededError):
        parse_schema1(text(one("[" * 1000), None))
    # A configuration grows by escapes on its way out.
    data = text(one(step(1, comment="&" * 1_000_000)), None)
    with pytest.raises(LimitExceededError, match="configuration"):
        schema1_to_schema2(data, [Digest(layer(1))], [described(1)])


def described(number: int, media_type: str = DOCKER_LAYER, **members: Any) -> Descriptor:
    """Return the descriptor of a layer that has a number."""
    return Descriptor(media_type=media_type, digest=Digest(layer(number)), size=number, **members)


def test_becomes_an_image() -> None:
    """The configuration is that of the highest step, the others are its history, and nothing of it is lost."""
    diff_ids = [Digest(layer(11)), Digest(layer(13))]
    config, manifest = schema1_to_schema2(signed(PAYLOAD), diff_ids, [described(1), described(3)])
    assert json.loads(config) == TOP | {
        "created": "2020-01-03T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": "2020-01-01T00:00:00Z", "author": "me", "created_by": "/bin/sh -c ADD <a>"},
            {"created": "2020-01-02T00:00:00Z", "comment": "nothing", "empty_layer": True},
            {"created": "2020-01-03T00:00:00Z"},
        ],
    }
    assert json.loads(manifest) == {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": DOCKER_LAYER, "digest": layer(number), "size": number} for number in (1, 3)],
    }


def test_becomes_an_oci_image() -> None:
    """The configuration is the same, so the image has the same ID; layers may be in zstd there, and there only."""
    diff_ids = [Digest(layer(11)), Digest(layer(13))]
    zstd = OCI_LAYER.replace("gzip", "zstd")
    layers = [described(1), described(4, zstd, annotations={"a": "b"})]
    config, data = schema1_to_oci(PAYLOAD, diff_ids, layers)
    assert config == schema1_to_schema2(PAYLOAD, diff_ids, layers[:1] * 2)[0]
    manifest = parse_manifest(data, OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert manifest.config == Descriptor.from_content(OCI_CONFIG, config)
    assert [one.media_type for one in manifest.layers] == [OCI_LAYER, zstd]
    assert manifest.layers[1].annotations == {"a": "b"}
    with pytest.raises(ManifestTypeRejectedError, match="zstd"):
        schema1_to_schema2(PAYLOAD, diff_ids, layers)


def test_what_old_images_leave_out() -> None:
    """Without architecture and system an image could not be chosen; the manifest knows one, the other was Linux."""
    config, _ = schema1_to_schema2(text(one(step(1) | {"created": None})), [Digest(layer(1))], [described(1)])
    image = Image.from_json(config)
    assert (image.architecture, image.os, image.created) == ("amd64", "linux", None)
    assert image.history[0].to_dict() == {}


@pytest.mark.parametrize(
    ("v1", "diff_ids", "layers", "message"),
    [
        (step(1), 0, 1, "1 layers; given were 0 diffIDs and 1"),
        (step(1), 1, 2, "1 diffIDs and 2 descriptors"),
        (step(1, throwaway=True), 1, 1, "0 layers"),
        (step(1, config=[]), 1, 1, r"\$\.config"),
        (step(1) | {"created": "yesterday"}, 1, 1, "created"),
    ],
)
def test_does_not_become_an_image(v1: Any, diff_ids: int, layers: int, message: str) -> None:
    """Layers that do not fit, and a configuration that nobody could read."""
    with pytest.raises(ManifestError, match=message):
        schema1_to_oci(text(one(v1)), [Digest(layer(1))] * diff_ids, [described(1)] * layers)


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_is_an_error_or_nothing(at: int, byte: int, cut: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    """A damaged manifest is read or refused, and is what its digest says in either case."""
    data = bytearray(signed(PAYLOAD))
    at %= len(data)
    data[at] = byte
    damaged = bytes(data[:at] if cut else data)
    try:
        image = parse_schema1(damaged)
    except OCIKitError:
        return
    assert parse_schema1(schema1_payload(damaged)) == image


@pytest.fixture(scope="module")
def by_skopeo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a ``dir`` with a signed schema 1 manifest that skopeo made, and the diffIDs of its layers."""
    path = tmp_path_factory.mktemp("schema1")
    store = Store()
    made = [store.layer({"a": b"a"}), store.layer({"b": b"b"})]
    about = {"architecture": "arm64", "os": "linux", "author": "me <a&b>", "created": "2020-01-02T03:04:05.6Z"}
    config = about | {
        "config": {"Cmd": ["/bin/sh"], "Healthcheck": {"Test": ["NONE"]}, "Env": ["A=\u2028é"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
        "history": [
            {"created": "2020-01-02T03:04:05Z", "created_by": "add a && b"},
            {"created": "2020-01-02T03:04:05Z", "created_by": "ENV x", "empty_layer": True},
            {"created": "2020-01-02T03:04:06Z", "created_by": "add b", "comment": "c", "author": "z"},
            {"created": "2020-01-02T03:04:07Z", "created_by": "LABEL", "empty_layer": True},
        ],
    }
    # Without escapes, as Go writes it: what is an escape stays one there, and becomes a character here.
    written = store.blob(OCI_CONFIG, json.dumps(config, ensure_ascii=False).encode())
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": written}
    store.layout(path / "oci", {"x": store.json(OCI_MANIFEST, document | {"layers": [one for one, _ in made]})})
    skopeo("copy", "-q", "--format", "v2s1", f"oci:{path}/oci:x", f"dir:{path}/schema1")
    return path, [diff_id for _, diff_id in made]


def skopeo(*words: object) -> str:
    """Run skopeo and return what it says."""
    command = ["skopeo", "--insecure-policy", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_digest_as_skopeo_computes_it(by_skopeo: tuple[Path, list[str]]) -> None:
    """A manifest that skopeo signed goes by the same digest here."""
    file = by_skopeo[0] / "schema1/manifest.json"
    data = file.read_bytes()
    assert b'"signatures"' in data
    assert schema1_digest(data) == skopeo("manifest-digest", file).strip() != digest_of(data)


@pytest.mark.parametrize(
    ("form", "turn", "media_type"),
    [("v2s2", schema1_to_schema2, DOCKER_MANIFEST), ("oci", schema1_to_oci, OCI_MANIFEST)],
)
def test_image_as_skopeo_makes_it(
    by_skopeo: tuple[Path, list[str]],
    tmp_path: Path,
    form: str,
    turn: Callable[..., tuple[bytes, bytes]],
    media_type: str,
) -> None:
    """Schema 2 is the same bytes; OCI the same but for the configuration, from which skopeo drops Docker's fields."""
    path, diff_ids = by_skopeo
    data = (path / "schema1/manifest.json").read_bytes()
    blobs = [(path / "schema1" / digest.hex).read_bytes() for digest in schema1_layers(data)]
    layers = [Descriptor.from_content(DOCKER_LAYER, blob) for blob in blobs]
    assert [digest_of(gzip.decompress(blob)) for blob in blobs] == diff_ids
    config, manifest = turn(data, [Digest(one) for one in diff_ids], layers)
    skopeo("copy", "-q", "--format", form, f"dir:{path}/schema1", f"dir:{tmp_path}/theirs")
    theirs = (tmp_path / "theirs/manifest.json").read_bytes()
    found = parse_manifest(theirs, media_type)
    ours = parse_manifest(manifest, media_type)
    assert found.to_dict()["layers"] == ours.to_dict()["layers"]
    written = (tmp_path / "theirs" / found.to_dict()["config"]["digest"].partition(":")[2]).read_bytes()
    if form == "v2s2":
        assert (written, theirs) == (config, manifest)
    else:
        kept = json.loads(config)
        assert kept["config"].pop("Healthcheck") == {"Test": ["NONE"]}
        assert json.loads(written) == kept
