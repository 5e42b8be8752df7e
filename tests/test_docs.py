"""The pages for users are right: what they show is run, and where they point there is something."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def test_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the tutorial, one after the other, in one namespace."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    page = ROOT / "docs/tutorial.md"
    text = page.read_text()
    namespace: dict[str, object] = {}
    blocks = list(_CODE.finditer(text))
    assert len(blocks) > 10
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)  # noqa: S102


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_parse_and_lead_somewhere(page: Path) -> None:
    """The Python of a page is Python, and its links lead to files of the repository."""
    text = page.read_text()
    for block in _CODE.finditer(text):
        if ">>>" not in block[1]:
            assert ast.parse(block[1])
    for target in _LINK.findall(text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_pages_name_are_there(page: Path) -> None:
    """What a page says is shown by a test is not said of one that is gone."""
    for file, name in _TEST.findall(page.read_text()):
        path = ROOT / "tests" / file
        assert path.exists(), f"{page.name}: {file}"
        assert f"\ndef {name}(" in path.read_text(), f"{page.name}: {file}::{name}"
