"""A registry that somebody else wrote, on loopback, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Running", "run_registry", "running_registry"]


class Running(NamedTuple):
    """A registry that runs.

    Attributes:
        address: Its address.
        process: Its process; whoever wants it gone in the middle kills it.
    """

    address: str
    process: subprocess.Popen[bytes]


def free_address() -> str:
    """Return an address that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextlib.contextmanager
def running_registry(program: str, place: Path) -> Iterator[str]:
    """Run docker-registry for the length of a ``with`` block; give its address.

    Args:
        program: Where it is.
        place: A directory for its configuration and what it keeps.
    """
    with run_registry(program, place) as running:
        yield running.address


@contextlib.contextmanager
def run_registry(
    program: str,
    place: Path,
    *,
    auth: Mapping[str, Any] | None = None,
    tls: tuple[str, str] | None = None,
    storage: Path | None = None,
) -> Iterator[Running]:
    """Run docker-registry for the length of a ``with`` block.

    Args:
        program: Where it is.
        place: A directory for its configuration.
        auth: The part ``auth`` of its configuration.
        tls: Files with a certificate and its key.
        storage: Where it keeps what it has; another one may keep it there, too.
    """
    place.mkdir(parents=True, exist_ok=True)
    address = free_address()
    http: dict[str, Any] = {"addr": address, "secret": "of tests"}
    if tls is not None:
        http["tls"] = {"certificate": tls[0], "key": tls[1]}
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "http": http,
        "storage": {"filesystem": {"rootdirectory": str(storage or place / "registry")}},
        **({"auth": dict(auth)} if auth else {}),
    }
    file = place / "registry.yml"
    file.write_text(json.dumps(config).replace('"version": "0.1"', '"version": 0.1'))  # JSON is YAML
    process = subprocess.Popen([program, "serve", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"{'https' if tls else 'http'}://{address}/v2/", process)
        yield Running(address, process)
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, context=trusting if url.startswith("https") else None):  # noqa: S310 - ours
                return
        except urllib.error.HTTPError as error:
            error.close()
            return  # it wants to know who asks, and so is there
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")
