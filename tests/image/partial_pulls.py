"""Pulls that end in the middle, and what they leave: for tests of partial blobs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from builders import Store
from docker_images import context, pull, push

from ocikit.errors import ImageError
from ocikit.testing import Answer, Fault, Hang, Truncate

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from pathlib import Path

    from ocikit.testing import RecordedRequest, Registry

PREFIX = ".ocikit-tmp-part-"

# Pulls images into one layout, some at a time.
PULLER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from docker_images import context, pull
from ocikit.image import docker
address, conf, layout, threads, *names = sys.argv[2:]
sys_context = context(Path(conf), address)
def one(name):
    pull(f"docker://{address}/{name}:1", f"oci:{layout}:{name.replace('/', '.')}", sys_context)
print("ready", flush=True)
try:
    if threads == "1":
        list(map(one, names))
    else:
        with ThreadPoolExecutor(int(threads)) as pool:
            list(pool.map(one, names))
finally:
    docker.close_connections()
"""

# Pulls the image: the first argument is the directory of this file.
PULL_ONCE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from docker_images import context, pull
address, conf, layout = sys.argv[2:]
pull(f"docker://{address}/app:1", f"oci:{layout}:x", context(Path(conf), address), max_parallel=1)
"""


def start_pull(
    registry: Registry, conf: Path, layout: Path, names: Sequence[str] = ("app",), *, threads: int = 1
) -> subprocess.Popen[bytes]:
    """Start a process that pulls images into a layout."""
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", PULLER, here, registry.address, str(conf), str(layout), str(threads), *names]
    # In a group of its own, so that it can be given what a terminal sends.
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> bytes:
    """Send a signal to a process that is running, and return what it said when it has ended."""
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return out + err


def noise(number: int, size: int) -> bytes:
    """Return bytes that do not compress, the same every time."""
    import random  # noqa: PLC0415 - only those who make some need it

    return random.Random(number).randbytes(size)  # noqa: S311 - need not be secret


def there(registry: Registry, directory: Path, *sizes: int, name: str = "app") -> list[tuple[str, int]]:
    """Push an image with layers of these sizes; return digest and exact size of each layer."""
    store = Store()
    image = store.image(*({"f": noise(number, size)} for number, size in enumerate(sizes)), platform=False)
    layout = store.layout(directory / f"source-{name}", {name: image})
    push(f"oci:{layout}:{name}", f"docker://{registry.address}/{name}:1", context(directory / "conf", registry))
    registry.clear_requests()
    made = [one for digest, one in store.blobs.items() if digest != image["digest"] and not one.startswith(b"{")]
    from builders import digest_of  # noqa: PLC0415 - beside what it is for

    return [(digest_of(data), len(data)) for data in made]


def content(registry: Registry, digest: str) -> bytes:
    """Return a blob of the image."""
    found = registry.blob("app", digest)
    assert found is not None
    return found


def break_off(registry: Registry, directory: Path, digest: str, sent: int) -> Path:
    """Pull into ``l`` until so much of a blob has come, and fail then; return the file that is left."""
    layout, sys = directory / "l", context(directory / "conf", registry)
    registry.inject(Fault(kind="blob", reference=digest, do=Truncate(sent=sent)))
    gone = registry.inject(Fault(kind="blob", reference=digest, do=Answer(status=404)))
    with contextlib.suppress(ImageError):
        pull(f"docker://{registry.address}/app:1", f"oci:{layout}:x", sys)
    assert gone.fired == 1
    registry.clear_faults()
    registry.clear_requests()
    return partial_of(layout, digest)


def partials(layout: Path) -> list[Path]:
    """Return the files of partial blobs in a directory."""
    return sorted(layout.glob(f"{PREFIX}*"))


def partial_of(layout: Path, digest: str) -> Path:
    """Return the file of a partial blob."""
    (found,) = (file for file in partials(layout) if file.name.endswith(digest.replace(":", "-")))
    return found


def hang(registry: Registry, digest: str, sent: int) -> None:
    """Let nothing more come of a blob after so many bytes."""
    registry.inject(Fault(kind="blob", reference=digest, do=Hang(sent=sent)))


def wait_for_size(layout: Path, digest: str, size: int) -> None:
    """Wait until at least so much of a blob is in its file."""
    end_of_patience = time.monotonic() + 60
    while True:
        found = [file for file in partials(layout) if file.name.endswith(digest.replace(":", "-"))]
        if found and found[0].stat().st_size >= size:
            return
        assert time.monotonic() < end_of_patience, [(file, file.stat().st_size) for file in partials(layout)]
        time.sleep(0.005)


def gets(registry: Registry, digest: str) -> list[RecordedRequest]:
    """Return the requests for a blob."""
    return [one for one in registry.requests if one.kind == "blob" and one.method == "GET" and one.reference == digest]


def ranges(registry: Registry, digest: str) -> list[tuple[str, Any, int]]:
    """Return for each request of a blob from where it was wanted, the status, and the bytes that were sent."""
    return [(one.headers.get("range", ""), one.status, one.bytes_out) for one in gets(registry, digest)]
