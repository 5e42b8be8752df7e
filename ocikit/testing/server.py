"""The listening side: a thread that accepts, a thread for each connection, and an end that is sure and at once."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import weakref
from typing import TYPE_CHECKING

from ocikit.errors import SystemCallError
from ocikit.testing.connection import Connection

if TYPE_CHECKING:
    import itertools
    import ssl
    from collections.abc import Callable

__all__ = ["Server"]

_BACKLOG = 512

#: The servers of this process, whose sockets a forked child must not keep: while it has them, nothing ends for clients.
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _let_go() -> None:
    for server in _servers:
        server.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class Server:
    """Accepts connections on a port, and hands each to a thread of its own.

    Args:
        host: The address to listen at.
        port: The port; 0: one that is free.
        context: How TLS is spoken; None: not at all.
        limit: The most connections at once; more wait until one ends.
        numbers: Counts connections.
        serve: Answers what comes over a connection, and closes it; told when the server is being stopped.

    Raises:
        SystemCallError: The port cannot be had.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        limit: int,
        numbers: itertools.count[int],
        serve: Callable[[Connection, threading.Event], None],
    ) -> None:
        self._context = context
        self._serve = serve
        self._numbers = numbers
        self._stopped = threading.Event()
        self._places = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
            self._listener.listen(_BACKLOG)
            self._listener.setblocking(False)
            self._wake, self._woken = socket.socketpair()
        except OSError as error:
            self._listener.close()
            raise SystemCallError("listen", error.errno or 0, f"{host}:{port}") from error
        _servers.add(self)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"ocikit.testing:{self.port}", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor.start()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopped.is_set():
                selector.select()
                if self._stopped.is_set():
                    return
                # Woken again and again while all places are taken: what waits is in the backlog.
                if not self._places.acquire(timeout=0.05):
                    continue
                try:
                    accepted, _ = self._listener.accept()
                except OSError:  # the client has gone again, or there are no descriptors
                    self._places.release()
                    self._stopped.wait(0.001)
                    continue
                self._begin(accepted)

    def _begin(self, accepted: socket.socket) -> None:
        accepted.setblocking(True)
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock: socket.socket = accepted
            if self._context:
                # The handshake waits for the client: it is for the thread.
                sock = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        except OSError:
            accepted.close()
            self._places.release()
            return
        connection = Connection(sock, next(self._numbers), is_plain=self._context is None)
        thread = threading.Thread(
            target=self._run, args=(connection,), name=f"ocikit.testing:{self.port}:{connection.number}", daemon=True
        )
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            if connection.shake_hands():
                self._serve(connection, self._stopped)
        finally:
            connection.close()
            with self._lock:
                self._connections.pop(connection, None)
            self._places.release()

    def let_go(self) -> None:
        """Close all sockets here, in a forked child; those of the parent stay as they are."""
        # Without locks, which threads may have held that are not here.
        self._stopped = threading.Event()
        self._stopped.set()
        for one in (self._listener, self._wake, self._woken):
            one.close()
        for connection in [*self._connections]:
            connection.let_go()

    def disconnect(self) -> None:
        """Break off all connections that there are."""
        with self._lock:
            connections = [*self._connections]
        for connection in connections:
            connection.abort()

    def stop(self) -> None:
        """Break off everything, and return when nothing of it is left; a second time does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        with contextlib.suppress(OSError):  # it is full, so it wakes
            self._wake.send(b"\0")
        self._acceptor.join()
        for one in (self._listener, self._wake, self._woken):
            one.close()
        with self._lock:
            left = dict(self._connections)
        for connection, thread in left.items():
            connection.abort()
            thread.join()
