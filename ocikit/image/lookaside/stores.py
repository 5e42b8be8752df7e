"""The URL of a lookaside store, taken apart, and what the files of an image are called in it. Pure."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from attrs import field, frozen

from ocikit.errors import LayoutError, NotSupportedError

if TYPE_CHECKING:
    from typing import Self

    from ocikit.spec import Digest

__all__ = ["Store", "parts_of", "signature_name"]

_WEB: Final = frozenset({"http", "https"})


def signature_name(number: int) -> str:
    """Return what the file of a signature is called.

    Args:
        number: Which it is, counted from 1.
    """
    return f"signature-{number}"


@frozen(kw_only=True)
class Store:
    """A place that signatures of many repositories are kept in.

    Attributes:
        url: The URL, without a user and a password: for messages, and for HTTP.
        path: The directory, decoded; None for a store behind HTTP.
        credentials: The user and the password that the URL names, with a colon between them; None for none.
    """

    url: str
    path: bytes | None = None
    credentials: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take the URL of a store apart.

        Args:
            url: The URL as it is configured.

        Raises:
            LayoutError: It is none.
            NotSupportedError: It is of another kind than file, http and https.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            port = f":{parts.port}" if parts.port is not None else ""
        except ValueError:
            raise LayoutError("registries.d: a lookaside store has a URL that is none") from None
        place = f"[{host}]" if ":" in host else host
        shown = f"{parts.scheme}://{place}{port}{parts.path}".rstrip("/")
        if "?" in url or "#" in url or "\\" in url or not (url.isascii() and url.isprintable()):
            raise LayoutError(
                f"registries.d: lookaside store {shown}: expected a URL without ? and # and odd characters"
            )
        if parts.scheme == "file":
            return cls(url=shown, path=_path(parts.path, host, shown))
        if parts.scheme not in _WEB:
            raise NotSupportedError(
                f"registries.d: lookaside store {shown or url!r}: expected a URL of the kind file, http or https, such "
                "as file:///var/lib/containers/sigstore"
            )
        if not host:
            raise LayoutError(f"registries.d: lookaside store {shown}: expected a host")
        named = parts.username is not None
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if named else None
        return cls(url=shown, credentials=user)


def _path(path: str, host: str, shown: str) -> bytes:
    if host not in {"", "localhost"}:
        raise LayoutError(f"registries.d: lookaside store {shown}: files of another host are not read: three slashes?")
    decoded = unquote_to_bytes(path)
    if not decoded.startswith(b"/") or b"\0" in decoded or b".." in decoded.split(b"/"):
        raise LayoutError(f"registries.d: lookaside store {shown}: expected an absolute path without ..")
    return posixpath.normpath(decoded)


def parts_of(repository: str, digest: Digest) -> tuple[str, ...]:
    """Return the names that lead from a store to the directory with the signatures of a manifest.

    Args:
        repository: The repository, without its registry.
        digest: The digest of the manifest.
    """
    return tuple(f"{repository}@{digest.algorithm}={digest.hex}".split("/"))
