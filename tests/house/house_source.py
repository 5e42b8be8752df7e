"""The source of ocikit as data: its modules, and who imports whom and when."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "PACKAGE",
    "ROOT",
    "Import",
    "Module",
    "expect_none",
    "imports",
    "modules",
    "reachable",
    "repository_files",
    "room_of",
]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ocikit"

#: When an import is carried out: with the module, with the first call of a function, or by type checkers only.
When = Literal["module", "function", "typing"]


class Module(NamedTuple):
    """A file of Python."""

    #: Its dotted name; that of a package is the name of its directory.
    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def where(self) -> str:
        """The path as messages show it."""
        return str(self.path.relative_to(ROOT))


class Import(NamedTuple):
    """One name that one module imports."""

    importer: str
    #: The module that is imported: of ours by its full name, of others as it is written.
    target: str
    when: When
    #: ``path:line``.
    where: str


@functools.cache
def modules() -> dict[str, Module]:
    """Return every module of ocikit by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text()
        found[name] = Module(name, path, text, ast.parse(text, path))
    return found


@functools.cache
def imports() -> tuple[Import, ...]:
    """Return every import in ocikit."""
    return tuple(one for module in modules().values() for one in _imports_of(module))


def repository_files() -> set[str]:
    """Return the files of the repository: those that git has, and those that it would take."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def expect_none(wrong: Iterable[str]) -> None:
    """Fail the test when there is anything wrong, and say all of it: one line each."""
    if lines := sorted(set(wrong)):
        pytest.fail("\n".join(lines), pytrace=False)


def room_of(name: str) -> str:
    """Return the room a module is in: ``spec`` for ``ocikit.spec.linux``, ``""`` for ``ocikit`` itself."""
    return name.split(".")[1] if "." in name else ""


def reachable(start: Iterable[str], *, inside: str = "ocikit") -> set[str]:
    """Return all modules that some modules import, directly or not, whenever they do it.

    Args:
        start: The modules to start from; they are part of the result.
        inside: Only modules below this one are passed through and returned.
    """
    edges: dict[str, set[str]] = {}
    for one in imports():
        edges.setdefault(one.importer, set()).add(one.target)
    found: set[str] = set()
    waiting = [name for name in start if name in modules()]
    while waiting:
        name = waiting.pop()
        if name not in found and f"{name}.".startswith(f"{inside}."):
            found.add(name)
            waiting += edges.get(name, set()) & modules().keys()
    return found


def _imports_of(module: Module) -> Iterator[Import]:
    for node, when in _import_nodes(module.tree.body, "module"):
        for target in sorted(_targets(module, node)):
            yield Import(module.name, target, when, f"{module.where}:{node.lineno}")


def _import_nodes(body: Iterable[ast.AST], when: When) -> Iterator[tuple[ast.Import | ast.ImportFrom | ast.Call, When]]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.Call) and _is_import_module(node)):
            yield node, when
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _import_nodes(node.body, "typing")
            yield from _import_nodes(node.orelse, when)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _import_nodes(ast.iter_child_nodes(node), "function")
        else:
            yield from _import_nodes(ast.iter_child_nodes(node), when)


def _is_import_module(node: ast.Call) -> bool:
    """Tell whether this is ``import_module("…")`` of a name that stands there."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name == "import_module" and isinstance(node.args[0], ast.Constant)


def _targets(module: Module, node: ast.Import | ast.ImportFrom | ast.Call) -> set[str]:
    if isinstance(node, ast.Call):
        return {ast.literal_eval(node.args[0])}
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if node.level:
        raise ValueError(f"{module.where}:{node.lineno}: relative import; the house imports by full names")
    base = str(node.module)
    return {_home(base, alias.name) for alias in node.names}


def _home(base: str, name: str) -> str:
    """Return the module that a name of another module comes from: rooms hand on names that their modules define."""
    if f"{base}.{name}" in modules():
        return f"{base}.{name}"
    origin = _handed_on(base).get(name, base)
    return _home(origin, name) if origin != base else base


@functools.cache
def _handed_on(name: str) -> dict[str, str]:
    """Return what a module has from other modules of ours: each name with the module it was imported from."""
    module = modules().get(name)
    nodes = [node for node, _ in _import_nodes(module.tree.body, "module")] if module else []
    return {
        alias.asname or alias.name: str(node.module)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ocikit")
        for alias in node.names
    }
