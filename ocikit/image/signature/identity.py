"""What a signature must say an image is called: the kinds of ``signedIdentity`` of policy.json, as data.

Only data and the rules that make it well formed; whether a signature matches is decided where
signatures are verified (containers-policy.json(5), "signedIdentity").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import InvalidPolicyError, InvalidReferenceError
from ocikit.image.reference import DOMAIN, NAME, parse_normalized_named

if TYPE_CHECKING:
    from ocikit.image.reference import Named

__all__ = [
    "DEFAULT_IDENTITY",
    "ExactReference",
    "ExactRepository",
    "MatchDigest",
    "MatchExact",
    "MatchRepoDigestOrExact",
    "MatchRepository",
    "RemapIdentity",
    "SignedIdentity",
]

# A prefix names its registry in full: "busybox" would silently mean docker.io/library/busybox.
_REMAP_PREFIX: Final = re.compile(rf"(?:{DOMAIN}|(?={DOMAIN}/){NAME})")


@frozen(kw_only=True)
class MatchExact:
    """The signature names exactly the image's reference, tag or digest included."""


@frozen(kw_only=True)
class MatchRepoDigestOrExact:
    """As :class:`MatchExact`; for an image named by digest the repository must be the same. The default."""


@frozen(kw_only=True)
class MatchRepository:
    """The signature names the image's repository; its tag does not matter."""


@frozen(kw_only=True)
class MatchDigest:
    """The signature is about this very manifest, whatever it calls the image, if it calls it anything.

    An extension of ocikit: containers/image refuses a policy.json with it. It is for signatures that have no name, such
    as the bundles of cosign 3. Whoever can put images where they are looked for may then show any image that the key
    has ever signed as any other.
    """


def _named(key: str, value: str) -> Named:
    _check_text(key, value)
    try:
        return parse_normalized_named(value)
    except InvalidReferenceError as error:
        raise InvalidPolicyError(f"$.{key}", str(error)) from error


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidPolicyError(f"$.{key}", f"expected text, found {type(value).__name__}")


def _prefix(key: str, value: str) -> None:
    _check_text(key, value)
    if not _REMAP_PREFIX.fullmatch(value):
        raise InvalidPolicyError(
            f"$.{key}", f"{value!r} is not a registry host[:port], or a repository or namespace that begins with one"
        )


@frozen(kw_only=True)
class ExactReference:
    """The signature names this reference, whatever the image is called here.

    Attributes:
        docker_reference: A reference with a tag or a digest.
    """

    docker_reference: str

    def __attrs_post_init__(self) -> None:
        if _named("dockerReference", self.docker_reference).is_name_only:
            raise InvalidPolicyError(
                "$.dockerReference", f"{self.docker_reference!r} has neither a tag nor a digest; add one"
            )


@frozen(kw_only=True)
class ExactRepository:
    """The signature names this repository, whatever the image is called here.

    Attributes:
        docker_repository: A repository.
    """

    docker_repository: str

    def __attrs_post_init__(self) -> None:
        _named("dockerRepository", self.docker_repository)


@frozen(kw_only=True)
class RemapIdentity:
    """The image is called by a mirror's name and signed under the original's.

    An image whose name begins with ``prefix`` (at a component boundary) is looked at as if that were
    ``signed_prefix``, then as by :class:`MatchRepoDigestOrExact`.

    Attributes:
        prefix: ``host[:port]``, or a namespace or repository that begins with one.
        signed_prefix: What stands in its place in the signature; the same grammar.
    """

    prefix: str
    signed_prefix: str

    def __attrs_post_init__(self) -> None:
        _prefix("prefix", self.prefix)
        _prefix("signedPrefix", self.signed_prefix)


SignedIdentity = (
    MatchExact
    | MatchRepoDigestOrExact
    | MatchRepository
    | ExactReference
    | ExactRepository
    | RemapIdentity
    | MatchDigest
)

#: What a signature must say where a policy says nothing.
DEFAULT_IDENTITY: Final = MatchRepoDigestOrExact()
