"""The page about artifacts, referrers and indexes, line by line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders import Store, check_layout, manifest_at

if TYPE_CHECKING:
    import pytest


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What the page about artifacts and indexes shows works as it stands, in places of the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"model")
    (tmp_path / "sbom.spdx.json").write_bytes(b"sbom")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (tmp_path / "srv/work").mkdir(parents=True, mode=0o700)
    made = [Store() for _ in range(4)]
    made[0].layout(tmp_path / "srv/layout", {"1.2": made[0].index(made[0].image())})
    made[1].layout(tmp_path / "build/amd64", {"out": made[1].image({"1": b""})})
    made[2].archive(tmp_path / "arm64.tar", {"": made[2].image({"2": b""}, architecture="arm64")})
    made[3].directory(tmp_path / "build/s390x", made[3].image({"3": b""}, architecture="s390x"))
    page = Path(__file__).parents[2] / "docs/artifacts.md"
    text = page.read_text()
    namespace: dict[str, Any] = {}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        source = re.sub(r"(?<=[\":])/(srv|build)/", r"\1/", block[1])
        exec(compile("\n" * text.count("\n", 0, block.start(1)) + source, str(page), "exec"), namespace)  # noqa: S102
    assert (tmp_path / "srv/work/model/report.json").read_bytes() == b"{}"
    assert capsys.readouterr().out.endswith("sbom.spdx.json 4\n")
    digest = manifest_at(tmp_path / "srv/layout", "1.2").partition(":")[2]
    entries = json.loads((tmp_path / "srv/layout/blobs/sha256" / digest).read_bytes())["manifests"]
    assert [one["platform"]["architecture"] for one in entries] == ["amd64", "arm64", "s390x"]
    check_layout(tmp_path / "srv/layout")
