"""Whatever a document says: it is read and keeps its meaning, or it is refused with the error of its kind."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import InvalidPolicyError, LimitExceededError, ManifestError, NotSupportedError
from ocikit.image import Policy
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.image.signature.schema import IDENTITIES, KEYS, REQUIREMENTS
from ocikit.image.subject import SubjectTable
from ocikit.spec import Digest, mediatypes

KEY_NAMES = sorted({key.json for keys in KEYS.values() for key in keys})
WORDS = st.sampled_from(
    [
        *REQUIREMENTS,
        *IDENTITIES,
        "",
        "/",
        "/a",
        "/a:b",
        "a:1",
        "a.example/b",
        "GPGKeys",
        "YQ==",
        "\0",
        "\ud800",
        "\u212a",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", *KEY_NAMES]), inner, max_size=4)
    ),
    max_leaves=8,
)
REQUIREMENT = st.builds(
    lambda kind, members: {"type": kind} | members,
    st.sampled_from(list(REQUIREMENTS)),
    st.dictionaries(st.sampled_from(KEY_NAMES), VALUES, max_size=3),
)
LIST = st.lists(REQUIREMENT | VALUES, max_size=2) | VALUES
SCOPES = st.dictionaries(WORDS, LIST, max_size=2) | VALUES
POLICIES = st.fixed_dictionaries(
    {"default": LIST},
    optional={"transports": st.dictionaries(st.sampled_from(["oci", "dir", "x"]), SCOPES, max_size=2) | VALUES},
)

DESCRIPTOR_KEYS = ["mediaType", "digest", "size", "data", "urls", "annotations", "platform", "Digest"]
MANIFEST_KEYS = [
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "fsLayers", "history"),
    *("Layers", "artifactType", "x"),
]
PARTS = st.sampled_from(
    [2, -1, 2**70, "", "sha256:" + "0" * 64, "sha256:0", "md5:00", "\ud800", *sorted(mediatypes.MANIFESTS)]
)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | PARTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(DESCRIPTOR_KEYS), inner, max_size=6)
        | st.fixed_dictionaries({"mediaType": PARTS, "digest": PARTS, "size": PARTS})
    ),
    max_leaves=12,
)
MANIFESTS = st.dictionaries(st.sampled_from(MANIFEST_KEYS), TREES, max_size=6)


@settings(max_examples=400)
@given(POLICIES)
def test_policies(document: Any) -> None:
    """A policy is read, and then writing and reading it changes nothing; or it is an InvalidPolicyError with a path."""
    try:
        policy = Policy.from_bytes(json.dumps(document))
    except InvalidPolicyError as error:
        assert error.path.startswith("$")  # noqa: PT017 - only one of the two outcomes
    else:
        assert Policy.from_bytes(policy.to_json()) == policy
        assert policy.requirements


@settings(max_examples=400)
@given(MANIFESTS, st.sampled_from(sorted(mediatypes.MANIFESTS)))
def test_manifests(document: Any, media_type: str) -> None:
    """A manifest is read as what it was served as, or refused; refused ones refer to nothing."""
    data = json.dumps(document).encode()
    with contextlib.suppress(ManifestError, LimitExceededError):
        guess_media_type(data)
    SubjectTable("here").add(data, media_type, Digest.from_bytes(data))
    try:
        manifest = parse_manifest(data, media_type)
    except (ManifestError, LimitExceededError, NotSupportedError):
        return
    assert manifest.media_type in {"", media_type}


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes(data: bytes) -> None:
    """Bytes of any kind are refused with the same errors."""
    for read, errors in (
        (Policy.from_bytes, InvalidPolicyError),
        (guess_media_type, ManifestError),
        (lambda data: parse_manifest(data, mediatypes.IMAGE_INDEX), ManifestError),
    ):
        try:
            read(data)
        except errors:
            continue
        raise AssertionError(f"{data!r} was read")
