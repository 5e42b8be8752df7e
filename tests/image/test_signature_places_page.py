"""The page about places of signatures is right: what it shows is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from builders import Store
from kept_signatures import one_of_each, signatures

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "signature-places.md"


def test_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block, one after the other, in one namespace; what it says comes out."""
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    store = Store()
    image = store.image()
    directory = store.directory(tmp_path / "signed", image)
    for number, blob in enumerate(one_of_each(image["digest"]), 1):
        (directory / f"signature-{number}").write_bytes(blob)
    Path("registries.d").mkdir()
    section = f"{{lookaside: 'file://{tmp_path}/store', use-sigstore-attachments: true}}"
    Path("registries.d/a.yaml").write_text(f"docker: {{registry.example.com/team: {section}}}")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    namespace: dict[str, object] = {"__name__": "page_about_places_of_signatures"}
    for block in blocks:
        code = block.replace("/srv/", f"{tmp_path}/")
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), namespace)  # noqa: S102
    assert set(signatures(f"oci:{tmp_path}/layout:1.2")) == set(one_of_each(image["digest"]))
    assert capsys.readouterr().out.split() == [f"file://{tmp_path}/store/team/app", "True"]
    assert [*(tmp_path / "store" / "team").iterdir()] == []
