"""The public face of ocikit.spec: its names, what importing it costs, and its documentation."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from spec_strategies import CLASSES, attribute_names

from ocikit import spec
from ocikit.spec._document import Document, table_of

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "ocikit/spec").glob("*.py"))

NAMES = """
DESCRIPTOR_EMPTY_JSON IMAGE_BLOBS_DIR IMAGE_INDEX_FILE IMAGE_LAYOUT_FILE IMAGE_LAYOUT_VERSION RUNTIME_SPEC_VERSION
AppArmorFeatures Box CPUAffinity CgroupFeatures ContainerProcessState Descriptor Digest DockerManifest
DockerManifestList Document Features GroupEntry History Hook Hooks IDMapFeatures Image ImageConfig ImageLayout Index
IntelRdtFeatures Linux LinuxBlockIO LinuxCPU LinuxCapabilities LinuxDevice LinuxDeviceCgroup LinuxFeatures
LinuxHugepageLimit LinuxIDMapping LinuxIOPriority LinuxIntelRdt LinuxInterfacePriority LinuxMemory LinuxMemoryPolicy
LinuxNamespace LinuxNetDevice LinuxNetwork LinuxPersonality LinuxPids LinuxRdma LinuxResources LinuxSeccomp
LinuxSeccompArg LinuxSyscall LinuxThrottleDevice LinuxTimeOffset LinuxWeightDevice Manifest MemoryPolicyFeatures Mount
MountExtensions NetDevicesFeatures POSIXRlimit PasswdEntry Platform Process Root RootFS SELinuxFeatures Scheduler
SeccompFeatures Spec State Timestamp User UserDatabase UserLookup Violation annotation_keys image_to_runtime mediatypes
parse_id resolve_user rootless tmpfs_volume vocabulary
"""


def test_the_public_names_are_pinned() -> None:
    """A name is added or removed on purpose only; all are listed, sorted and there."""
    assert sorted(spec.__all__) == sorted(NAMES.split())
    assert set(NAMES.split()) <= set(dir(spec))
    for name in spec.__all__:
        assert getattr(spec, name) is not None


def test_unknown_names_are_attribute_errors() -> None:
    """A name that is not there is refused as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Manfest'"):
        spec.Manfest  # noqa: B018


def _loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(run.stdout.split())


def test_importing_the_room_loads_nothing_heavy() -> None:
    """Importing ocikit.spec loads no class; a descriptor loads no runtime class, and nothing that opens files or C."""
    assert not {"attr", "json", "hashlib"} & _loaded_by("import ocikit.spec")
    loaded = _loaded_by("from ocikit.spec import Descriptor, Manifest")
    assert not {"ocikit.spec.runtime", "ocikit.spec.linux", "ocikit.spec.validate", "hashlib"} & loaded
    assert not {"ocikit._sys", "ocikit._fs", "_cffi_backend", "cryptography", "urllib3"} & loaded


def test_the_room_imports_only_what_it_may() -> None:
    """Spec imports errors, the standard library and attrs, and calls nothing that opens a file."""
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                allowed = top in sys.stdlib_module_names or top in {"attrs", "ocikit"}
                assert allowed, f"{source.name} imports {name}"
                ours = name.startswith("ocikit.")
                assert not ours or name.startswith(("ocikit.spec", "ocikit.errors", "ocikit._tuples")), name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", source.name


def _snake(name: str) -> str:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name))
    return words.replace(".", "_").lower()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_attributes_are_the_json_keys_in_snake_case(cls: type[Document]) -> None:
    """Whoever knows the specification knows the attribute, and the other way round."""
    for entry in table_of(cls).entries:
        expected = _snake(entry.name)
        assert entry.attribute == {"class": "class_"}.get(expected, expected)
    assert attribute_names(cls) == [entry.attribute for entry in table_of(cls).entries]


def test_every_field_and_class_is_described() -> None:
    """Every class has a docstring, and every field a comment that says what it means."""
    for source in SOURCES:
        lines = source.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ClassDef) and any("frozen" in ast.unparse(d) for d in node.decorator_list):
                assert ast.get_docstring(node), node.name
                for item in node.body:
                    if isinstance(item, ast.AnnAssign):
                        above = lines[item.lineno - 2].strip()
                        is_constant = "ClassVar" in ast.unparse(item.annotation)
                        assert is_constant or above.startswith("#:"), f"{source.name}: {node.name}.{item.target}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_examples_in_docstrings_work(source: Path) -> None:
    """What the docstrings show is what happens."""
    name = "ocikit.spec" if source.stem == "__init__" else f"ocikit.spec.{source.stem}"
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_in_the_manual_work() -> None:
    """What docs/spec.md shows is what happens."""
    results = doctest.testfile(str(ROOT / "docs/spec.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 20
    assert results.failed == 0
