"""Addresses that servers give: where one is sent by a redirect, an upload, a list, a challenge.

Whoever gives an address may want to be sent what is meant for another. So an address is taken apart by the same parser
that connects to it, nothing is accepted that two parsers may understand differently, and "the same server" means the
same scheme, host and port.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

from ocikit._tuples import NamedTuple
from ocikit.errors import RegistryError

__all__ = ["Origin", "origin_of", "resolve_address", "shown"]

_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 16 * 1024
# What is in no address: parsers differ about spaces and backslashes, and control characters end up in terminals.
_STRANGE: Final = re.compile(r"[\x00-\x20\\\x7f-\U0010ffff]")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_MOST_SHOWN: Final = 300


class Origin(NamedTuple):
    """What is one server and not another (RFC 6454)."""

    #: ``http`` or ``https``.
    scheme: str
    #: The name or number, in lower case.
    host: str
    #: The port.
    port: int


def origin_of(url: str) -> Origin:
    """Return the server that an address leads to.

    Args:
        url: The address, in full.

    Raises:
        ValueError: It is none of HTTP, or one that may be understood in two ways.
    """
    return _parsed(url)[0]


def _parsed(url: str) -> tuple[Origin, int | None]:
    """Return the server, and the port as far as it is stated."""
    from urllib3.exceptions import LocationParseError  # noqa: PLC0415 - loaded when first needed
    from urllib3.util import parse_url  # noqa: PLC0415

    if len(url) > _LONGEST or _STRANGE.search(url):
        raise ValueError("it is too long, or has characters in it that are in no address")
    try:
        found = parse_url(url)
    except LocationParseError as error:
        raise ValueError("it cannot be understood") from error
    if found.scheme not in _PORTS or not found.host:
        raise ValueError("expected HTTP")
    if found.auth is not None:
        raise ValueError("it has a user in it")
    return Origin(found.scheme, found.host.lower(), found.port or _PORTS[found.scheme]), found.port


def resolve_address(base: str, given: str, what: str, *, encrypted: bool = True) -> str:
    """Return the address that a server gives, in full.

    What stands behind something that ends TLS often thinks that it speaks plain HTTP, and says so: at the same host and
    port it is asked as it was asked before.

    Args:
        base: Where it was given.
        given: The address, or a part of one.
        what: What it is, for messages.
        encrypted: Whether one does not go on without encryption from where there was some.

    Raises:
        RegistryError: It is none that anybody should go to.
    """
    try:
        url = urljoin(base, given)
        (old, old_port), (new, new_port) = _parsed(base), _parsed(url)
    except ValueError as error:
        raise RegistryError(what, f"{shown(base)} sends one to {shown(given)!r}: {error}") from error
    if old.scheme == "https" and new.scheme == "http":
        if (old.host, old_port) == (new.host, new_port):
            return "https" + url[len("http") :]
        if encrypted:
            raise RegistryError(what, f"{shown(base)} sends one to {shown(url)}, which is not encrypted")
    return url


def shown(url: str) -> str:
    """Show an address without its query, which has signatures of stores in it, without a password or anything odd."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/") if separator else ("", "", url)
    text = f"{scheme if separator else ''}{separator}{host.rpartition('@')[2]}{slash}{path}"
    return _UNPRINTABLE.sub("?", re.split("[?#]", text, maxsplit=1)[0])[:_MOST_SHOWN]
