"""The page about encrypted layers, line by line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders import Store
from copies import manifest_of
from recipients import certificate, private_pem, public_pem

if TYPE_CHECKING:
    import pytest


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows works as it stands, in places of the test."""
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    for name, key in (("alice", "rsa"), ("carol", "P-256")):
        Path(f"{name}.pub").write_bytes(public_pem(key))
        Path(f"{name}.pem").write_bytes(private_pem(key))
    Path("bob.crt").write_bytes(certificate("rsa/2"))
    Path("bob.pem").write_bytes(private_pem("rsa/2", b"words"))
    Path("bob.words").write_text("words\n")
    Path("srv").mkdir()
    store = Store()
    store.layout(tmp_path / "srv/layout", {"1": store.image({"a": b"a"}, {"b": b"b"}, platform=False)})
    page = Path(__file__).parents[2] / "docs/encryption.md"
    text = page.read_text()
    namespace: dict[str, Any] = {}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) == 4
    for block in blocks:
        source = block[1].replace(":/srv/", ":srv/")
        exec(compile("\n" * text.count("\n", 0, block.start(1)) + source, str(page), "exec"), namespace)  # noqa: S102
    layers = [manifest_of(tmp_path / "srv" / name)["layers"] for name in ("layout", "opened", "carol")]
    assert layers[0] == layers[1] == layers[2]
    assert all(layer["mediaType"].endswith("+encrypted") for layer in manifest_of(tmp_path / "srv/shared")["layers"])
