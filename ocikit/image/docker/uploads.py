"""Blobs of a registry, written: in pieces, each of which is sent again when it was lost (distribution-spec 1.1, Push).

A small blob goes with the request that states its digest; when that fails it is sent like the others.
A piece is kept until the registry has it. After a failure the registry says how far it came, and the rest of the piece
follows. Where the registry has lost what it had, everything is sent again, as long as everything is still here; a blob
of several pieces has to be opened again by whoever has it (:class:`UploadLostError`). Nothing can be seen of a blob
before its digest is stated at the end, and the registry verifies it as we do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import DigestMismatchError, RegistryAccessError, RegistryError, SizeMismatchError, UploadLostError
from ocikit.image.docker.addresses import resolve_address
from ocikit.image.docker.blobs import blob_size
from ocikit.image.docker.headers import stated_number
from ocikit.image.docker.retrying import RETRIED
from ocikit.image.docker.streaming import Feed
from ocikit.image.docker.unreachable import Unreachable
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.image.docker.client import Answer, RegistryClient
    from ocikit.image.docker.streaming import Body
    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["mount_blob", "upload_blob", "wait_for_another"]

# Large enough that requests cost little beside it, small enough to be kept.
_PIECE: Final = 16 << 20
# What a registry may ask for at the least in one piece; beyond that a blob goes in one stream.
_MOST_KEPT: Final = 64 << 20
# What is sent in one request, from the beginning again if need be: it takes less time than asking how much arrived.
_WHOLE: Final = 1 << 20
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_BINARY: Final = "application/octet-stream"

# The registry does not know the upload any more.
_GONE: Final = frozenset({404, 410})
# What is wrong with an upload and not with the blob, which was verified here: bytes are missing in it, or twice there.
_SPOILT: Final = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID"})
_RANGE_NOT_SATISFIABLE: Final = 416
# How registries say that they know nothing of pieces: those that take a blob only as one stream.
_NO_PIECES: Final = frozenset({400, 405, 411, 415, 501})
# Mounting is a favour: whoever does not grant it, for whatever reason, is sent the blob.
_NOT_NOW: Final = 429
# How long a registry may take to hear that an upload is over; it finds out by itself.
_FAREWELL_SECONDS: Final = 2.0


def mount_blob(client: RegistryClient, digest: Digest, repository: str) -> bool:
    """Take a blob over from another repository of the registry, without sending it; tell whether that was done.

    Args:
        client: The repository that it is to be in.
        digest: The blob.
        repository: The repository that it is in.

    Raises:
        RegistryError: The registry cannot be reached, or wants to be left alone.
    """
    what = f"mount of blob {digest} from {repository} into {client.endpoint}"
    path = f"{client.endpoint.reference.path}/blobs/uploads/?mount={digest}&from={repository}"
    try:
        answer = client.request("POST", path, what=what, expect={201, 202}, headers={"Content-Length": "0"})
    except RegistryError as error:
        if 400 <= error.status < 500 and error.status != _NOT_NOW:
            return False  # may not read there, or does not know how: then it is sent
        raise
    if answer.status == 201:
        return True
    if answer.headers.get("Location"):
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
        UploadLostError: The registry has lost what was sent, and it is not here any more.
        RegistryError: The registry refuses, or cannot be reached.
    """
    return _Upload(client, stream, info).run()


def wait_for_another(client: RegistryClient, attempt: int, error: UploadLostError) -> None:
    """Wait before a blob that was lost is sent anew, or give up.

    Args:
        client: The repository.
        attempt: How often it was sent.
        error: The loss.

    Raises:
        RegistryError: It was sent often enough; what was at the bottom of it.
    """
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    client.wait(attempt, error.what, error.answer, cause)


