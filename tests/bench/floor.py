"""The floor: ``floor.c``, built and started for a bundle."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit.runtime.cgroups.device_filter import device_program
from ocikit.runtime.cgroups.device_rules import device_rules
from ocikit.runtime.cgroups.hierarchies import UNIFIED, detect, place
from ocikit.runtime.seccomp import filter_for
from ocikit.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
OPTIONS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-static")
FREESTANDING = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-static", "-ffreestanding", "-nostdlib", "-fno-pie", "-no-pie", "-s"),
    *("-fno-tree-loop-distribute-patterns", "-fno-stack-protector"),
)


def build(directory: Path) -> tuple[Path, Path]:
    """Compile both parts."""
    made = directory / "floor", directory / "floor-init"
    for path, options in zip(made, (OPTIONS, FREESTANDING), strict=True):
        source = HERE / f"{path.name.replace('-', '_')}.c"
        subprocess.run(["gcc", *options, "-o", path, source], check=True)
    return made


def command(
    directory: Path, states: Path, name: str, bundle: Path, program: Sequence[str] = ("/bin/true",)
) -> list[str]:
    """Build the floor in a directory, and return the command that serves it for the container of a bundle.

    Args:
        directory: For its programs.
        states: Its state root, which is there.
        name: Of the container.
        bundle: Made by :func:`bundles.make_bundle`.
        program: What to run instead of what the bundle says: a path and its arguments.
    """
    floor, init = build(directory)
    spec = Spec.from_json((bundle / "config.json").read_bytes())
    linux = spec.linux
    if linux is None or linux.seccomp is None or linux.resources is None:
        raise ValueError(f"{bundle}: a configuration without a filter and rules for devices is none of this benchmark")
    compiled = filter_for(linux.seccomp)
    if compiled is None:
        raise ValueError(f"{bundle}: no filter came of the profile")
    for part, content in {
        "filter": compiled.program,
        "devices": device_program(device_rules(linux.resources.devices)),
    }.items():
        (directory / part).write_bytes(content)
    hierarchies = detect()
    names = {key: Path(hierarchy.mountpoint).name for key, hierarchy in hierarchies.by_key.items()}
    names[UNIFIED] = "" if hierarchies.v2_only else "unified"
    # Two controllers of version 1 may share a hierarchy.
    cgroups = {path: names[key] for key, path in place(hierarchies, "", name).items()}
    return [
        *map(str, (floor, name, bundle / "rootfs", directory / "filter", compiled.flags, init, states)),
        str(directory / "devices"),
        *(f"{hierarchy}={path}" for path, hierarchy in cgroups.items()),
        "--",
        *program,
    ]
