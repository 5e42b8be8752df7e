"""Who may import whom: the walls of the house, as docs/architecture.md describes them.

A message here is about the design. When a wall has to move, move it in the table, with the reason in the commit.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from house_source import ROOT, expect_none, imports, modules, reachable, room_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What each room may import of ours, beside itself. ``ocikit`` alone (the version) is open to everybody.
MAY_IMPORT: dict[str, set[str]] = {
    # For type checkers; see test_the_signpost_is_lazy.
    "": {"errors", "spec", "image", "runtime", "bundle", "service", "testing"},
    "errors": set(),
    "_faces": set(),
    "_tuples": set(),
    "_display": {"_tuples"},
    "_native": set(),
    "_sys": {"errors", "_tuples", "_native"},
    "_fs": {"errors", "_tuples", "_sys"},
    "spec": {"errors", "_tuples"},
    "image": {"errors", "_faces", "_tuples", "_fs", "_sys", "_display", "spec"},
    "runtime": {"errors", "_tuples", "_fs", "_sys", "_display", "spec"},
    "testing": {"errors", "_tuples", "spec"},  # a registry beside what is tested with it, and not of its parts
    "bundle": {"errors", "_tuples", "_fs", "_sys", "spec", "image"},
    "service": {"errors", "_tuples", "_fs", "_sys", "_display", "spec", "image", "bundle", "runtime"},
}

#: What comes from outside, and the rooms where it may be imported together with the module. Elsewhere it is imported
#: by the call that needs it. Everything here is a dependency in pyproject.toml.
FROM_OUTSIDE: dict[str, set[str]] = {
    "attrs": {"spec", "image", "runtime", "bundle", "service", "testing"},
    "cffi": {"_native"},
    "cryptography": set(),
    "magic": set(),
    "urllib3": set(),
    "yaml": set(),
    "rich": set(),
    "tqdm": set(),
    "backports": set(),
    "compression": set(),  # the standard library's, from 3.14 on
}

#: Doors to the disk, the network and other programs, closed to the specifications.
IO_MODULES = set("io pathlib shutil tempfile socket subprocess ssl select fcntl mmap urllib http glob".split())

#: What the specifications may ask the operating system, as long as it is answered without a file.
FACTS_OF_OS = {"strerror", "getuid", "getgid", "geteuid", "getegid", "fsencode", "fsdecode", "fspath"}

#: Parts of the runtime that decide and do nothing else; of a room, everything in it.
PURE = ("plan", "limits", "seccomp.profile", "idmap", "state.documents", "state.libcontainer", "state.template")

#: Names that say nothing about what is inside.
SHAPELESS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "base", "core", "lib"}


def test_every_room_has_its_walls() -> None:
    """A new room is written into the table before anything is written into the room."""
    assert {room_of(name) for name in modules()} - MAY_IMPORT.keys() == set()


def test_rooms_import_only_what_they_may() -> None:
    """No room reaches into one that the table does not open to it, not even for its types."""
    wrong = [
        f"{one.where}: {one.importer} imports {one.target}"
        for one in imports()
        if one.target.startswith("ocikit.")
        and room_of(one.target) != room_of(one.importer)
        and room_of(one.target) not in MAY_IMPORT[room_of(one.importer)]
    ]
    expect_none(wrong)


def test_only_one_module_knows_the_extension() -> None:
    """The C is imported by _sys, when it is first needed, and by nobody else."""
    found = {(one.importer, one.when) for one in imports() if one.target.startswith("ocikit._native")}
    assert found == {("ocikit._sys", "function"), ("ocikit._sys", "typing")}


def test_the_signpost_is_lazy() -> None:
    """Importing ocikit imports no room."""
    at_once = [one.target for one in imports() if one.importer == "ocikit" and one.when == "module"]
    assert [target for target in at_once if target.startswith("ocikit")] == []


def test_dependencies_are_declared_and_imported_late() -> None:
    """What comes from outside is a dependency, and only attrs is imported before a call needs it."""
    wrong = []
    for one in imports():
        top = one.target.partition(".")[0]
        if top == "ocikit" or (top in sys.stdlib_module_names and top not in FROM_OUTSIDE):
            continue
        if top not in FROM_OUTSIDE:
            wrong.append(f"{one.where}: {top} is not a dependency of ocikit")
        elif one.when == "module" and room_of(one.importer) not in FROM_OUTSIDE[top]:
            wrong.append(f"{one.where}: {top} is to be imported by the function that needs it")
    expect_none(wrong)


def test_specifications_are_data() -> None:
    """The rooms of the specifications have no way to open anything."""
    data = {name for name in modules() if room_of(name) in {"spec", "errors"}}
    wrong = [
        f"{one.where}: {one.importer} imports {one.target}"
        for one in imports()
        if one.importer in data and one.when != "typing" and one.target.partition(".")[0] in IO_MODULES
    ]
    used = {
        f"{modules()[name].where}: uses os.{node.attr}"
        for name in data
        for node in ast.walk(modules()[name].tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr not in FACTS_OF_OS
    }
    opened = {
        f"{modules()[name].where}:{node.lineno}: opens a file"
        for name in data
        for node in ast.walk(modules()[name].tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
    }
    expect_none([*wrong, *used, *opened])


def below(*names: str) -> set[str]:
    """Return the modules with these names, and those inside them."""
    return {module for module in modules() for name in names if f"{module}.".startswith(f"ocikit.{name}.")}


def test_image_is_built_in_floors() -> None:
    """Types, references, manifests, compression; on them transports; on them the table of transports; on it copying."""
    ground = below("image.types", "image.reference", "image.manifest", "image.compression", "image.conversion")
    ground |= below("image.subject", "image.stored_signature", "image.bundle_manifest")
    ground |= below("image.attachment_manifest", "image.simple_manifest")
    table = {"ocikit.image.transports"}
    transports = below("image.transports") - table
    upper = below("image.copy", "image.signature", "image.artifact", "image.index")
    assert reachable(ground, inside="ocikit.image") & (transports | table | upper) == set()
    assert reachable(transports, inside="ocikit.image") & (table | upper) == set()
    assert {one.where for one in imports() if one.importer in upper and one.target in transports} == set()


def test_conversions_touch_nothing() -> None:
    """Manifests are converted as bytes: the room sees manifests and compressions, and no image, no file and no C."""
    ground = ("image.types", "image.blob", "image.context", "image.reference", "image.manifest", "image.compression")
    open_to_it = below("image.conversion", *ground)
    reached = reachable(below("image.conversion"))
    assert {name for name in reached if room_of(name) == "image"} <= open_to_it | {"ocikit.image"}
    assert reached & below("_sys", "_fs", "_native") == set()


def test_what_is_configured_is_only_read() -> None:
    """Configuration of registries and credentials see references and contexts: no transport, no image, no network."""
    rooms = below("image.registries", "image.credentials")
    open_to_them = rooms | below("image.reference", "image.context", "image.home", "image.storage.locks")
    wrong = [
        f"{one.where}: {one.importer} imports {one.target}"
        for one in imports()
        if one.importer in rooms
        and ((room_of(one.target) == "image" and one.target not in open_to_them) or "urllib" in one.target)
    ]
    expect_none(wrong)
    assert not [one for one in imports() if one.importer in below("image.registries") and "credentials" in one.target]


def test_signatures_are_handed_what_they_need() -> None:
    """The signature room sees types, references and manifests; transports tell it about scopes when they are asked."""
    open_to_it = below("image.types", "image.reference", "image.manifest", "image.signature", "image.stored_signature")
    open_to_it |= below("image.given")
    wrong = [
        f"{one.where}: {one.importer} imports {one.target}"
        for one in imports()
        if one.importer in below("image.signature") and room_of(one.target) == "image" and one.target not in open_to_it
    ]
    expect_none(wrong)


def test_encryption_sees_no_images() -> None:
    """Keys, ciphers and annotations are worked on as values and streams: no manifest, no transport and no copy."""
    ground = ("image.types", "image.blob", "image.context", "image.reference", "image.compression", "image.conversion")
    open_to_it = below("image.encryption", "image.given", *ground)
    reached = reachable(below("image.encryption"))
    assert {name for name in reached if room_of(name) == "image"} <= open_to_it | {"ocikit.image"}
    assert reached & below("_sys", "_fs", "_native") == set()


@pytest.mark.parametrize("name", PURE)
def test_what_decides_touches_nothing(name: str) -> None:
    """Plans, states, filters and maps are computed without the C and without the cellar."""
    of_it = below(f"runtime.{name}")
    assert of_it
    assert reachable(sorted(of_it)) & below("_sys", "_fs", "_native") == set()


def cycles() -> Iterator[set[str]]:
    """Yield every group of modules that import each other while they are being imported."""
    edges: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if one.when == "module" and one.target in edges:
            edges[one.importer].add(one.target)

    def reached_from(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [*edges[name]]
        while waiting:
            if (following := waiting.pop()) not in found:
                found.add(following)
                waiting += edges[following]
        return found

    reached = {name: reached_from(name) for name in edges}
    for name in edges:
        group = {other for other in reached[name] if name in reached[other]}
        if group and min(group) == name:
            yield group


def test_there_are_no_cycles() -> None:
    """No two modules need each other to be imported."""
    expect_none(" -> ".join(sorted(group)) for group in cycles())


def test_modules_are_named_after_an_idea() -> None:
    """No module is a drawer for what found no other place."""
    expect_none(name for name in modules() if name.rpartition(".")[2].strip("_") in SHAPELESS)


def test_test_files_have_names_of_their_own() -> None:
    """Test directories are no packages, so that a name can be imported from anywhere: it must be there once."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    expect_none(name for name, count in names.items() if count > 1 and name != "conftest.py")
