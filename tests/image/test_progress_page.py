"""The page about progress, line by line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tqdm
from docker_images import an_image

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "progress.md"


def test_page_about_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it shows works as it stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # no thread that stays
    an_image(tmp_path / "images", layers=2)
    text = PAGE.read_text()
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(PAGE), "exec", dont_inherit=True), namespace)  # noqa: S102
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("3 blobs, ")
    assert [line.endswith(" is there") for line in lines[1:4]] == [True] * 3
    assert lines[4].endswith("bytes {'done'}")
    assert lines[5].split()[:2] == ["planned", "0"]
    assert any(line.startswith('b\'data: {"event": "skipped"') and line.endswith("}\\n\\n'") for line in lines)
    assert "app: 100%" in err
