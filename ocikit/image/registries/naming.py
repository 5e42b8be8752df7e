"""Which names are short, and which are not: the grammar of aliases (containers-registries.conf(5)). Pure.

A name is short when no registry is named: when what stands before its first slash has no dot, no colon, and is not
``localhost``.
"""

from __future__ import annotations

from typing import Final

from ocikit.errors import InvalidReferenceError
from ocikit.image.reference import Named, parse_normalized_named

__all__ = ["LONGEST", "alias_value", "check_short_name", "is_short_name", "repository_of"]

#: No name of an image is longer, with the longest tag and digest.
LONGEST: Final = 1024


def is_short_name(text: str) -> bool:
    """Say whether a name leaves open which registry it is in.

    Args:
        text: The name, with or without tag and digest.
    """
    first, slash, _ = text.partition("/")
    return not slash or not (any(mark in first for mark in ".:") or first == "localhost")


def repository_of(text: str) -> str:
    """Return a name without tag and digest, as it is looked up.

    Args:
        text: The name.
    """
    path, slash, last = text.partition("@")[0].rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def check_short_name(text: str) -> None:
    """Refuse what cannot be a short name that is given a meaning.

    Args:
        text: The short name, without tag and digest.

    Raises:
        InvalidReferenceError: It has a tag or a digest, names a registry, or is outside the grammar.
    """
    _parse(text)
    if not is_short_name(text):
        raise InvalidReferenceError(f"{text!r} is not a short name: {text.partition('/')[0]!r} is a registry")


def alias_value(text: str) -> Named:
    """Parse what a short name stands for.

    Args:
        text: A repository with its registry, without tag and digest.

    Raises:
        InvalidReferenceError: It is not that.
    """
    named = _parse(text)
    if is_short_name(text):
        raise InvalidReferenceError(f"{text!r} is itself a short name; expected a registry and a repository")
    return named


def _parse(text: str) -> Named:
    if len(text) > LONGEST:
        raise InvalidReferenceError(f"{text[:40]!r}…: a name with {len(text):,} characters")
    named = parse_normalized_named(text)
    if not named.is_name_only:
        raise InvalidReferenceError(f"{text!r}: expected a name without tag and digest")
    return named
