"""Manifests of a registry: resolved, read, put, deleted (distribution-spec 1.1, Pulling/Pushing/Deleting Manifests)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import DigestMismatchError, ImageNotFoundError, InvalidDigestError, NotSupportedError, RegistryError
from ocikit.image.conversion.digests import SCHEMA1, manifest_digest, verify_manifest
from ocikit.image.manifest import LIMIT
from ocikit.spec import Digest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.docker.client import Answer, RegistryClient

__all__ = ["ServedManifest", "delete_manifest", "get_manifest", "put_manifest", "resolve"]

#: Every type that is understood, best first; schema 1 last, which is only read.
_ACCEPTED: Final = (
    mediatypes.IMAGE_MANIFEST,
    mediatypes.IMAGE_INDEX,
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_MANIFEST_LIST,
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
)
ACCEPT: Final = ", ".join(_ACCEPTED)
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_DIGEST: Final = "Docker-Content-Digest"
_NOT_FOUND: Final = 404
# A HEAD that is refused says not why; some registries know none.
_SAY_MORE: Final = frozenset({400, 405})
# By what they say registries differ more than by the status (Harbor: NOT_FOUND, Red Hat: UNKNOWN); some have the code
# and another status.
_UNKNOWN: Final = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN"})


@frozen(kw_only=True)
class ServedManifest:
    """A manifest as a registry serves it; not verified.

    Attributes:
        data: The bytes.
        media_type: What the registry says it is.
        digest: What the registry says its digest is.
    """

    data: bytes
    media_type: str
    digest: Digest | None


def get_manifest(client: RegistryClient, reference: str) -> ServedManifest:
    """Read a manifest.

    Args:
        client: The repository.
        reference: A tag or a digest.

    Raises:
        ImageNotFoundError: There is none.
        DigestMismatchError: It is another one than was asked for, or than the registry itself says.
        RegistryError: The registry refuses, cannot be reached, or somebody else answers in its place.
        LimitExceededError: It is larger than 4 MiB.
    """
    what = _what(client, reference)
    path = f"{client.endpoint.reference.path}/manifests/{reference}"
    answer = _found(lambda: client.request("GET", path, what=what, headers={"Accept": ACCEPT}, most=LIMIT), what)
    media_type, stated = _media_type(answer), _digest(answer, what)
    if media_type in _PAGES:
        raise RegistryError(
            what,
            f"answered is a page for people ({media_type}) and no manifest",
            remedy="a portal or a proxy may stand before the registry; sign in there, or go round it",
        )
    # That of schema 1 is taken over something else than its bytes, and many registries get it wrong.
    if media_type not in SCHEMA1:
        for digest in filter(None, (stated, Digest.parse(reference) if ":" in reference else None)):
            digest.verify(answer.body, what=what)
    return ServedManifest(data=answer.body, media_type=media_type, digest=stated)


def resolve(client: RegistryClient, reference: str) -> tuple[Digest, str]:
    """Return the digest of a manifest and its type, pulling it only where the registry does not say.

    Args:
        client: The repository.
        reference: A tag or a digest.

    Raises:
        ImageNotFoundError: There is none.
        DigestMismatchError: It is another one than was asked for.
        RegistryError: The registry refuses, or cannot be reached.
    """
    what = _what(client, reference)
    path = f"{client.endpoint.reference.path}/manifests/{reference}"
    wanted = Digest.parse(reference) if ":" in reference else None
    try:
        answer = _found(lambda: client.request("HEAD", path, what=what, headers={"Accept": ACCEPT}), what)
    except RegistryError as error:
        if error.status not in _SAY_MORE:
            raise
    else:
        digest = _digest(answer, what)
        if digest is not None:
            if wanted is not None and digest.algorithm == wanted.algorithm and digest != wanted:
                raise DigestMismatchError(what, wanted, digest)
            return wanted or digest, _media_type(answer)
    served = get_manifest(client, reference)
    if wanted is not None:
        verify_manifest(wanted, served.data, served.media_type, what=what)
    return wanted or manifest_digest(served.data, served.media_type), served.media_type


def put_manifest(client: RegistryClient, reference: str, data: bytes, media_type: str) -> Answer:
    """Store a manifest; what it refers to is there.

    Args:
        client: The repository.
        reference: A tag, or its digest.
        data: The bytes.
        media_type: Its type.

    Raises:
        DigestMismatchError: The registry has stored something else.
        RegistryError: The registry refuses, or cannot be reached.
    """
    what = _what(client, reference)
    path = f"{client.endpoint.reference.path}/manifests/{reference}"
    headers = {"Content-Type": media_type}
    try:
        answer = client.request("PUT", path, what=what, expect={201}, headers=headers, body=data)
    except RegistryError as error:
        # Where answers are lost, or are those of a proxy that had no patience, the manifest may be there; and where
        # another success is said than the specification has (200, 202, 204).
        found = _stored(client, reference, data) if not 300 <= error.status < 500 else None
        if found is None:
            raise
        answer = found
    stored = _digest(answer, what)
    if stored is not None and Digest.from_bytes(data, stored.algorithm) != stored:
        raise DigestMismatchError(f"{what}, as stored", Digest.from_bytes(data, stored.algorithm), stored)
    return answer


def _stored(client: RegistryClient, reference: str, data: bytes) -> Answer | None:
    """Return what the registry says of a manifest, when it is this one."""
    what = _what(client, reference)
    path = f"{client.endpoint.reference.path}/manifests/{reference}"
    try:
        answer = client.request("HEAD", path, what=what, headers={"Accept": ACCEPT})
        digest = _digest(answer, what)
    except RegistryError:
        return None
    return answer if digest is not None and Digest.from_bytes(data, digest.algorithm) == digest else None


def delete_manifest(client: RegistryClient, reference: str) -> None:
    """Delete a tag, or a manifest and with it all its tags.

    Args:
        client: The repository.
        reference: The tag, or the digest of the manifest.

    Raises:
        ImageNotFoundError: There is none.
        RegistryError: The registry refuses, or does not delete such a thing.
    """
    what = _what(client, reference)
    path = f"{client.endpoint.reference.path}/manifests/{reference}"
    _found(lambda: client.request("DELETE", path, what=f"deletion of {what}", expect={202, 200, 204}), what)


def _what(client: RegistryClient, reference: str) -> str:
    return f"manifest {reference} of {client.endpoint}"


def _found(ask: Callable[[], Answer], what: str) -> Answer:
    try:
        return ask()
    except RegistryError as error:
        if error.status == _NOT_FOUND or (error.code in _UNKNOWN and 400 <= error.status < 500):
            raise ImageNotFoundError(f"{what}: {error.answer}") from error
        raise


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _digest(answer: Answer, what: str) -> Digest | None:
    """Return what the registry says the digest is; None where it says nothing that can be held against anything."""
    stated = answer.headers.get(_DIGEST)
    if not stated:
        return None
    try:
        digest = Digest.parse(stated)
        digest.hasher()
    except InvalidDigestError as error:
        raise RegistryError(what, f"the registry states the digest {stated[:100]!r}, which is none") from error
    except NotSupportedError:
        return None
    return digest
