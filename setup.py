"""The part of the build that pyproject.toml cannot say: the static helper, and the extension that carries it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HELPER = Path("ocikit/_native/helper")

# Ours is to compile without a warning; whoever installs it with a compiler of the future shall still get it.
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes"]
if os.environ.get("OCIKIT_WERROR"):
    WARNINGS.append("-Werror")

# Freestanding: the helper makes its own system calls. What it has not (a libc, a loader, thread-local storage for a
# stack protector) is switched off here.
HELPER_FLAGS = [
    "-std=c11",
    "-Os",
    "-ffreestanding",
    "-nostdlib",
    "-static",
    "-fno-tree-loop-distribute-patterns",  # would make memcpy out of the loop that is memcpy
    "-fno-pie",
    "-no-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    *WARNINGS,
    "-Wl,-z,noexecstack",
    "-Wl,--build-id=none",
    "-s",
]


class BuildExtension(build_ext):
    """Builds the helper first: the extension is linked with its bytes."""

    def build_extension(self, ext: Extension) -> None:
        """Build one extension, of which there is one."""
        if ext.name == "ocikit._native._launcher":
            helper = self.build_helper()
            ext.define_macros.append(("OCIKIT_HELPER", f'"{helper}"'))
            ext.extra_compile_args += ["-std=gnu11", *WARNINGS]
            ext.depends += [str(path) for path in HELPER.iterdir()]
        super().build_extension(ext)

    def build_helper(self) -> Path:
        """Compile the static helper; return where it is."""
        target = Path(self.build_temp).resolve() / "ocikit-helper"
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = (sysconfig.get_config_var("CC") or "cc").split()
        sources = sorted(str(path) for path in HELPER.glob("*.c"))
        subprocess.run([*compiler, *HELPER_FLAGS, "-o", str(target), *sources], check=True)
        return target


setup(
    # Elsewhere the parts that need no kernel of their own (specifications, references, policies, copies) still work.
    cffi_modules=["ocikit/_native/build.py:ffibuilder"] if sys.platform == "linux" else [],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
