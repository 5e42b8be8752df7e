"""Killed at any moment, a copy leaves a layout that is valid, with every finished image in it whole."""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from builders import Store, check_layout, manifest_at

from ocikit.image import Policy, copy

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("OCIKIT_KILLS", "15"))

# Copies images under ever new names and says so when each is done.
WRITER = """
import sys
from ocikit.image import Policy, copy
layout, me, *sources = sys.argv[1:]
policy = Policy.insecure_accept_anything()
print("ready", flush=True)
for number in range(1_000_000):
    name = f"{me}.{number}"
    result = copy.image(policy, dest=f"oci:{layout}:{name}", src=sources[number % len(sources)])
    print("done", name, result.digest, flush=True)
"""

# Deletes what it finds, and says what it is about to delete.
DELETER = """
import json, random, sys, time
from ocikit.errors import ImageNotFoundError
from ocikit.image import parse_image_name
layout, seed = sys.argv[1:]
choose = random.Random(int(seed))
print("ready", flush=True)
while True:
    try:
        with open(f"{layout}/index.json") as file:
            entries = json.load(file)["manifests"]
    except FileNotFoundError:
        entries = []
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries]
    if len(names) < 3:
        time.sleep(0.001)
        continue
    name = choose.choice(names)
    print("deleting", name, flush=True)
    parse_image_name(f"oci:{layout}:{name}").delete_image()
"""


def start(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a Python program."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    # Unbuffered, so that nothing that was said is in a buffer when communicate() collects the rest.
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)


def wait_until_ready(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until each process has said that it is ready."""
    for process in processes:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        assert process.stdout.readline() == b"ready\n"


def kill(processes: list[subprocess.Popen[bytes]], order: random.Random) -> list[list[str]]:
    """Kill the processes one after another and return what each said; none had failed before."""
    order.shuffle(processes)
    for process in processes:
        process.kill()
    said = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == -9, err
        said += [line.split() for line in out.decode().splitlines(keepends=True) if line.endswith("\n")]
    return said


def sources(path: Path) -> list[str]:
    """Make images of a few layers, some of them shared, and return their names."""
    noise = random.Random(7)  # noqa: S311 - only has to be incompressible, and the same every time
    shared = {"shared": noise.randbytes(700_000)}
    names = []
    for number in range(4):
        store = Store()
        image = store.image(shared, {"own": noise.randbytes(400_000)}, {"small": b"%d" % number}, platform=False)
        names.append(f"oci:{store.layout(path / f'in{number}', {'x': image})}:x")
    return names


def listed(layout: Path) -> dict[str, str]:
    """Return the digests in a layout by name."""
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries}


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Two writers and a deleter on one layout, all killed, again and again: valid every time, nothing finished lost."""
    moment = random.Random()  # noqa: S311 - any moment will do
    images, layout = sources(tmp_path), tmp_path / "out"
    there: dict[str, str] = {}
    finished = 0
    for round_ in range(KILLS):
        processes = [start(WRITER, layout, f"r{round_}.w{number}", *images) for number in range(2)]
        processes.append(start(DELETER, layout, round_))
        wait_until_ready(processes)
        time.sleep(moment.random() * 0.3)
        said = kill(processes, moment)
        done = {words[1]: words[2] for words in said if words[0] == "done"}
        deleted = {words[1] for words in said if words[0] == "deleting"}
        there = {name: digest for name, digest in (there | done).items() if name not in deleted}
        finished += len(done)
        if (layout / "oci-layout").exists():
            check_layout(layout)
            found = listed(layout)
            assert not {name: digest for name, digest in there.items() if found.get(name) != digest}
            there = found
        else:
            assert not there
    assert finished
    result = copy.image(Policy.insecure_accept_anything(), dest=f"oci:{layout}:last", src=images[0])
    assert manifest_at(layout, "last") == result.digest
    check_layout(layout)
    left = [name for _, directories, files in os.walk(layout) for name in (*directories, *files) if "tmp" in name]
    assert not left, "the next writer removes what the killed ones left"