class _Upload:
    """One blob on its way.

    ``_kept`` is what was read and is still here, from byte ``_base`` of the blob on; the registry has ``_has`` bytes.
    """

    def __init__(self, client: RegistryClient, stream: ByteStream, info: BlobInfo) -> None:
        self._client = client
        self._stream = stream
        self._info = info
        self._what = f"upload of blob {info.digest or ''} to {client.endpoint}".replace("  ", " ")
        self._hasher = info.digest.hasher() if info.digest is not None else Digest.from_bytes(b"").hasher()
        self._kept = b""
        self._base = self._has = self._read = 0
        self._is_read = False
        self._piece = _PIECE
        self._goes_whole = False
        self._location = ""

    def run(self) -> BlobInfo:
        """Send it, and say what was stored."""
        self._fill()  # before anything is asked for: what cannot be read leaves nothing behind
        is_small = self._is_read and len(self._kept) <= _WHOLE
        attempt = 1
        while True:
            self._begin()
            try:
                stored = self._whole() if is_small or self._goes_whole else self._in_pieces()
            except UploadLostError as error:
                _abandon(self._client, self._location)
                if self._read > len(self._kept):
                    raise
                # All of it is here, so nobody need be asked for it.
                wait_for_another(self._client, attempt, error)
                attempt += 1
                is_small = False
            except RegistryError as error:
                _abandon(self._client, self._location)
                if not is_small or isinstance(error, RegistryAccessError):
                    raise
                is_small = False  # some registries, and what stands before them, take blobs in pieces only
            except BaseException:
                _abandon(self._client, self._location)
                raise
            else:
                return stored

    def _begin(self) -> None:
        path = f"{self._client.endpoint.reference.path}/blobs/uploads/"
        if self._info.digest is not None and self._info.digest.algorithm != "sha256":
            path += f"?digest-algorithm={self._info.digest.algorithm}"
        answer = self._client.request("POST", path, what=self._what, expect={202}, headers={"Content-Length": "0"})
        self._location = _location(answer, self._what)
        self._has = 0
        least = stated_number(answer.headers, "OCI-Chunk-Min-Length") or 0
        self._goes_whole = not self._client.takes_pieces or least > _MOST_KEPT
        self._piece = _PIECE if self._goes_whole else max(_PIECE, least)

    # In pieces.

    def _in_pieces(self) -> BlobInfo:
        attempt, most = 1, 0
        while self._fill():
            rest = self._kept[self._has - self._base :]
            headers = {"Content-Type": _BINARY, "Content-Range": f"{self._has}-{self._has + len(rest) - 1}"}
            try:
                answer = self._client.once("PATCH", self._location, what=self._what, headers=headers, body=rest)
            except (Unreachable, RegistryError) as error:
                if self._is_without_pieces(error):
                    return self._whole()
                self._check(error)
                self._client.wait(attempt, self._what, _said(error), error)
                had = self._has
                self._recover(error)
                if self._has == had and _status(error) == _RANGE_NOT_SATISFIABLE:
                    raise self._lost("the registry and we do not agree on what it has", error) from error
                # It gets on where it has more than ever: one that loses what it had does not.
                attempt = 1 if self._has > most else attempt + 1
                most = max(most, self._has)
            else:
                self._location = _location(answer, self._what, self._location)
                self._has += len(rest)
                attempt, most = 1, max(most, self._has)
        digest = self._verified()
        return self._finish(digest, {"Content-Length": "0", "Content-Type": _BINARY}, None)

    def _fill(self) -> bool:
        """Read until there is a piece that the registry has not got; tell whether there is anything."""
        if self._has - self._base >= self._piece:
            self._kept, self._base = self._kept[self._has - self._base :], self._has
        parts, size = [self._kept] if self._kept else [], len(self._kept)
        while not self._is_read and size < self._has - self._base + self._piece:
            data = self._next(self._has - self._base + self._piece - size)
            if data:
                parts.append(data)
                size += len(data)
        self._kept = parts[0] if len(parts) == 1 else b"".join(parts)
        return size > self._has - self._base

    def _next(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._is_read = not data
        self._hasher.update(data)
        self._read += len(data)
        if (self._is_read and self._read < self._info.size) or 0 <= self._info.size < self._read:
            raise SizeMismatchError(self._what, self._info.size, self._read)
        return data

    def _verified(self) -> Digest:
        digest = Digest.from_hasher(self._hasher)
        if self._info.digest is not None and digest != self._info.digest:
            raise DigestMismatchError(self._what, self._info.digest, digest)
        return digest

    def _recover(self, error: Exception) -> None:
        """Ask the registry how much it has (distribution-spec 1.1, "Pushing a blob in chunks")."""
        try:
            answer = self._client.request("GET", self._location, what=self._what, expect={200, 202, 204})
        except RegistryError as refusal:
            if refusal.status in {401, 403, _NOT_NOW} or not 400 <= refusal.status < 500:
                raise
            raise self._lost("the registry does not know how much it has", refusal) from refusal
        found = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
        # 0-0 stands for one byte, and with some registries for none: nothing is taken for granted that is not there.
        has = int(found[1]) + 1 if found is not None and found[1] != "0" else 0
        if not self._base <= has <= self._base + len(self._kept):
            raise self._lost(f"the registry has {has:,} bytes of {self._has:,} that it had", error) from error
        self._has = has
        self._location = _location(answer, self._what, self._location)

    def _check(self, error: Unreachable | RegistryError) -> None:
        """Raise what is to be raised of a failure after which there is nothing to be gone on with."""
        if isinstance(error, Unreachable) or error.status in RETRIED | {_RANGE_NOT_SATISFIABLE}:
            return
        if error.status in _GONE or error.code in _SPOILT:
            raise self._lost(error.answer, error) from error
        raise error

    def _lost(self, reason: str, error: Exception) -> UploadLostError:
        known = error if isinstance(error, RegistryError) else None
        return UploadLostError(
            self._what, known.reason if known else reason, known.status if known else 0, known.code if known else ""
        )

    # Whole.

    def _is_without_pieces(self, error: Unreachable | RegistryError) -> bool:
        """Tell whether a registry refuses pieces as such, and begin an upload that has none."""
        if isinstance(error, Unreachable) or self._base or self._has or error.code in _SPOILT - {"BLOB_UPLOAD_INVALID"}:
            return False
        if error.status not in _NO_PIECES | {_RANGE_NOT_SATISFIABLE}:
            return False
        self._client.takes_pieces = False
        _abandon(self._client, self._location)
        self._begin()
        return True

    def _whole(self) -> BlobInfo:
        """Send it in one request: with its digest (4b of the specification), or as a stream where that is not known."""
        self._fill()
        body = self._kept if self._is_read else self._rest()
        length = len(self._kept) if self._is_read else self._info.size
        headers = {"Content-Type": _BINARY} | ({"Content-Length": str(length)} if length >= 0 else {})
        digest = self._verified() if self._is_read else self._info.digest
        if digest is not None and length >= 0:
            return self._finish(digest, headers, body)
        self._ask_whole("PATCH", self._location, headers, body)
        return self._finish(self._verified(), {"Content-Length": "0", "Content-Type": _BINARY}, None)

    def _rest(self) -> Feed:
        """Return everything, of which only the beginning is kept."""
        kept = self._kept

        def pieces() -> Iterable[bytes]:
            yield kept
            while data := self._next(1 << 20):
                yield data
            self._verified()

        return Feed(pieces())

    def _ask_whole(self, method: str, address: str, headers: Mapping[str, str], body: Body) -> None:
        try:
            answer = self._client.once(method, address, what=self._what, headers=headers, body=body)
        except (Unreachable, RegistryError) as error:
            if isinstance(body, Feed):
                body.check()
            self._check(error)
            raise self._lost(_said(error), error) from error
        self._location = _location(answer, self._what, self._location)

    def _finish(self, digest: Digest, headers: Mapping[str, str], body: Body) -> BlobInfo:
        """State the digest. An answer that is lost says nothing of the blob: whether it is there is looked up."""
        joint = "&" if "?" in self._location else "?"
        address = f"{self._location}{joint}digest={digest}"
        attempt = 1
        while True:
            try:
                self._client.once("PUT", address, what=self._what, expect={201}, headers=headers, body=body)
            except (Unreachable, RegistryError) as error:
                if isinstance(body, Feed):
                    body.check()
                is_unclear = isinstance(error, Unreachable) or error.status in RETRIED | _GONE
                if is_unclear and self._is_there(digest):
                    break
                self._check(error)
                if body is not None or _status(error) == _RANGE_NOT_SATISFIABLE:
                    raise self._lost(_said(error), error) from error
                self._client.wait(attempt, self._what, _said(error), error)
                attempt += 1
            else:
                break
        return evolve(self._info, digest=digest, size=self._read)

    def _is_there(self, digest: Digest) -> bool:
        try:
            size = blob_size(self._client, digest)
        except RegistryError:
            return False
        return size is not None and size in {-1, self._read}


def _said(error: Unreachable | RegistryError) -> str:
    return error.answer if isinstance(error, RegistryError) else str(error)


def _status(error: Exception) -> int:
    return error.status if isinstance(error, RegistryError) else 0


def _location(answer: Answer, what: str, otherwise: str | None = None) -> str:
    found = answer.headers.get("Location")
    if not found:
        if otherwise is None:
            raise RegistryError(what, "the registry does not say where to send the blob")
        return otherwise
    # What is not encrypted is for the client to allow, which knows what was.
    return resolve_address(answer.url, found, what, encrypted=False)


def _abandon(client: RegistryClient, location: str) -> None:
    """Tell the registry that nothing more comes; it would find out by itself."""
    try:
        client.once("DELETE", location, what="end of an upload", seconds=_FAREWELL_SECONDS)
    except (Unreachable, RegistryError):
        return
