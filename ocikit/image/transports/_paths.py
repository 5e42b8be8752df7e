"""Paths in references: resolved once, so that what a policy allowed is what is opened."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from attrs import field, frozen

from ocikit.errors import InvalidReferenceError
from ocikit.image.types import ImageReference

__all__ = ["PathReference", "resolve", "validate_scope", "with_parents"]


@frozen(kw_only=True)
class PathReference(ImageReference):
    """A reference to a place in the file system, or to an image in one.

    Attributes:
        path: The place, as it was written.
        resolved: The place, absolute and without symbolic links: what is opened.
    """

    path: str = field(eq=False)
    resolved: str

    @property
    def policy_configuration_identity(self) -> str:
        """The resolved path. The name of an image is no part of it: one can be reached by several, and by none."""
        return self.resolved

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """The directories above it."""
        return with_parents(self.resolved)[1:]


def resolve(path: str, reference: str) -> str:
    """Return a path in its one absolute form, without symbolic links.

    Args:
        path: The path; what it names need not exist, but the directory above must.
        reference: What the path was found in, for messages.

    Raises:
        InvalidReferenceError: The path is empty, or leads nowhere.
    """
    if not path:
        raise InvalidReferenceError(f"{reference!r}: the path is empty")
    if "\0" in path:
        raise InvalidReferenceError(f"{reference!r}: there is a zero byte in the path")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise InvalidReferenceError(f"{reference!r}: a path cannot have these characters: {path!r}") from None
    try:
        if os.path.lexists(path):
            return _one_slash(os.path.realpath(path, strict=True))
        parent, name = os.path.split(path.rstrip("/"))
        return _one_slash(str(Path(os.path.realpath(parent or ".", strict=True), name)))
    except OSError as error:
        raise InvalidReferenceError(
            f"{reference!r}: the path cannot be resolved: {error.strerror}: {error.filename}; "
            "the directory above it must exist"
        ) from error


def _one_slash(path: str) -> str:
    # POSIX lets two slashes at the start mean something else, and Python keeps them; nowhere here do they.
    return "/" + path.lstrip("/")


def with_parents(path: str) -> tuple[str, ...]:
    """Return an absolute path and the directories above it, the nearest first, without the root.

    The root is no scope of a policy: it would mean the same as the default of the transport.
    """
    return tuple(map(str, (Path(path), *Path(path).parents)))[:-1]


def validate_scope(scope: str) -> None:
    """Refuse a scope of policy.json that is not an absolute path in its one form (containers-policy.json(5)).

    Args:
        scope: A path, or a path with the name of an image behind a colon.

    Raises:
        ValueError: It could never match.
    """
    if not scope.startswith("/"):
        raise ValueError(f"{scope!r} can never match: expected an absolute path")
    if scope == "/":
        raise ValueError("'/' would mean the same as '': use the empty scope for everything in this transport")
    cleaned = _one_slash(posixpath.normpath(scope))
    if cleaned != scope:
        raise ValueError(f"{scope!r} can never match: expected a path in its shortest form, such as {cleaned!r}")
