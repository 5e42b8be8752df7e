"""The form of the source: how long, how named and described, and what never stands in it."""

from __future__ import annotations

import ast
import re
import statistics
from typing import TYPE_CHECKING, TypeVar

import pytest
from house_source import PACKAGE, ROOT, Module, expect_none, modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYTHON_FILE, PYTHON_FUNCTION, MEDIAN_FUNCTION = 500, 60, 8
C_FILE, C_FUNCTION = 350, 60

#: Promises instead of work. Each is written in two halves, so that this file keeps its own rule.
MARKS = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
PHRASES = ["for " + "now", "place" + "holder", "not " + "implemented", "not yet " + "implemented", "not yet " + "done"]

#: Data classes that are not those of the house.
OTHER_DATA = ("dataclass", "dataclasses.", "attr.", "attrs.define", "define", "attrs.mutable", "mutable")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Kind = TypeVar("Kind", ast.ExceptHandler, ast.Call, ast.Assert, ast.ClassDef)


def python_files() -> list[Path]:
    """Return all our Python: the library, its tests, examples and build."""
    rooms = (ROOT / room for room in ("ocikit", "tests", "examples"))
    return [ROOT / "setup.py", *(path for room in rooms for path in room.rglob("*.py"))]


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield every function with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node
        inner = f"{prefix}{node.name}." if isinstance(node, Function | ast.ClassDef) else prefix
        yield from functions(node, inner)


def length(node: Function) -> int:
    """Return the lines of a function, its docstring left out."""
    first = node.body[0]
    described = is_text(first) and len(node.body) > 1
    docstring = (first.end_lineno or 0) - first.lineno + 1 if described else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_python_is_short() -> None:
    """Files and functions can be read in one go."""
    long = []
    for path in python_files():
        text = path.read_text()
        if (lines := text.count("\n")) > PYTHON_FILE:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines, {PYTHON_FILE} allowed")
        for name, node in functions(ast.parse(text)):
            if (lines := length(node)) > PYTHON_FUNCTION:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}: {lines} lines, {PYTHON_FUNCTION} allowed")
    expect_none(long)


def test_functions_of_the_library_are_small() -> None:
    """The usual function does one thing."""
    lengths = [length(node) for module in modules().values() for _, node in functions(module.tree)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION


@pytest.mark.parametrize("pattern", ["*.c", "*.h"])
def test_c_is_short(pattern: str) -> None:
    """C files and functions, too; a function is what stands between braces at the beginning of a line."""
    paths = sorted(PACKAGE.rglob(pattern))
    assert paths
    long = []
    for path in paths:
        lines = path.read_text().splitlines()
        if len(lines) > C_FILE:
            long.append(f"{path.relative_to(ROOT)}: {len(lines)} lines, {C_FILE} allowed")
        begin = 0
        for number, line in enumerate(lines, 1):
            if line == "{":
                begin = number
            elif line == "}" and number - begin > C_FUNCTION:
                long.append(f"{path.relative_to(ROOT)}:{begin}: a function of {number - begin} lines")
    expect_none(long)


def nodes(kind: type[Kind]) -> Iterator[tuple[str, Kind]]:
    """Yield every node of a kind in the library, with its ``path:line``."""
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, kind):
                yield f"{module.where}:{node.lineno}", node


def line_at(where: str) -> str:
    """Return the line that a ``path:line`` points to."""
    path, _, number = where.rpartition(":")
    return (ROOT / path).read_text().splitlines()[int(number) - 1]


