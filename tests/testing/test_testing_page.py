"""The page about the registry for tests, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import ocikit.testing

PAGE = Path(__file__).parents[2] / "docs/testing.md"


def test_the_page_runs() -> None:
    """What the page shows works as it stands, each block by itself."""
    text = PAGE.read_text()
    blocks = [*re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    assert len(blocks) == 5
    for block in blocks:
        lines = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(lines + block[1], str(PAGE), "exec", dont_inherit=True), {})  # noqa: S102


def test_the_page_names_everything() -> None:
    """Every public name is on the page, but for those that nobody writes."""
    text = PAGE.read_text()
    unnamed = {name for name in ocikit.testing.__all__ if f"{name}" not in text}
    assert unnamed == {"Action", "Injection", "RecordedRequest", "RequestKind"}
