"""The pages about registries and credentials, line by line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_homes import own_home, write

if TYPE_CHECKING:
    import pytest

CONF = """
unqualified-search-registries = ["registry.example"]
[[registry]]
location = "registry.example"
[[registry.mirror]]
location = "mirror.example/copy"
insecure = true
"""


def run_page(name: str) -> None:
    """Run what a page shows, in one namespace."""
    page = Path(__file__).parents[2] / "docs" / name
    text = page.read_text()
    namespace: dict[str, Any] = {}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile("\n" * text.count("\n", 0, block.start(1)) + block[1], str(page), "exec"), namespace)  # noqa: S102


def test_page_about_registries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the page about registries shows works as it stands, in a home of the test."""
    own_home(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_CONTAINERS_ROOTLESS_UID", "1000")  # recorded names are in the cache of the user
    write(tmp_path / "home/.config/containers/registries.conf", CONF)
    write(tmp_path / "registries.conf", CONF)
    run_page("registries.md")
    assert capsys.readouterr().out.splitlines() == [
        "mirror.example/copy/team/app:1.2 mirror insecure",
        "registry.example/team/app:1.2  ",
        "registry.example/team/app:1.2",
        "registry.example -> registry.example ['mirror.example/copy']",
        "'app:1.2' is searched as registries.conf says: registry.example/app:1.2",
        "registry.example/app:1.2",
        "{'app': Named(domain='registry.example', path='app', tag=None, digest=None)}",
        "True 0",
    ]


def test_page_about_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the page about credentials shows works as it stands, in a home of the test."""
    own_home(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    run_page("credentials.md")
    assert capsys.readouterr().out.splitlines() == [
        "me from auth.json under registry.example",
        "registry.example me auth.json",
        "('auth.json',)",
    ]
