"""What every answer is made from: a request as it came in, and the registry that it came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidDigestError
from ocikit.spec import Digest
from ocikit.testing.messages import Refusal

if TYPE_CHECKING:
    from ocikit.testing.connection import RequestBody
    from ocikit.testing.contents import Contents
    from ocikit.testing.gate import Caller, Gate
    from ocikit.testing.messages import Head
    from ocikit.testing.options import Features, RegistryLimits
    from ocikit.testing.routes import Route
    from ocikit.testing.tokens import TokenServer

__all__ = ["Request", "Site", "known_digest"]


class Request(NamedTuple):
    """A request."""

    head: Head
    body: RequestBody
    route: Route
    caller: Caller

    @property
    def repository(self) -> str:
        """The repository in the path, for routes that have one."""
        return self.route.repository or ""

    @property
    def reference(self) -> str:
        """The reference in the path, for routes that have one."""
        return self.route.reference or ""

    def read_all(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            Refusal: It is larger than the limit.
        """
        data = bytearray()
        if (self.head.length or 0) > limit:
            raise _too_large(limit)
        for piece in self.body.read():
            data += piece
            if len(data) > limit:
                raise _too_large(limit)
        return bytes(data)


class Site(NamedTuple):
    """A registry, as those see it who answer."""

    contents: Contents
    features: Features
    limits: RegistryLimits
    gate: Gate
    tokens: TokenServer | None
    url: str

    def location(self, path: str) -> tuple[str, str]:
        """The header line that leads to a path."""
        return "Location", path if self.features.relative_locations else self.url + path

    def digest_header(self, digest: str) -> tuple[tuple[str, str], ...]:
        """The header line that names the digest of the content, if there is to be one."""
        return (("Docker-Content-Digest", digest),) if self.features.digest_headers else ()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "SIZE_INVALID", f"expected a body of at most {limit} bytes")


def known_digest(text: str) -> Digest:
    """Return a digest that can be computed here.

    Raises:
        Refusal: It is none.
    """
    try:
        digest = Digest(text)
    except InvalidDigestError as error:
        raise Refusal(400, "DIGEST_INVALID", str(error), detail=text[:160]) from error
    if digest.algorithm not in {"sha256", "sha512"}:
        raise Refusal(400, "DIGEST_INVALID", f"expected sha256 or sha512, found {digest.algorithm[:40]}")
    return digest
