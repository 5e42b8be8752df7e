"""Names of images in registries: ``host[:port]/path[:tag][@digest]``, and what is short for what.

The grammar of distribution/reference, with Docker Hub's abbreviations spelled out: ``busybox`` is
``docker.io/library/busybox``. Nothing is looked up anywhere; short names of other registries belong
to the registry configuration.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve, frozen

from ocikit.errors import InvalidDigestError, InvalidReferenceError
from ocikit.spec import Digest

__all__ = ["DOMAIN", "NAME", "NAME_LIMIT", "PATH", "TAG", "Named", "parse_normalized_named"]

_DOMAIN_COMPONENT: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_PATH_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"

#: A repository within its registry. A regular expression.
PATH: Final = rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
#: A registry: a host name, an IPv4 address or an IPv6 address in brackets, and perhaps a port. A regular expression.
DOMAIN: Final = rf"(?:{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
#: A tag. A regular expression.
TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
#: A repository, with its registry or without. A regular expression.
NAME: Final = rf"(?:{DOMAIN}/)?{PATH}"

_FULL_PATH: Final = re.compile(PATH)
_FULL_DOMAIN: Final = re.compile(DOMAIN)
_FULL_TAG: Final = re.compile(TAG)
_IMAGE_ID: Final = re.compile(r"[a-f0-9]{64}")
#: How many characters a name has at most.
NAME_LIMIT: Final = 255


@frozen(kw_only=True)
class Named:
    """A repository in a registry, and perhaps a tag or a digest in it.

    Attributes:
        domain: The registry, ``host[:port]``.
        path: The repository within the registry.
        tag: The tag, or None.
        digest: The digest of the manifest, or None.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The repository with its registry, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def is_name_only(self) -> bool:
        """Whether there is neither a tag nor a digest."""
        return self.tag is None and self.digest is None

    @property
    def asked_for(self) -> Named:
        """What this leads to: of a tag and a digest the digest decides, and the tag is a note for people."""
        return evolve(self, tag=None) if self.digest is not None else self

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.name}{tag}{digest}"


def parse_normalized_named(text: str) -> Named:
    """Parse a name as people write it, filling in Docker Hub where no registry is named.

    Args:
        text: For example ``busybox``, ``quay.io/team/app:1.2`` or ``localhost:5000/app@sha256:…``.

    Raises:
        InvalidReferenceError: The text is outside the grammar; the message says which part.
    """
    if _IMAGE_ID.fullmatch(text):
        raise InvalidReferenceError(
            f"{text!r} is an image id, not a name; 64 hexadecimal digits cannot be a repository"
        )
    rest, digest = _split_digest(text)
    domain, remainder = _split_domain(rest)
    path, colon, tag = remainder.partition(":")
    if not _FULL_DOMAIN.fullmatch(domain):
        raise InvalidReferenceError(f"{text!r}: {domain!r} is not a registry (host[:port])")
    if path != path.lower():
        raise InvalidReferenceError(f"{text!r}: the repository {path!r} must be in lower case")
    if not _FULL_PATH.fullmatch(path):
        raise InvalidReferenceError(
            f"{text!r}: {path!r} is not a repository (components of a-z 0-9, within them single . _ __ or dashes)"
        )
    if colon and not _FULL_TAG.fullmatch(tag):
        raise InvalidReferenceError(
            f"{text!r}: {tag!r} is not a tag (up to 128 of A-Z a-z 0-9 _ . -, not first . or -)"
        )
    # Names of hosts have no case. Whoever compares them, to block or to trust, compares them as they stand here.
    named = Named(domain=domain.lower(), path=path, tag=tag if colon else None, digest=digest)
    if len(named.name) > NAME_LIMIT:
        raise InvalidReferenceError(
            f"{path[:40]!r}…: the name has {len(named.name)} characters, the limit is {NAME_LIMIT}"
        )
    return named


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return rest, None
    try:
        return rest, Digest.parse(digest)
    except InvalidDigestError as error:
        raise InvalidReferenceError(f"{text!r}: {error}") from error


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, remainder = text.partition("/")
    if not slash or not (any(mark in first for mark in ".:") or first == "localhost"):
        first, remainder = "docker.io", text
    if first == "index.docker.io":
        first = "docker.io"
    if first == "docker.io" and "/" not in remainder:
        remainder = f"library/{remainder}"
    return first, remainder
