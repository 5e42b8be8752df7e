"""What tests do as a user without privileges; called in a process of that user (:mod:`as_user`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

from ocikit import errors, runtime
from ocikit.spec import LinuxIDMapping, Root, Spec, rootless

__all__ = ["GIVEN", "UNIFIED", "V2_ONLY", "elsewhere", "failure", "output", "ranges", "spec_of"]

#: What root has given to the user: the first id and how many.
GIVEN = (700_000, 10_000)

UNIFIED = "/sys/fs/cgroup" if Path("/sys/fs/cgroup/cgroup.procs").exists() else "/sys/fs/cgroup/unified"
V2_ONLY = UNIFIED == "/sys/fs/cgroup"


def spec_of(*args: str, linux: dict[str, Any] | None = None, **process: Any) -> Spec:
    """Return a configuration for this user, with the root file system in its home."""
    spec = rootless(Spec.default(cgroup_namespace=V2_ONLY))
    assert spec.process is not None
    assert spec.process.capabilities is not None
    capabilities = attrs.evolve(spec.process.capabilities, ambient=())
    spec = spec.with_process(
        **({"args": args or ("sleep", "1000"), "terminal": False, "capabilities": capabilities} | process)
    )
    root = Root(path=str(Path.home() / "rootfs"), readonly=True)
    return attrs.evolve(spec.with_linux(**(linux or {})), root=root)


def ranges() -> dict[str, Any]:
    """Return the mappings of all that this user has: itself as root, and what it was given."""
    rest = LinuxIDMapping(container_id=1, host_id=GIVEN[0], size=GIVEN[1])
    return {
        name: (LinuxIDMapping(container_id=0, host_id=own, size=1), rest)
        for name, own in (("uid_mappings", os.getuid()), ("gid_mappings", os.getgid()))
    }


def output(container_id: str, spec: Spec, **options: Any) -> str:
    """Run a container in the state root of this user, and return what it printed."""
    done = runtime.run(None, container_id, Path.home() / "bundle", spec=spec, **options)
    assert done.exit_code == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


def failure(container_id: str, spec: Spec) -> list[str]:
    """Try to create a container; return what kind of error that is, and its text."""
    try:
        with runtime.create(None, container_id, Path.home() / "bundle", spec=spec):
            return []
    except errors.OCIKitError as error:
        assert not Path(runtime.default_root(), container_id).exists()
        return [type(error).__name__, str(error)]


def elsewhere(prefix: list[str], expression: str) -> Any:
    """Evaluate an expression, in which this module is ``t``, in a process that a command starts."""
    program = f"import json, rootless_calls as t; print(json.dumps({expression}))"
    done = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
