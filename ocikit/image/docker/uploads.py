"""Blobs of a registry, written: in pieces, each of which is sent again when it was lost (distribution-spec 1.1, Push).

A small blob goes with the request that states its digest; when that fails it is sent like the others.
A piece is kept until the registry has it. After a failure the registry says how far it came, and the rest of the piece
follows. Nothing can be seen of a blob before its digest is stated at the end, and the registry verifies it as we do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from attrs import evolve

from ocikit.errors import DigestMismatchError, RegistryAccessError, RegistryError, SizeMismatchError
from ocikit.image.docker.blobs import blob_size
from ocikit.image.docker.connection import Unreachable
from ocikit.image.docker.retrying import RETRIED
from ocikit.spec import Digest

if TYPE_CHECKING:
    from ocikit.image.docker.client import Answer, RegistryClient
    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["mount_blob", "upload_blob"]

# Large enough that requests cost little beside it, small enough to be kept.
_PIECE: Final = 16 << 20
# What is sent in one request, from the beginning again if need be: it takes less time than asking how much arrived.
_WHOLE: Final = 1 << 20
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_NOT_FOUND: Final = 404
_RANGE_NOT_SATISFIABLE: Final = 416


def mount_blob(client: RegistryClient, digest: Digest, repository: str) -> bool:
    """Take a blob over from another repository of the registry, without sending it; tell whether that was done.

    Args:
        client: The repository that it is to be in.
        digest: The blob.
        repository: The repository that it is in.

    Raises:
        RegistryError: The registry refuses, or cannot be reached.
    """
    what = f"mount of blob {digest} from {repository} into {client.endpoint}"
    path = f"{client.endpoint.reference.path}/blobs/uploads/?mount={digest}&from={repository}"
    try:
        answer = client.request("POST", path, what=what, expect={201, 202}, headers={"Content-Length": "0"})
    except RegistryError as error:
        if error.status in {401, 403, 404, 405}:
            return False  # may not read there, or does not know how: then it is sent
        raise
    if answer.status == 201:
        return True
    _abandon(client, _location(answer, what))
    return False


def upload_blob(client: RegistryClient, stream: ByteStream, info: BlobInfo) -> BlobInfo:
    """Store a blob, verified while it is sent.

    Args:
        client: The repository.
        stream: The content, read to its end; not closed.
        info: What is known of it.

    Returns:
        ``info`` with the digest and the size of what was stored.

    Raises:
        DigestMismatchError: The content has another digest.
        SizeMismatchError: The content has another size.
        RegistryError: The registry refuses, or cannot be reached.
    """
    return _Upload(client, info).run(stream)


class _Upload:
    def __init__(self, client: RegistryClient, info: BlobInfo) -> None:
        self._client = client
        self._info = info
        self._what = f"upload of blob {info.digest or ''} to {client.endpoint}"
        self._hasher = info.digest.hasher() if info.digest is not None else Digest.from_bytes(b"").hasher()
        self._sent = 0
        self._location = ""

    def run(self, stream: ByteStream) -> BlobInfo:
        piece = _piece(stream)  # before anything is asked for: what cannot be read leaves nothing behind
        try:
            self._begin()
            return self._all_of(piece, stream)
        except BaseException:
            self._abandon()
            raise

    def _begin(self) -> None:
        path = f"{self._client.endpoint.reference.path}/blobs/uploads/"
        if self._info.digest is not None and self._info.digest.algorithm != "sha256":
            path += f"?digest-algorithm={self._info.digest.algorithm}"
        answer = self._client.request("POST", path, what=self._what, expect={202}, headers={"Content-Length": "0"})
        self._location, self._sent = _location(answer, self._what), 0

    def _abandon(self) -> None:
        location, self._location = self._location, ""
        if location:
            _abandon(self._client, location)

    def _all_of(self, piece: bytes, stream: ByteStream) -> BlobInfo:
        self._hasher.update(piece)
        if len(piece) <= _WHOLE:
            digest = self._digest(len(piece))
            if self._sent_whole(piece, digest):
                return evolve(self._info, digest=digest, size=len(piece))
        while piece:
            following = _piece(stream) if len(piece) == _PIECE else b""
            self._check_size(len(piece))
            self._send(piece)
            self._hasher.update(following)
            piece = following
        digest = self._digest(self._sent)
        self._finish(digest)
        return evolve(self._info, digest=digest, size=self._sent)

    def _digest(self, size: int) -> Digest:
        if 0 <= self._info.size != size:
            raise SizeMismatchError(self._what, self._info.size, size)
        digest = Digest.from_hasher(self._hasher)
        if self._info.digest is not None and digest != self._info.digest:
            raise DigestMismatchError(self._what, self._info.digest, digest)
        return digest

    def _sent_whole(self, content: bytes, digest: Digest) -> bool:
        """Send a blob with the request that ends its upload; if that fails, begin anew, for the way that always works.

        Some registries, and what stands before them, take blobs in pieces only.
        """
        headers = {"Content-Type": "application/octet-stream"}
        try:
            self._client.once("PUT", self._last(digest), what=self._what, expect={201}, headers=headers, body=content)
        except Unreachable as error:
            self._client.wait(1, self._what, str(error), error)
            if blob_size(self._client, digest) == len(content):
                return True  # only the answer was lost
        except RegistryAccessError:
            raise
        except RegistryError as error:
            if error.status in RETRIED:
                self._client.wait(1, self._what, error.answer, error)
        else:
            return True
        self._abandon()
        self._begin()
        return False

    def _check_size(self, more: int) -> None:
        if 0 <= self._info.size < self._sent + more:
            raise SizeMismatchError(self._what, self._info.size, self._sent + more)

    def _send(self, piece: bytes) -> None:
        """Send a piece; after a failure as much of it as the registry has not got."""
        begin, attempt = self._sent, 1
        while self._sent < begin + len(piece):
            rest = piece[self._sent - begin :]
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{self._sent}-{self._sent + len(rest) - 1}",
            }
            try:
                answer = self._client.once("PATCH", self._location, what=self._what, headers=headers, body=rest)
            except Unreachable as error:
                self._client.wait(attempt, self._what, str(error), error)
                self._recover(begin, begin + len(piece))
            except RegistryError as error:
                if error.status not in {_RANGE_NOT_SATISFIABLE, 408, 429, 500, 502, 503, 504}:
                    raise
                self._client.wait(attempt, self._what, error.answer, error)
                self._recover(begin, begin + len(piece))
            else:
                self._location = _location(answer, self._what)
                self._sent += len(rest)
            attempt += 1

    def _recover(self, least: int, most: int) -> None:
        """Ask the registry how much it has (distribution-spec 1.1, "Pushing a blob in chunks")."""
        answer = self._client.request("GET", self._location, what=self._what, expect={204})
        found = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
        # 0-0 stands for one byte, and with some registries for none: nothing is taken for granted that is not there.
        has = int(found[1]) + 1 if found is not None and found[1] != "0" else 0
        if not least <= has <= most:
            raise RegistryError(
                self._what, f"after a failure the registry has {has:,} bytes; expected {least:,} to {most:,}"
            )
        self._sent = has
        self._location = _location(answer, self._what, self._location)

    def _finish(self, digest: Digest) -> None:
        headers = {"Content-Length": "0", "Content-Type": "application/octet-stream"}
        try:
            self._client.request("PUT", self._last(digest), what=self._what, expect={201}, headers=headers)
        except RegistryError as error:
            # It was made again when its answer was lost: then the upload is over, and the blob is there.
            if error.status != _NOT_FOUND or blob_size(self._client, digest) is None:
                raise

    def _last(self, digest: Digest) -> str:
        return f"{self._location}{'&' if '?' in self._location else '?'}digest={digest}"


def _piece(stream: ByteStream) -> bytes:
    """Return one piece: whole but for the last one."""
    parts, size = [], 0
    while size < _PIECE and (data := stream.read(_PIECE - size)):
        parts.append(data)
        size += len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _location(answer: Answer, what: str, otherwise: str | None = None) -> str:
    found = answer.headers.get("Location")
    if not found:
        if otherwise is None:
            raise RegistryError(what, "the registry does not say where to send the blob")
        return otherwise
    return urljoin(answer.url, found)


def _abandon(client: RegistryClient, location: str) -> None:
    """Tell the registry that nothing more comes; it would find out by itself."""
    try:
        client.once("DELETE", location, what="end of an upload")
    except (Unreachable, RegistryError):
        return