def is_text(line: ast.stmt) -> bool:
    """Tell whether a statement is a docstring or an ellipsis."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def test_no_error_disappears() -> None:
    """No handler takes every exception and does nothing, unless it says why, and no ``suppress`` does."""
    broad = {"Exception", "BaseException", "builtins.Exception"}
    wrong = []
    for where, node in nodes(ast.ExceptHandler):
        names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        everything = any(name is None or ast.unparse(name) in broad for name in names)
        nothing = all(isinstance(line, ast.Pass | ast.Continue) or is_text(line) for line in node.body)
        if everything and nothing and "noqa: BLE001" not in line_at(where):
            wrong.append(f"{where}: every exception is taken, and nothing done")
    for where, call in nodes(ast.Call):
        if ast.unparse(call.func).endswith("suppress") and {ast.unparse(argument) for argument in call.args} & broad:
            wrong.append(f"{where}: every exception is suppressed")
    expect_none(wrong)


def test_nothing_asserts_or_prints() -> None:
    """Checks are made when Python runs with -O, too; a library says things to its caller, not to the terminal."""
    wrong = [f"{where}: assert" for where, _ in nodes(ast.Assert)]
    for where, node in nodes(ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in {"print", "input", "breakpoint", "exit", "eval", "exec"}:
            wrong.append(f"{where}: {node.func.id}()")
    # The command line of a room talks to a person.
    expect_none(line for line in wrong if "/__main__.py:" not in line or "assert" in line)


def test_nothing_is_promised() -> None:
    """What stands here is done; what is not done does not stand here."""
    promise = re.compile(rf"\b({'|'.join(MARKS)})\b|(?i:\b({'|'.join(PHRASES)})\b)")
    paths = [*python_files(), *PACKAGE.rglob("*.[ch]"), *PACKAGE.rglob("*.pyi"), *(ROOT / "docs").rglob("*.md")]
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {found.group()}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := promise.search(line))
    ]
    expect_none(wrong)


def is_public(name: str) -> bool:
    """Tell whether a qualified name can be reached without an underscore; magic methods need no words."""
    return not any(part.startswith("_") for part in name.split("."))


def test_every_module_begins_the_same_way() -> None:
    """A docstring that says what the room is for, then annotations that cost nothing."""
    wrong = []
    for module in modules().values():
        if not ast.get_docstring(module.tree):
            wrong.append(f"{module.where}: no docstring")
        if "from __future__ import annotations" not in module.text and len(module.tree.body) > 1:
            wrong.append(f"{module.where}: no 'from __future__ import annotations'")
    expect_none(wrong)


def described(module: Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield what must have a docstring: public classes and functions, and methods that are not somebody else's idea."""

    def inside(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.ClassDef):
                yield f"{prefix}{node.name}", node
                yield from inside(node, f"{prefix}{node.name}.")
            elif isinstance(node, Function):
                marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
                if not re.search(r"\b(override|overload)\b|\.(setter|validator|default|register)\b", marks):
                    yield f"{prefix}{node.name}", node
            elif isinstance(node, ast.If | ast.Try):
                yield from inside(node, prefix)

    return inside(module.tree, "")


def test_everything_public_is_described() -> None:
    """Every public class, function and method has a docstring."""
    wrong = [
        f"{module.where}:{getattr(node, 'lineno', 0)}: {name}"
        for module in modules().values()
        for name, node in described(module)
        if is_public(name) and isinstance(node, ast.ClassDef | Function) and not ast.get_docstring(node)
    ]
    expect_none(wrong)


def test_everything_is_annotated() -> None:
    """Every argument and result in the library has a type."""
    wrong = []
    for module in modules().values():
        for name, node in functions(module.tree):
            a = node.args
            arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
            bare = [one.arg for one in arguments if one and one.annotation is None and one.arg not in {"self", "cls"}]
            if bare or node.returns is None:
                wrong.append(f"{module.where}:{node.lineno}: {name}: {', '.join(bare) or 'result'}")
    expect_none(wrong)


def test_data_is_frozen() -> None:
    """Data classes are those of attrs, frozen and made by keyword; there are no two kinds of them."""
    wrong = []
    for where, node in nodes(ast.ClassDef):
        for mark in node.decorator_list:
            text = ast.unparse(mark)
            if text.startswith(OTHER_DATA):
                wrong.append(f"{where}: {node.name}: @{text}; expected attrs' @frozen(kw_only=True)")
            elif text.startswith(("attrs.frozen", "frozen")) and "kw_only=True" not in text:
                wrong.append(f"{where}: {node.name}: @{text} without kw_only=True")
    expect_none(wrong)
