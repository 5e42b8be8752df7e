"""The build: from the sdist to a wheel to an import in a new environment, and C without a single warning."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from house_source import PACKAGE, ROOT, expect_none, repository_files

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What is in the repository and not in the sdist.
NOT_SHIPPED = (".ci", ".gitignore", "docs", "examples", "tests", "Makefile", "CHANGELOG.md", "CONTRIBUTING.md")

SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command of the build, with warnings of the C compiler as errors; return what it prints."""
    environment = {**os.environ, "OCIKIT_WERROR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments: Sequence[str] = [str(word) for word in command]
    done = subprocess.run(arguments, cwd=cwd, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from a copy of the tree that has nothing in it but what belongs there."""
    base = tmp_path_factory.mktemp("sdist")
    for name in repository_files():
        target = base / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    run(sys.executable, "-c", SDIST, base, cwd=base / "tree")
    (found,) = base.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Build the wheel from the sdist, as pip does, with what this environment has for building."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*pip, "--wheel-dir", sdist.parent, sdist, cwd=sdist.parent)
    (found,) = sdist.parent.glob("*.whl")
    return found


def test_the_sdist_has_what_the_build_needs(sdist: Path) -> None:
    """Everything below ocikit/, the build and the licence are in it."""
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    expect_none(name for name in repository_files() - shipped if not name.startswith(NOT_SHIPPED))
    assert {"LICENSE", "pyproject.toml", "setup.py", "PKG-INFO"} <= shipped


def test_the_wheel_is_for_every_python(wheel: Path) -> None:
    """One wheel serves every Python from 3.11 on, and holds the extension, the types, and no C."""
    assert wheel.name.endswith(f"-cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
    ours = {name for name in names if name.startswith("ocikit/")}
    assert {"ocikit/py.typed", "ocikit/_native/_launcher.abi3.so", "ocikit/_native/_launcher.pyi"} <= ours
    python = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")}
    assert {name for name in ours if name.endswith(".py")} == python
    expect_none(name for name in names if not name.startswith("ocikit") or name.endswith((".c", ".o")))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_wheel_works_in_a_new_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed into an environment of its own, ocikit is imported from there, and its helper can be started."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "new", cwd=tmp_path)
    python = tmp_path / "new/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=tmp_path)
    # Dependencies come from this environment; a path that is named in a .pth file brings no editable ocikit along.
    (site,) = (tmp_path / "new/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("platlib") + "\n")
    script = (
        "import os, ocikit, ocikit.spec, ocikit._sys as s; s.helper_executable(); ocikit.spec.Spec.default(); "
        "print(ocikit.__file__, len(list(s.wire_operations())), *sorted(os.listdir(os.path.dirname(ocikit.__file__))))"
    )
    printed = run(python, "-W", "error", "-c", script, cwd=tmp_path).split()
    assert printed[0].startswith(f"{site}/")
    assert int(printed[1]) > 30
    assert "py.typed" in printed


def test_this_environment_is_editable() -> None:
    """The tests run on the tree they stand in, with an extension that was built from it."""
    script = "import ocikit, ocikit._native._launcher as l; print(ocikit.__file__, l.__file__)"
    printed = run(sys.executable, "-c", script, cwd=Path("/")).split()
    assert printed == [str(PACKAGE / "__init__.py"), str(PACKAGE / "_native/_launcher.abi3.so")]


def test_the_extension_is_current() -> None:
    """The extension that the tests use is not older than what it is made of; 'make' builds it anew."""
    built = (PACKAGE / "_native/_launcher.abi3.so").stat().st_mtime
    sources = [*(PACKAGE / "_native").rglob("*.[ch]"), PACKAGE / "_native/build.py"]
    expect_none(
        f"{path.relative_to(ROOT)} is newer than the extension" for path in sources if path.stat().st_mtime > built
    )


def test_a_debug_build_of_the_helper_warns_about_nothing(tmp_path: Path) -> None:
    """The helper compiles without a warning at other levels of optimisation, too: they see other things."""
    flags = (
        "-std=c11 -ffreestanding -nostdlib -static -fno-pie -no-pie -fno-stack-protector -Werror -Wall -Wextra".split()
    )
    flags += "-Wconversion -Wshadow -Wstrict-prototypes -Wpointer-arith -Wundef -Wvla -Wformat=2".split()
    sources = sorted((PACKAGE / "_native/helper").glob("*.c"))
    for level in ("-O0", "-O2", "-O3"):
        run("gcc", *flags, level, "-c", *sources, cwd=tmp_path)
