"""What test_systemd.py has done where a systemd owns the cgroups; prints one JSON object."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from ocikit import runtime
from ocikit.errors import CgroupError, ValidationError
from ocikit.runtime import CreateOptions
from ocikit.runtime.cgroups.hierarchies import detect
from ocikit.spec import LinuxCPU, LinuxMemory, LinuxPids, LinuxResources, Spec

OPTIONS = CreateOptions(systemd_cgroup=True)
RESOURCES = LinuxResources(
    memory=LinuxMemory(limit=64 << 20), cpu=LinuxCPU(quota=20000, period=100000), pids=LinuxPids(limit=20)
)


def show(unit: str, *properties: str) -> dict[str, str]:
    """Ask systemd about a unit."""
    asked = [f"--property={','.join(properties)}", unit]
    done = subprocess.run(["systemctl", "show", *asked], check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def leftovers(name: str) -> list[str]:
    """Find directories of a unit in every hierarchy."""
    return [str(path) for one in detect().by_key.values() for path in Path(one.mountpoint).rglob(name)]


def lifecycle(root: str, bundle: str, spec: Spec) -> dict[str, Any]:
    """Make a container, look at its unit, destroy it."""
    spec = spec.with_linux(cgroups_path="ocikit-test.slice:inside:one", resources=RESOURCES)
    with runtime.create(root, "one", bundle, spec=spec, options=OPTIONS) as container:
        unit = "inside-one.scope"
        found: dict[str, Any] = show(
            unit, "ActiveState", "Slice", "ControlGroup", "TasksMax", "CPUQuotaPerSecUSec", "DevicePolicy", "Delegate"
        )
        found["processes"] = len(container.processes())
        found["members"] = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()
        limits = {path.name: path.read_text().strip() for path in _limits(unit)}
        found["limits"] = limits
        container.start()
        again: list[str] = []
        try:
            runtime.create(root, "two", bundle, spec=spec, options=OPTIONS)
        except CgroupError as error:
            again.append(str(error))
        found["again"] = again
        found["status"] = str(container.status())
        container.update(LinuxResources(pids=LinuxPids(limit=30), memory=LinuxMemory(limit=32 << 20)))
        found["updated"] = show(unit, "TasksMax")
        # What systemd believes to be right stays right when it looks at everything again.
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        found["reloaded"] = {path.name: path.read_text().strip() for path in _limits(unit)}
    found["after"] = show(unit, "ActiveState", "LoadState")
    found["left"] = leftovers(unit)
    return found


def _limits(unit: str) -> list[Path]:
    names = ("memory.limit_in_bytes", "memory.max", "pids.max", "cpu.cfs_quota_us", "cpu.max")
    places = [path for one in detect().by_key.values() for path in Path(one.mountpoint).rglob(unit)]
    return [place / name for place in places for name in names if (place / name).exists()]


def defaults(root: str, bundle: str, spec: Spec) -> dict[str, Any]:
    """Make a container that names no unit, with annotations that count only when they are asked for."""
    from attrs import evolve  # noqa: PLC0415

    spec = evolve(spec, annotations={"org.systemd.property.CollectMode": "'inactive-or-failed'"})
    found: dict[str, Any] = {}
    for asked in (False, True):
        options = CreateOptions(systemd_cgroup=True, systemd_properties=asked)
        with runtime.create(root, "plain", bundle, spec=spec, options=options):
            found[str(asked)] = show("ocikit-plain.scope", "Slice", "CollectMode")
    for path in ("no-such-form", "nope:a:b", "-.slice:a:b/c", "a--b.slice:x:y"):
        try:
            runtime.create(root, "wrong", bundle, spec=spec.with_linux(cgroups_path=path), options=OPTIONS)
        except ValidationError as error:
            found[path] = str(error)
    found["left"] = sorted(path.name for path in Path(root).iterdir())
    return found


def hostile(root: str, bundle: str, spec: Spec) -> dict[str, Any]:
    """Change the state of a container to name the unit of somebody else: that one goes on."""
    logging.basicConfig(level=logging.WARNING)
    container = runtime.create(root, "victim", bundle, spec=spec, options=OPTIONS)
    state = Path(root, "victim", "state.json")
    document = json.loads(state.read_text())
    document["config"]["cgroups"] |= {"parent": "-.slice", "name": "system.slice"}
    state.write_text(json.dumps(document))
    runtime.load(root, "victim").destroy(force=True)
    container.close()
    return show("system.slice", "ActiveState") | {"left": leftovers("ocikit-victim.scope")}


def main() -> None:
    """Do what is asked for."""
    what, root, bundle = sys.argv[1:]
    spec = Spec.from_json(Path(bundle, "config.json").read_bytes())
    print(json.dumps({"lifecycle": lifecycle, "defaults": defaults, "hostile": hostile}[what](root, bundle, spec)))  # noqa: T201


if __name__ == "__main__":
    main()
