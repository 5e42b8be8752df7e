"""What callers give for keys, and easily give wrongly: content for the name of a file, text for bytes, one for many.

An error tells the kind of what was given, never what it is: it may be the secret itself.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ocikit.errors import OCIKitError

__all__ = ["bytes_of", "check_passphrase_kind", "file_name", "in_words", "is_content", "pem_bytes"]

_PEM: Final = "-----BEGIN"
_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_MOST_SHOWN: Final = 3


def is_content(name: str) -> bool:
    """Return whether what was given as the name of a file is the content of one: PEM, and maybe a private key."""
    return _PEM in name


def in_words(data: bytes) -> str:
    """Say what the content of a file with a key is, as far as it says so itself: the labels of its PEM, and no more."""
    labels = [label.decode() for label in dict.fromkeys(_LABEL.findall(data))]
    if labels:
        return f"PEM of {' and '.join(labels[:_MOST_SHOWN])}"
    return "nothing" if not data.strip() else "no PEM"


def file_name(given: str | os.PathLike[str], what: str, *, error: type[OCIKitError]) -> str:
    """Return the name of a file with a key.

    Args:
        given: The name.
        what: What is in the file, for messages.
        error: The error for a name that is none.

    Raises:
        OCIKitError: It is PEM, which no message will show, or has a zero byte in it.
        TypeError: It is something else.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{what}: expected the name of a file, found {type(given).__name__}")
    name = os.fspath(given)
    if is_content(name):
        raise error(f"{what}: expected the name of a file, found the content of one (PEM)")
    if "\0" in name:
        raise error(f"{what}: expected the name of a file, found a zero byte in it")
    return name


def bytes_of(given: object, what: str, remedy: str) -> bytes:
    """Return what has to be bytes.

    Args:
        given: What was given.
        what: What it is, for messages.
        remedy: What reads it from a file, for messages.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(given, bytes):
        return given
    if isinstance(given, bytearray | memoryview):
        return bytes(given)
    raise TypeError(f"{what}: expected its bytes, found {type(given).__name__}; {remedy}")


def pem_bytes(given: bytes | str, what: str, remedy: str) -> bytes:
    """Return PEM, which may be given as text, too.

    Args:
        given: What was given.
        what: What it is, for messages.
        remedy: As for :func:`bytes_of`.

    Raises:
        TypeError: It is something else.
    """
    # What is not ASCII is in no PEM, whatever it is replaced by.
    return given.encode("ascii", "replace") if isinstance(given, str) else bytes_of(given, what, remedy)


def check_passphrase_kind(given: object) -> None:
    """Return when a passphrase is text or bytes.

    Args:
        given: The passphrase.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(given, str | bytes):
        raise TypeError(f"a passphrase is text or bytes; found {type(given).__name__}")
