"""What credentials are kept under: registries, and parts of them (containers-auth.json(5)). Pure.

A key is ``host[:port]`` or a repository or namespace in it. Files that Docker has written have URLs in that place; for
looking, scheme and path of those are nothing, and Docker Hub has three names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidReferenceError
from ocikit.image.reference import NAME, Named

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DOCKER_HUB",
    "DOCKER_HUB_KEY",
    "NAMES_OF_DOCKER_HUB",
    "checked",
    "is_namespaced",
    "lookup_order",
    "normalized",
    "registry_of",
]

#: What Docker itself keeps the credentials for Docker Hub under.
DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
#: Docker Hub, as names of images have it.
DOCKER_HUB: Final = "docker.io"
#: What else it is called.
NAMES_OF_DOCKER_HUB: Final = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")

_LONGEST: Final = 512
_DOMAIN_AND_PATH: Final = re.compile(NAME)


def checked(key: Named | str) -> str:
    """Return what credentials are looked for or kept under.

    Args:
        key: An image or a repository, of which tag and digest do not count; or ``host[:port][/path…]`` as text.

    Raises:
        InvalidReferenceError: The text is not that: it is a URL, or has a tag or a digest.
    """
    if isinstance(key, Named):
        return key.name
    host, slash, path = key.partition("/")
    scheme, is_url, rest = key.partition("://")
    if is_url:
        found = rest.rpartition("@")[2]  # before that may be a password
        raise InvalidReferenceError(
            f"expected host[:port][/path], found {scheme[:80]}://; leave it out: {found[:80]!r}"
        )
    if len(key) > _LONGEST or "@" in key or ":" in path or not _DOMAIN_AND_PATH.fullmatch(f"{host}/{path or 'x'}"):
        raise InvalidReferenceError(f"expected host[:port][/path], found {key[:80]!r}")
    if slash and not path:
        raise InvalidReferenceError(f"expected host[:port][/path], found a slash at the end: {key!r}")
    return key


def registry_of(key: str) -> str:
    """Return the registry that a key is about, ``host[:port]``."""
    return key.partition("/")[0]


def is_namespaced(key: str) -> bool:
    """Say whether a key is about a part of a registry."""
    return "/" in key


def lookup_order(key: str) -> Iterator[str]:
    """Yield a key and what it lies in, up to the registry."""
    while key:
        yield key
        key = key.rpartition("/")[0]


def normalized(key: str, *, is_legacy: bool) -> str:
    """Return the registry that a key of a file stands for: without scheme, without the path of a URL, one Docker Hub.

    Args:
        key: The key.
        is_legacy: Whether the file is a ``.dockercfg``, of which every key is a URL.
    """
    stripped = key.removeprefix("http://").removeprefix("https://")
    if is_legacy or stripped != key:
        stripped = registry_of(stripped)
    return DOCKER_HUB if stripped in NAMES_OF_DOCKER_HUB else stripped
