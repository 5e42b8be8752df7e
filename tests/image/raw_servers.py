"""Servers that say whatever they are told to, byte for byte: for registries that no software would be."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO, Self

    from ocikit.testing.certificates import MadeFiles


# How whoever speaks TLS begins.
_HELLO = b"\x16"


class Asked(NamedTuple):
    """One request.

    Attributes:
        method: The method.
        target: What was asked for.
        headers: The headers, names in lower case.
        body: The body.
        certificate: Whether the client has shown one.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    certificate: bool


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return an answer; names of headers have underscores for dashes."""
    lines = {"Content-Length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    return f"HTTP/1.1 {status} x\r\n{head}\r\n".encode("latin-1") + body


class RawServer:
    """A server on loopback, until the end of the ``with`` block.

    Args:
        says: Returns what is sent for a request; an iterator is sent piece by piece, until it ends or the client goes.
        files: Certificates; None for plain HTTP.
    """

    def __init__(self, says: Callable[[Asked], bytes | Iterator[bytes]], files: MadeFiles | None = None) -> None:
        self._says = says
        self.asked: list[Asked] = []
        self._context: ssl.SSLContext | None = None
        if files is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(files.files.certificate, files.files.key)
            self._context.load_verify_locations(files.files.authority)
            self._context.verify_mode = ssl.CERT_OPTIONAL
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    @property
    def host(self) -> str:
        """Its name and port."""
        return f"localhost:{self.port}"

    def shown(self, header: str) -> list[str]:
        """Return every value of a header that was sent here."""
        return [one.headers[header] for one in self.asked if header in one.headers]

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self._open.copy():
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._begin(self._serve, self._socket.accept()[0])

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError), contextlib.closing(plain):
            conversation = plain
            if self._context is not None:
                plain.settimeout(10)
                conversation = self._context.wrap_socket(plain, server_side=True)
                conversation.settimeout(None)
            elif plain.recv(1, socket.MSG_PEEK) == _HELLO:
                return
            self._open.add(conversation)
            with contextlib.closing(conversation), conversation.makefile("rb") as reader:
                while self._answer(conversation, reader):
                    pass

    def _answer(self, conversation: socket.socket, reader: BinaryIO) -> bool:
        line = reader.readline()
        if not line:
            return False
        method, target = line.decode("latin-1").split()[:2]
        headers: dict[str, str] = {}
        while (line := reader.readline()) not in {b"\r\n", b""}:
            name, _, text = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = text.strip()
        body = reader.read(int(headers.get("content-length", "0")))
        has_shown = isinstance(conversation, ssl.SSLSocket) and bool(conversation.getpeercert())
        self.asked.append(Asked(method, target, headers, body, has_shown))
        said = self._says(self.asked[-1])
        for piece in [said] if isinstance(said, bytes) else said:
            conversation.sendall(piece)
        return isinstance(said, bytes)
