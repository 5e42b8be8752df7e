"""What a layout needs: everything that anything in it might refer to, from index.json on.

A walk with one doubt only: whatever looks like a digest, in a document of any kind, in documents embedded in it,
in damaged ones, is taken for a reference. Where that cannot be known, of a blob that is a link, the walk ends with an
error, as it does where too much is embedded. Whoever removes what is not found here removes too little rather than
too much.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import BlobNotFoundError, InvalidDigestError, LayoutError, LimitExceededError
from ocikit.image.layout.blobs import read_document
from ocikit.image.manifest import LIMIT
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ocikit.image.layout.store import Layout

__all__ = ["document_of", "mentioned", "reachable"]

# What might be a digest, and what might be a document within a document, in any JSON text.
_DIGEST: Final = re.compile(rb"[a-z0-9+._-]{1,32}:[a-zA-Z0-9=_-]{32,}")
_ESCAPE: Final = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
_REMEDY: Final = "put a copy of the file there: `cp -RL` copies a layout with files in place of links"
# A document within a document, and so on: base64 makes each a third larger, so that all of them have at most three
# times the bytes of the outermost. More is there only where texts can be read in several ways at every level.
_MOST_DECODED: Final = 4 * LIMIT
_EMBEDDED: Final = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/=]+)"')


def reachable(layout: Layout, index: bytes, known: Container[Digest] = ()) -> set[Digest]:
    """Return everything that can be reached from an index.json, or whatever else mentions digests.

    Args:
        layout: The layout.
        index: The content of its index.json.
        known: What is known already: it is not returned, nor is what can only be reached from there.

    Raises:
        LayoutError: A blob is a link or something else that is not read: what it refers to is not known.
        LimitExceededError: More documents are embedded in one than are looked at: nor is it known then.
        OSError: A blob cannot be read.
    """
    found: set[Digest] = set()
    pending = mentioned(index)
    while pending:
        digest = pending.pop()
        if digest not in found and digest not in known:
            found.add(digest)
            pending |= _mentioned_by(layout, digest)
    return found


def _mentioned_by(layout: Layout, digest: Digest) -> set[Digest]:
    try:
        return mentioned(document_of(layout, digest))
    except LimitExceededError as error:
        raise error.within(f"{layout.blobs.where}/{digest.algorithm}/{digest.hex}") from error


def mentioned(data: bytes) -> set[Digest]:
    """Return everything in a document that looks like a digest, in documents embedded in it too.

    Raises:
        LimitExceededError: More is embedded than a document can hold that says everything once.
    """
    found: set[Digest] = set()
    seen: set[bytes] = set()  # texts that were decoded: both ways to read a document have most of them
    pending, decoded = [data], 0
    while pending:
        for form in _forms(pending.pop()):
            found |= _digests(form)
            for text in set(_EMBEDDED.findall(form)) - seen:
                seen.add(text)
                with contextlib.suppress(binascii.Error):
                    pending.append(base64.b64decode(text))
                    decoded += len(pending[-1])
            if decoded > _MOST_DECODED:
                raise LimitExceededError("bytes of documents embedded in each other", _MOST_DECODED)
    return found


def _forms(data: bytes) -> Iterator[bytes]:
    """Yield a document as it is, and as it may be meant."""
    yield data
    if b"\\" in data:
        # JSON has other ways to write a digest, and base64 in particular: every slash may have a backslash before it.
        plain = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), data)
        yield plain.replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"")


def _digests(data: bytes) -> set[Digest]:
    found = set()
    for text in _DIGEST.findall(data):
        with contextlib.suppress(InvalidDigestError):
            found.add(Digest(text.decode()))
    return found


def document_of(layout: Layout, digest: Digest) -> bytes:
    """Return a blob that may be a JSON document; nothing when it is not there or holds something else.

    Raises:
        LayoutError: It is no regular file. Others follow links, and to them it may be a manifest.
        OSError: It cannot be read.
    """
    try:
        stream, size = layout.open_blob(digest)
    except BlobNotFoundError:
        return b""
    except LayoutError as error:
        raise LayoutError(
            f"{error}: what it refers to is not known, so that no blob may be removed; {_REMEDY}"
        ) from error
    with stream:
        data = read_document(stream, str(digest)) if size <= LIMIT else b""
    return data if data.lstrip()[:1] == b"{" else b""
