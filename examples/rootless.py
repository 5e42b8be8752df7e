"""Run a container without being root: in a user namespace, where the caller is root and nobody else is anybody.

``python examples/rootless.py IMAGE``, as any user; IMAGE is a reference such as ``oci:/srv/images:busybox``.
Limits need a cgroup that is delegated to the user: see docs/rootless.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import ocikit
from ocikit import image, runtime

SCRIPT = "echo uid $(id -u); read -r inside outside size < /proc/self/uid_map; echo is $outside outside, one of $size"


def main(work: Path, reference: str) -> None:
    """Unpack an image whose files are all the caller's, and run it."""
    policy = image.Policy.insecure_accept_anything()
    # rootless=True: the configuration, and the owners of the files, are what a user without privileges can have.
    bundle = ocikit.bundle.create(reference, work / "bundle", policy=policy, rootless=True, args=["sh", "-c", SCRIPT])
    # In a state root of our own. None would be $XDG_RUNTIME_DIR/runc, where runc of this user looks, too.
    done = runtime.run(work / "state", f"ocikit-rootless-{os.getpid()}", bundle, timeout=60)
    print(done.stdout.decode() + done.stderr.decode(), end="")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ocikit-rootless-") as directory:
        main(Path(directory), sys.argv[1])
