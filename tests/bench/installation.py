"""This tree, installed as others install it: a wheel in a virtual environment of its own, compiled by pip.

A working copy is mostly installed so that it stays editable; each Python of such an environment loads what finds the
working copy first, which takes some milliseconds and is nothing that we could make faster.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

TREE = Path(__file__).parents[2]

#: What a wheel is built from.
PARTS = "ocikit setup.py pyproject.toml README.md LICENSE MANIFEST.in".split()


def install(directory: Path) -> Path:
    """Make an environment that has this tree, and what it depends on from the environment of this process.

    Args:
        directory: An empty one.

    Returns:
        The directory of its programs.
    """
    tree, environment = directory / "tree", directory / "environment"
    tree.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (TREE / name).is_dir() else shutil.copy
        copy(TREE / name, tree / name)
    venv.create(environment, symlinks=True)
    programs = environment / "bin"
    offline = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    _pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", directory, tree)
    _pip("--python", programs / "python", "install", *offline, *directory.glob("*.whl"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = environment / "lib" / version / "site-packages"
    (found / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return programs


def _pip(*words: str | Path) -> None:
    # Whoever measures may have asked Python not to write what it has compiled; pip would leave that out, too.
    command = [sys.executable, "-I", "-m", "pip", *words]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
