"""What a signature may call an image: every kind of signedIdentity against every form of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocikit.image import parse_image_name
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)
from ocikit.image.signature.matching import why_not_identity
from ocikit.image.transports.docker_archive import DockerArchiveReference

if TYPE_CHECKING:
    from ocikit.image.signature import SignedIdentity
    from ocikit.image.types import ImageReference

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def called(name: str) -> ImageReference:
    """Return an image that has a name in a registry."""
    return DockerArchiveReference(path="/nowhere", resolved="/nowhere", named=parse_normalized_named(name))


REMAP = RemapIdentity(prefix="mirror.example.com/hub", signed_prefix="docker.io/library")
HOST = RemapIdentity(prefix="mirror.example.com:5000", signed_prefix="quay.io")
TO_HOST = RemapIdentity(prefix="mirror.example.com/app", signed_prefix="quay.io")

# The kind, what the image is asked for by, what was signed, and what is said of it; None when that is right.
CASES: list[tuple[SignedIdentity, str, str, str | None]] = [
    (MatchExact(), "busybox:1", "docker.io/library/busybox:1", None),
    (MatchExact(), "busybox:1", "busybox:1", None),
    (MatchExact(), "busybox:1", "busybox:2", "expected exactly 'docker.io/library/busybox:1'"),
    (MatchExact(), "busybox:1", "quay.io/busybox:1", "expected exactly"),
    (MatchExact(), "busybox:1", "busybox", "neither a tag nor a digest"),
    (MatchExact(), "busybox", "busybox", "neither a tag nor a digest"),
    (MatchExact(), f"busybox@{A}", f"busybox@{A}", None),
    (MatchExact(), f"busybox@{A}", f"busybox@{B}", "expected exactly"),
    (MatchExact(), f"busybox@{A}", "busybox:1", "expected exactly"),
    (MatchExact(), f"busybox:1@{A}", f"busybox:1@{A}", None),
    (MatchExact(), f"busybox:1@{A}", "busybox:1", "expected exactly"),
    (MatchRepoDigestOrExact(), "busybox:1", "busybox:1", None),
    (MatchRepoDigestOrExact(), "busybox:1", "busybox:2", "expected exactly"),
    (MatchRepoDigestOrExact(), "busybox:1", f"busybox@{A}", "expected exactly"),
    (MatchRepoDigestOrExact(), "busybox:1", "busybox", "neither a tag nor a digest"),
    (MatchRepoDigestOrExact(), f"busybox@{A}", "busybox:1", None),
    (MatchRepoDigestOrExact(), f"busybox@{A}", f"busybox@{B}", None),
    (MatchRepoDigestOrExact(), f"busybox@{A}", "busybox", "neither a tag nor a digest"),
    (MatchRepoDigestOrExact(), f"busybox@{A}", "other:1", "expected the repository 'docker.io/library/busybox'"),
    (MatchRepoDigestOrExact(), f"busybox:1@{A}", f"busybox:1@{A}", None),
    (MatchRepoDigestOrExact(), f"busybox:1@{A}", "busybox:1", "expected exactly"),
    (MatchRepoDigestOrExact(), "busybox", "busybox:1", "neither a tag nor a digest"),
    (MatchRepository(), "busybox:1", "busybox:2", None),
    (MatchRepository(), "busybox:1", "busybox", None),
    (MatchRepository(), f"busybox@{A}", "busybox:2", None),
    (MatchRepository(), "busybox:1", "quay.io/library/busybox:1", "expected the repository"),
    (MatchRepository(), "quay.io/a/b:1", "quay.io/a/b/c:1", "expected the repository 'quay.io/a/b'"),
    (ExactReference(docker_reference="busybox:9"), "quay.io/any:1", "busybox:9", None),
    (ExactReference(docker_reference="busybox:9"), "busybox:9", "busybox:8", "expected exactly"),
    (ExactReference(docker_reference=f"busybox@{A}"), "busybox:9", f"busybox@{A}", None),
    (ExactReference(docker_reference=f"busybox@{A}"), "busybox:9", "busybox", "neither a tag nor a digest"),
    (ExactRepository(docker_repository="busybox"), "quay.io/any:1", "busybox:9", None),
    (ExactRepository(docker_repository="busybox"), "busybox:1", "busyboxes:1", "expected the repository"),
    (REMAP, "mirror.example.com/hub/busybox:1", "busybox:1", None),
    (REMAP, f"mirror.example.com/hub/busybox@{A}", "busybox:3", None),
    (REMAP, "mirror.example.com/hub/busybox:1", "mirror.example.com/hub/busybox:1", "expected exactly"),
    (REMAP, "mirror.example.com/hubs/busybox:1", "mirror.example.com/hubs/busybox:1", None),
    (REMAP, "mirror.example.com/hubs/busybox:1", "busybox:1", "expected exactly"),
    (REMAP, "busybox:1", "busybox:1", None),
    (HOST, "mirror.example.com:5000/a/b:1", "quay.io/a/b:1", None),
    (HOST, "mirror.example.com/a/b:1", "quay.io/a/b:1", "expected exactly"),
    (TO_HOST, "mirror.example.com/app/x:1", "quay.io/x:1", None),
    (TO_HOST, "mirror.example.com/app:1", "quay.io:1", "cannot be remapped: 'quay.io' is not a repository"),
    (MatchRepository(), "busybox:1", "UPPER/case:1", "no name of an image"),
    (MatchRepository(), "busybox:1", "", "no name of an image"),
    (ExactReference(docker_reference="busybox:9"), "busybox:9", "busybox:9\n", "no name of an image"),
    (MatchRepository(), "busybox:1", "a" * 64, "no name of an image"),
]


@pytest.mark.parametrize(("identity", "image", "signed", "expected"), CASES)
def test_what_is_signed_is_what_is_wanted(
    identity: SignedIdentity, image: str, signed: str, expected: str | None
) -> None:
    """Each kind accepts what it describes and nothing else, and says what it expected."""
    reason = why_not_identity(identity, called(image), signed)
    if expected is None:
        assert reason is None
    else:
        assert reason is not None
        assert expected in reason


@pytest.mark.parametrize("identity", [MatchExact(), MatchRepoDigestOrExact(), MatchRepository(), REMAP])
def test_places_without_names_need_an_exact_one(identity: SignedIdentity) -> None:
    """An image in a layout is called nothing; the refusal says which kinds are for it."""
    image = parse_image_name("oci:/nowhere:a")
    reason = why_not_identity(identity, image, "docker.io/library/busybox:1")
    assert reason is not None
    assert "exactReference or exactRepository" in reason
    assert why_not_identity(ExactRepository(docker_repository="busybox"), image, "busybox:1") is None
    assert why_not_identity(ExactReference(docker_reference="busybox:1"), image, "busybox:1") is None
