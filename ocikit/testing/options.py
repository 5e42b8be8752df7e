"""What a registry for tests can do, and how much of it: only data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from attrs import Attribute

__all__ = ["BasicAuth", "BearerAuth", "Features", "RegistryLimits", "TLSFiles"]


def _at_least(least: int) -> Callable[[object, Attribute[Any], object], None]:
    def check(one: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            name = f"{type(one).__name__}.{attribute.name}"
            raise ValueError(f"{name}: expected a number, at least {least}, found {value!r}")

    return check


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _frozen(value: Iterable[str] | None) -> frozenset[str] | None:
    return None if value is None else frozenset(value)


@frozen(kw_only=True)
class Features:
    """What the registry can do; everything, unless it is turned off.

    Attributes:
        ranges: Parts of blobs can be had.
        multiple_ranges: Several parts of a blob can be had at once; otherwise such a request gets everything.
        delete_blobs: Blobs can be deleted; otherwise 405.
        delete_manifests: Manifests can be deleted; otherwise 405.
        delete_tags: Tags can be deleted; otherwise 405.
        mount: Blobs of other repositories can be mounted; otherwise an upload begins.
        single_post: A blob can come with the request that begins its upload; otherwise an upload begins.
        chunks: Uploads take chunks with a Content-Range; otherwise 416, and streams only.
        chunk_min_length: The bytes that each chunk but the last must have (``OCI-Chunk-Min-Length``); None: any.
        keep_partial_chunks: What came in of a request that broke off stays in the upload.
        relative_locations: ``Location`` has no scheme and host.
        location_state: The location of an upload has a query that clients must send back.
        referrers: The referrers API is there; otherwise 404, and no ``OCI-Subject``.
        filters: The referrers API filters by type of artifact.
        catalog: All repositories can be listed; otherwise 404.
        push_tags: Manifests that come by digest can bring tags along (``?tag=``).
        negotiation: A manifest of a type that is not accepted is not found; otherwise it is sent regardless.
        manifest_types: The types of manifests that are taken; None: any.
        check_references: A manifest is taken only when its configuration and layers are there.
        check_indexes: An index is taken only when all it lists is there.
        digest_headers: ``Docker-Content-Digest`` is sent.
        page_size: The most entries of a list in one answer; None: as many as were asked for.
        warning: The text of a ``Warning: 299`` with every answer of the API; None: there is none.
    """

    ranges: bool = True
    multiple_ranges: bool = True
    delete_blobs: bool = True
    delete_manifests: bool = True
    delete_tags: bool = True
    mount: bool = True
    single_post: bool = True
    chunks: bool = True
    chunk_min_length: int | None = field(default=None, validator=_at_least(1))
    keep_partial_chunks: bool = True
    relative_locations: bool = False
    location_state: bool = True
    referrers: bool = True
    filters: bool = True
    catalog: bool = True
    push_tags: bool = True
    negotiation: bool = True
    manifest_types: frozenset[str] | None = field(default=None, converter=_frozen)
    check_references: bool = True
    check_indexes: bool = True
    digest_headers: bool = True
    page_size: int | None = field(default=None, validator=_at_least(1))
    warning: str | None = None


@frozen(kw_only=True)
class RegistryLimits:
    """How much a registry takes; more is refused, and costs nothing.

    Attributes:
        stored_bytes: The bytes of all blobs and uploads.
        manifest_bytes: The bytes of a manifest.
        manifests: The manifests of a repository, and its tags.
        repositories: The repositories.
        uploads: The uploads at once.
        connections: The connections at once; each has a thread.
        head_bytes: The bytes of the head of a request.
        records: The requests that are remembered.
    """

    stored_bytes: int = field(default=4 << 30, validator=_at_least(0))
    manifest_bytes: int = field(default=4 << 20, validator=_at_least(1))
    manifests: int = field(default=100_000, validator=_at_least(1))
    repositories: int = field(default=10_000, validator=_at_least(1))
    uploads: int = field(default=1_000, validator=_at_least(1))
    connections: int = field(default=256, validator=_at_least(1))
    head_bytes: int = field(default=32 << 10, validator=_at_least(1 << 10))
    records: int = field(default=100_000, validator=_at_least(1))


@frozen(kw_only=True)
class BasicAuth:
    """Users prove who they are with every request (RFC 7617).

    Attributes:
        users: Passwords by user.
        rights: What each may do: user → pattern of repositories (as of :mod:`fnmatch`) → actions of ``pull``, ``push``,
            ``delete`` and ``*``, with commas between them. The user ``""`` is anybody. None: users may do everything.
        anonymous_pull: Whether anybody may pull everything.
        realm: The realm of the challenge.
    """

    users: Mapping[str, str] = field(repr=False)
    rights: Mapping[str, Mapping[str, str]] | None = None
    anonymous_pull: bool = False
    realm: str = "registry"


@frozen(kw_only=True)
class BearerAuth:
    """Users get tokens from a token server, which is this registry too (``/token``), and show these.

    The protocol is that of Docker's token authentication: GET with Basic, POST with ``grant_type=refresh_token`` or
    ``password``.

    Attributes:
        users: Passwords by user.
        rights: As of :class:`BasicAuth`.
        anonymous_pull: Whether anybody gets tokens to pull everything.
        identity_tokens: Users by identity token (refresh token) that they have from the beginning.
        service: The name of the service in challenges.
        realm: Where challenges send clients for tokens; None: to this registry.
        lifetime: The seconds that a token is good for.
        expires_in: The seconds that answers say it is; None: the truth; 0: they say nothing.
        token_keys: How a token is called in answers to GET: ``token``, ``access_token``, or both.
    """

    users: Mapping[str, str] = field(repr=False)
    rights: Mapping[str, Mapping[str, str]] | None = None
    anonymous_pull: bool = False
    identity_tokens: Mapping[str, str] = field(factory=dict, repr=False)
    service: str = "registry"
    realm: str | None = None
    lifetime: float = 300.0
    expires_in: int | None = None
    token_keys: tuple[str, ...] = field(default=("token", "access_token"), converter=_texts)

    @token_keys.validator
    def _check_token_keys(self, _: object, value: tuple[str, ...]) -> None:
        if not value or not {"token", "access_token"}.issuperset(value):
            raise ValueError(f"BearerAuth.token_keys: expected token, access_token or both, found {value!r}")


@frozen(kw_only=True)
class TLSFiles:
    """A certificate that is there already.

    Attributes:
        certificate: A file with the certificate and those between it and the authority, in PEM.
        key: A file with its private key, in PEM, without a passphrase.
        authority: A file with the authority that clients are to trust, in PEM.
        client_authority: A file with the authority of clients, which must show a certificate then.
    """

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    authority: str | os.PathLike[str]
    client_authority: str | os.PathLike[str] | None = None
