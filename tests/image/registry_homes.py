"""A home of its own for a test about configuration: nothing of this machine is read, nothing outside is written."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocikit.image import SystemContext

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Move the home and the root of the system below ``tmp_path``; return the context for it."""
    for name, place in (("HOME", "home"), ("XDG_RUNTIME_DIR", "session"), ("XDG_CACHE_HOME", "cache")):
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / place))
    for name in ("XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "_CONTAINERS_ROOTLESS_UID"):
        monkeypatch.delenv(name, raising=False)
    return SystemContext(root_for_implicit_absolute_paths=str(tmp_path / "root"))


def write(path: Path, text: str | bytes) -> Path:
    """Write a file, and the directories that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve a registry that has nothing; give its address, and what it is asked, as it is asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Note what is asked; there is an API, and nothing in it."""
            asked.append(self.path)
            self.send_response(200 if self.path == "/v2/" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the name it has there

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.daemon_threads = False
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
