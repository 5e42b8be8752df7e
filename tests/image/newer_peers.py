"""Newer peers than this Debian has (``make .make/newer``), and a registry on this machine for them to meet in.

That one is missing is a failure, never a reason to skip.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from attrs import field, frozen

from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAMS = Path(__file__).parents[2] / ".make" / "newer" / "bin"
PASSPHRASE = "a passphrase"  # noqa: S105 - keys that are made for a test
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


@frozen(kw_only=True)
class Outcome:
    """What came of a program.

    Attributes:
        command: The program and its arguments.
        code: The code that it ended with.
        stdout: What it wrote.
        stderr: What it said.
    """

    command: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def ok(self) -> Outcome:
        """Return this, having made sure that it did what it was asked for."""
        assert self.code == 0, f"{' '.join(self.command)}: {self.code}\n{self.stdout}\n{self.stderr}"
        return self

    def refused(self, *said: str) -> Outcome:
        """Return this, having made sure that it did not, and gave a reason with these words."""
        assert self.code != 0, f"{' '.join(self.command)} was expected to fail\n{self.stdout}\n{self.stderr}"
        for one in said:
            assert one in self.stderr, f"{' '.join(self.command)}: expected {one!r}\n{self.stderr}"
        return self


@frozen(kw_only=True)
class Peer:
    """A newer program.

    Attributes:
        path: Where it is.
        home: Its home directory.
    """

    path: Path
    home: Path

    def __call__(self, *arguments: object, **environment: str) -> Outcome:
        """Run it; ``environment`` is added to the little that it gets."""
        command = (str(self.path), *map(str, arguments))
        # Nothing of whoever runs the tests: no configuration, no log-in, no proxy.
        given = {"HOME": str(self.home), "PATH": os.environ["PATH"], "COSIGN_PASSWORD": PASSPHRASE, **environment}
        given |= {name: value for name, value in os.environ.items() if name.startswith("OCIKIT_TEST")}
        done = subprocess.run(
            command, check=False, env=given, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )
        return Outcome(command=command, code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def newer(name: str, home: Path) -> Peer:
    """Find a newer program.

    Args:
        name: Its name.
        home: A directory of the test.
    """
    path = PROGRAMS / name
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is missing, and tests compare with it; 'make .make/newer' fetches it", pytrace=False)
    home.mkdir(exist_ok=True)
    return Peer(path=path, home=home)


@frozen(kw_only=True)
class Registry:
    """A registry on this machine, without a log-in and without TLS.

    Attributes:
        host: ``host:port``.
        http: What is asked through.
    """

    host: str
    http: urllib3.PoolManager = field(repr=False)

    def get(self, name: str, reference: str) -> tuple[str, bytes]:
        """Return the type and the bytes of a manifest."""
        accept = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
        answer = self._ask("GET", f"{name}/manifests/{reference}", headers=accept)
        return answer.headers["Content-Type"], answer.data

    def blob(self, name: str, digest: str) -> bytes:
        """Return a blob."""
        data: bytes = self._ask("GET", f"{name}/blobs/{digest}").data
        return data

    def tags(self, name: str) -> list[str]:
        """Return the tags of a repository."""
        found: list[str] = json.loads(self._ask("GET", f"{name}/tags/list").data)["tags"]
        return found

    def put_blob(self, name: str, data: bytes) -> None:
        """Add a blob."""
        place = self._ask("POST", f"{name}/blobs/uploads/").headers["Location"]
        digest = Digest.from_bytes(data)
        self._ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", body=data)

    def put(self, name: str, reference: str, manifest: bytes, media_type: str = OCI_MANIFEST) -> None:
        """Add a manifest, by a tag or its digest."""
        self._ask("PUT", f"{name}/manifests/{reference}", body=manifest, headers={"Content-Type": media_type})

    def refer(self, name: str, subject: Digest, manifest: bytes) -> None:
        """Add a manifest with a subject, and list it as is done where the registry does not (distribution-spec)."""
        document, digest = json.loads(manifest), Digest.from_bytes(manifest)
        self.put(name, str(digest), manifest)
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": str(digest),
            "size": len(manifest),
            "artifactType": document["artifactType"],
            "annotations": document.get("annotations", {}),
        }
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        self.put(name, f"{subject.algorithm}-{subject.hex}", json.dumps(index).encode(), OCI_INDEX)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        url = path if path.startswith("http") else f"http://{self.host}/v2/{path}"
        answer = self.http.request(method, url, **more)
        assert answer.status < 300, f"{method} {url}: {answer.status} {answer.data!r}"
        return answer


@contextlib.contextmanager
def registry(directory: Path) -> Iterator[Registry]:
    """Run a registry that keeps everything below a directory, as long as the context is open."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("docker-registry is not installed; 'make .make/peers' installs it", pytrace=False)
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        port = _free_port()
        config: Mapping[str, Any] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        (directory / "config.yml").write_text(json.dumps(config))
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(directory / "config.yml")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            with urllib3.PoolManager(retries=False, timeout=30) as http:
                if _is_up(process, http, port):
                    yield Registry(host=f"127.0.0.1:{port}", http=http)
                    return
        finally:
            process.kill()
            process.wait()
    pytest.fail(f"docker-registry does not start:\n{(directory / 'log').read_text()}", pytrace=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _is_up(process: subprocess.Popen[bytes], http: urllib3.PoolManager, port: int) -> bool:
    """Wait until a registry answers; it does not when another program took the port."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if http.request("GET", f"http://127.0.0.1:{port}/v2/").status == 200:
                return process.poll() is None
        time.sleep(0.05)
    return False
