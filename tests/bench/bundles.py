"""The container that all of them run: busybox under the default configuration, with a filter for system calls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import evolve

from ocikit import runtime
from ocikit.spec import LinuxCapabilities, LinuxSeccomp, Root, Spec

if TYPE_CHECKING:
    import os

HERE = Path(__file__).parent

#: What engines give their containers: some hundred system calls are allowed, some of them with certain arguments.
PROFILE = HERE / "seccomp.json"

#: crun 1.8 takes nothing newer; nothing in the configuration is.
VERSION = "1.0.2"


def make_spec(*args: str) -> Spec:
    """Return the configuration."""
    spec = Spec.default().with_process(args=args, terminal=False, capabilities=LinuxCapabilities())
    if spec.root != Root(path="rootfs", readonly=True):
        raise RuntimeError(f"the default root has changed: {spec.root}")
    profile = LinuxSeccomp.from_dict(json.loads(PROFILE.read_bytes()))
    return evolve(spec.with_linux(seccomp=profile), oci_version=VERSION)


def make_bundle(path: Path, *args: str) -> Path:
    """Make a bundle of the static busybox that runs some program of it."""
    (path / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "rootfs/bin/busybox")
    for name in sorted({"true", args[0]}):
        (path / "rootfs/bin" / name).symlink_to("busybox")
    (path / "config.json").write_bytes(make_spec(*args).to_json())
    return path


def live(
    root: Path, name: str, bundle: str | os.PathLike[str], *, lifetime: Literal["scope", "detached"] = "scope"
) -> None:
    """Create a container, start it, wait for its end and destroy it, in this process."""
    container = runtime.create(root, name, bundle, stdin="null", lifetime=lifetime)
    try:
        container.start()
        status = container.wait()
    except BaseException:
        container.destroy(force=True)
        raise
    container.destroy()
    if status.exit_code != 0:
        raise RuntimeError(f"{name}: {status}")
