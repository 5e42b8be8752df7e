"""The registry: started, filled, made to fail, looked at, stopped."""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING, Final, Self

from ocikit.errors import DigestMismatchError, InvalidReferenceError
from ocikit.spec import Digest, mediatypes
from ocikit.testing.certificates import TLS, MadeFiles, server_context
from ocikit.testing.contents import Contents
from ocikit.testing.documents import Manifest, read_manifest
from ocikit.testing.exchange import serve
from ocikit.testing.gate import Gate
from ocikit.testing.injection import Injection, Injector
from ocikit.testing.options import BearerAuth, Features, RegistryLimits, TLSFiles
from ocikit.testing.pieces import FilePiece, close_all
from ocikit.testing.record import RequestLog
from ocikit.testing.routes import NAME, TAG
from ocikit.testing.server import Server
from ocikit.testing.site import Site
from ocikit.testing.tokens import TokenServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from ocikit.testing.connection import Connection
    from ocikit.testing.faults import Fault
    from ocikit.testing.options import BasicAuth
    from ocikit.testing.record import RecordedRequest

__all__ = ["Registry"]

_SECONDS: Final = 10.0


class Registry:
    """A registry in this process: distribution-spec 1.1 over real HTTP on loopback.

    >>> from ocikit.testing import Registry
    >>> with Registry() as registry:
    ...     digest = registry.add_blob("team/app", b"layer")
    ...     registry.has_blob("team/app", digest)
    True

    It may be used by any number of threads. At the end of the ``with`` block nothing is left of it: no thread, no
    socket, no file.

    Args:
        auth: How users prove who they are; None: they need not.
        features: What it can do.
        limits: How much it takes.
        tls: Whether it speaks TLS: with certificates that are made for it (True, or :class:`TLS` for special ones), or
            with these files.
        faults: What goes wrong from the beginning.
        directory: A directory for the bytes of blobs, for large ones; None: they are in memory. A directory is made in
            it, and removed at the end.
        contents_of: Another registry whose contents this one has, too: what is pushed to one is in both. It has to
            outlive this one.
        host: The address to listen at.
        port: The port; 0: one that is free, and the same one after every start.

    Raises:
        SystemCallError: The directory cannot be made, or a certificate cannot be loaded.
        MissingDependencyError: Certificates are to be made and cryptography is not installed.
    """

    def __init__(
        self,
        *,
        auth: BasicAuth | BearerAuth | None = None,
        features: Features | None = None,
        limits: RegistryLimits | None = None,
        tls: bool | TLS | TLSFiles = False,
        faults: Iterable[Fault] = (),
        directory: str | os.PathLike[str] | None = None,
        contents_of: Registry | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._auth = auth
        self._features = features or Features()
        self._limits = limits or RegistryLimits()
        self._host = host
        self._port = port
        self._made: MadeFiles | None = None
        self._files: TLSFiles | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._server: Server | None = None
        self._connections = itertools.count(1)
        self._injector = Injector()
        self._log = RequestLog(self._limits.records)
        self._tokens = TokenServer(auth) if isinstance(auth, BearerAuth) else None
        self._owns_contents = contents_of is None
        if isinstance(tls, TLSFiles):
            self._files = tls
        elif tls:
            self._made = MadeFiles(tls if isinstance(tls, TLS) else TLS())
            self._files = self._made.files
        try:
            self._context = server_context(self._files) if self._files else None
            self._contents: Contents = (
                contents_of._contents if contents_of else Contents(directory, self._limits)  # noqa: SLF001 - of its kind
            )
        except BaseException:
            self._remove_files()
            raise
        for fault in faults:
            self.inject(fault)

    def start(self) -> None:
        """Listen; when it listens already, nothing happens.

        Raises:
            SystemCallError: The port cannot be had.
        """
        with self._lock:
            if self._server is None:
                self._server = Server(
                    host=self._host,
                    port=self._port,
                    context=self._context,
                    limit=self._limits.connections,
                    numbers=self._connections,
                    serve=self._serve,
                )
                self._port = self._server.port
                self._server.start()

    def stop(self) -> None:
        """Break off everything and listen no more, as if it died; it keeps what it has and may start again."""
        with self._lock:
            server, self._server = self._server, None
        if server:
            server.stop()

    def close(self) -> None:
        """Stop, and forget everything; a second time does nothing."""
        self.stop()
        if os.getpid() != self._process:
            return  # a forked child, and what is there is its parent's
        if self._owns_contents:
            self._contents.close()
        self._remove_files()

    def _remove_files(self) -> None:
        if self._made:
            self._made.remove()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "listening" if self._server else "stopped"
        return f"<Registry at {self._host}:{self._port}, {state}>"

    def _serve(self, connection: Connection, stopped: threading.Event) -> None:
        site = Site(
            self._contents,
            self._features,
            self._limits,
            Gate(self._auth, self._tokens, self.url),
            self._tokens,
            self.url,
        )
        serve(site, self._log, self._injector, connection, stopped)

    @property
    def address(self) -> str:
        """Where it listens, as in names of images: ``127.0.0.1:PORT``.

        Raises:
            RuntimeError: It was never started, so that it has no port.
        """
        if not self._port:
            raise RuntimeError("the registry has no port before it is started: use it in a with statement")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def url(self) -> str:
        """Its URL without a path: ``http://127.0.0.1:PORT``.

        Raises:
            RuntimeError: It was never started.
        """
        return f"{'https' if self._files else 'http'}://{self.address}"

    @property
    def ca_file(self) -> str | None:
        """A file with the authority that clients have to trust, in PEM; None: it speaks no TLS."""
        return os.fspath(self._files.authority) if self._files else None

    @property
    def cert_directory(self) -> str | None:
        """A directory as in ``certs.d``: ``ca.crt``, and the certificate and key of a client if it needs them.

        None when no certificates were made.
        """
        return self._made.directory if self._made else None

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """All requests until now, those that are running among them, in the order in which they came.

        Raises:
            LimitExceededError: There were more than ``RegistryLimits.records``.
        """
        return self._log.requests()

    def clear_requests(self) -> None:
        """Forget the requests until now; numbers go on."""
        self._log.clear()

    def wait_for(
        self, matches: Callable[[RecordedRequest], bool], *, count: int = 1, timeout: float = _SECONDS
    ) -> tuple[RecordedRequest, ...]:
        """Wait until there are requests, running ones among them, for which this is true.

        Args:
            matches: Told of a request whenever something of it changes.
            count: How many there are to be.
            timeout: The seconds that it may take.

        Returns:
            All of them.

        Raises:
            TimeoutError: It took longer.
        """
        return self._log.wait_for(matches, count=count, timeout=timeout)

    def inject(self, fault: Fault) -> Injection:
        """Let something go wrong, after what was asked for before; return what counts how often it happened."""
        return self._injector.add(fault)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._injector.clear()

    def disconnect(self) -> None:
        """Break off all connections that there are, and go on listening."""
        with self._lock:
            server = self._server
        if server:
            server.disconnect()

    def expire_tokens(self) -> None:
        """Make every token worthless that was handed out, with :class:`BearerAuth`."""
        if self._tokens:
            self._tokens.expire()

    def add_blob(
        self,
        repository: str,
        content: bytes | str | os.PathLike[str],
        digest: str | None = None,
        *,
        verify: bool = True,
    ) -> Digest:
        """Put a blob into a repository.

        Args:
            repository: The repository.
            content: The bytes, or the path of a file that has them. The file is read whenever the blob is asked for,
                and must stay as it is.
            digest: Its digest; None: it is computed, as sha256.
            verify: Whether the digest must be right.

        Returns:
            The digest.

        Raises:
            DigestMismatchError: The digest is not that of the bytes.
            InvalidReferenceError: This is no name of a repository.
            LimitExceededError: There is no room for it.
        """
        _check_name(repository)
        known = Digest(digest) if digest is not None else None
        if not isinstance(content, bytes | bytearray | memoryview):
            return self._contents.add_file(repository, known, os.path.abspath(content), verify=verify)
        known = _verified(known, bytes(content), "blob", verify=verify)
        self._contents.add_bytes(repository, known, memoryview(content))
        return known

    def add_manifest(
        self,
        repository: str,
        reference: str | None,
        manifest: bytes,
        media_type: str | None = None,
        *,
        verify: bool = True,
    ) -> Digest:
        """Put a manifest into a repository, whatever it says and refers to.

        Args:
            repository: The repository.
            reference: A tag, or its digest; None: neither.
            manifest: Its bytes.
            media_type: Its type; None: the one that it says, or that of an OCI image.
            verify: Whether a digest must be right.

        Returns:
            The digest.

        Raises:
            DigestMismatchError: The digest is not that of the bytes.
            InvalidReferenceError: This is no name of a repository, or no tag.
            ManifestError: No type is given, and the manifest is no JSON.
        """
        _check_name(repository)
        if reference is None or ":" in reference:
            digest = _verified(Digest(reference) if reference else None, manifest, "manifest", verify=verify)
            tags: tuple[str, ...] = ()
        else:
            if not TAG.fullmatch(reference):
                raise InvalidReferenceError(f"expected a tag or a digest, found {reference[:160]!r}")
            digest, tags = Digest.from_bytes(manifest), (reference,)
        kind = media_type or read_manifest(manifest).media_type or mediatypes.IMAGE_MANIFEST
        self._contents.add_manifest(repository, Manifest(digest, kind, bytes(manifest)), tags)
        return digest

    @property
    def repositories(self) -> tuple[str, ...]:
        """The names of all repositories, sorted."""
        with self._contents.lock:
            return tuple(sorted(self._contents.repositories))

    def tags(self, repository: str) -> dict[str, str]:
        """Return the tags of a repository, each with the digest of its manifest; none when it is not there."""
        with self._contents.lock:
            found = self._contents.repositories.get(repository)
            return dict(found.tags) if found else {}

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """Return a manifest by tag or digest; None: it is not there."""
        found = self._contents.manifest(repository, reference)
        return found.data if found else None

    def manifests(self, repository: str) -> tuple[str, ...]:
        """Return the digests of all manifests of a repository, in the order in which they came."""
        with self._contents.lock:
            found = self._contents.repositories.get(repository)
            return tuple(found.manifests) if found else ()

    def blobs(self, repository: str) -> frozenset[str]:
        """Return the digests of all blobs of a repository."""
        with self._contents.lock:
            found = self._contents.repositories.get(repository)
            return frozenset(found.blobs) if found else frozenset()

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether a blob is in a repository."""
        return self._contents.blob(repository, digest) is not None

    def blob(self, repository: str, digest: str) -> bytes | None:
        """Return the bytes of a blob; None: it is not there."""
        content = self._contents.blob(repository, digest)
        if content is None:
            return None
        pieces = content.pieces(0, content.size)
        try:
            return b"".join(piece.read() if isinstance(piece, FilePiece) else bytes(piece) for piece in pieces)
        finally:
            close_all(pieces)

    def uploads(self, repository: str) -> dict[str, int]:
        """Return the uploads on their way into a repository, each with the bytes that have come in."""
        with self._contents.lock:
            found = [one for one in self._contents.uploads.values() if one.repository == repository]
            return {one.id: one.size for one in found}

    def drop_uploads(self) -> None:
        """Forget all uploads, as a registry does that cleans up."""
        with self._contents.lock:
            found = [*self._contents.uploads.values()]
        for upload in found:
            self._contents.drop_upload(upload)


def _check_name(repository: str) -> None:
    if not NAME.fullmatch(repository):
        raise InvalidReferenceError(f"expected the name of a repository such as 'team/app', found {repository[:300]!r}")


def _verified(digest: Digest | None, data: bytes, what: str, *, verify: bool) -> Digest:
    actual = Digest.from_bytes(data, digest.algorithm if digest and verify else "sha256")
    if digest is None:
        return actual
    if verify and actual != digest:
        raise DigestMismatchError(what, digest, actual)
    return digest
