"""What commands load, and what the first container of a process does: what is loaded takes longer than the work."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit import runtime

#: What takes long to load, and no command for a container that there is has a use for.
HEAVY = """
    attr attrs logging argparse dataclasses inspect traceback hashlib ctypes socket subprocess tempfile pathlib
    ocikit.spec ocikit._native._launcher
""".split()

#: What a container has no use for that asks for nothing special.
FEW = """
    logging hashlib base64 asyncio subprocess tempfile socket datetime math termios pwd ocikit.image
    ocikit.spec.features ocikit.spec.image ocikit.spec.state ocikit.spec.users ocikit.spec.conversion
    ocikit.spec.default ocikit.spec.linux_limits ocikit.spec.linux_special ocikit.spec.process_special ocikit.spec.hooks
    ocikit.spec.rules_limits ocikit.spec.rules_special ocikit.spec.rules_state ocikit.spec.violation
    ocikit.runtime.cgroups.delegation ocikit.runtime.cgroups.rdt ocikit.runtime.limits.blkio ocikit.runtime.limits.cpu
    ocikit.runtime.limits.hugetlb ocikit.runtime.limits.memory ocikit.runtime.limits.network ocikit.runtime.limits.rdma
    ocikit.runtime.limits.unified ocikit.runtime.console ocikit.runtime.hooks ocikit.runtime.listing
    ocikit.runtime.netdevices ocikit.runtime.state.template ocikit.runtime.teardown ocikit.runtime.user_maps
""".split()

COMMAND = """
import sys
before = {*sys.modules}
from ocikit.runtime.__main__ import main
from ocikit.runtime.cli import dispatch
code = dispatch.main(sys.argv[1:])
import json
print(json.dumps([*sys.modules.keys() - before]), file=sys.stderr)
sys.exit(code)
"""

CREATE = """
import sys
from ocikit import runtime
with runtime.create(*sys.argv[1:], stdin="null"):
    import json
    print(json.dumps([*sys.modules]), file=sys.stderr)
"""


def loaded(script: str, *words: str | Path) -> set[str]:
    """Run a script in a fresh interpreter without the paths of an editable installation; return what it has loaded."""
    path = [entry for entry in sys.path if entry]
    begin = f"import sys; sys.path[:] = {path!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + script, *words],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {*json.loads(done.stderr)}


@pytest.mark.parametrize(
    ("words", "also"),
    [
        (["state", "ID"], ["datetime", "ocikit.runtime.teardown"]),
        (["list"], ["datetime", "ocikit.runtime.teardown"]),
        (["kill", "ID", "CONT"], ["datetime", "ocikit.runtime.teardown"]),
        (["delete", "--force", "ID"], []),
    ],
    ids=["state", "list", "kill", "delete"],
)
def test_a_command_loads_only_what_it_needs(
    words: list[str], also: list[str], root: Path, created: runtime.Container
) -> None:
    """No classes of the specifications, no logging, no C: they take longer to load than such a command takes."""
    found = loaded(COMMAND, "--root", root, *(created.id if word == "ID" else word for word in words))
    assert "ocikit.runtime.container" in found
    assert found & {*HEAVY, *also} == set()


def test_the_first_container_loads_only_what_it_needs(root: Path, bundle: Path, container_id: str) -> None:
    """What few configurations ask for is loaded by those, and what ends containers by those who end one."""
    found = loaded(CREATE, root, container_id, bundle)
    assert "ocikit.spec.runtime" in found
    assert found & {*FEW} == {"ocikit.spec.users"}
