"""The pages for users are right: what they show is run, and where they point there is something."""

from __future__ import annotations

import ast
import base64
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ocikit import image
from ocikit.testing import Registry

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


def test_page_of_transports_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page about transports, in one namespace, in a directory with what it is about."""
    monkeypatch.chdir(tmp_path)
    conf = f"[storage]\ndriver = 'vfs'\ngraphroot = '{tmp_path}/store'\nrunroot = '{tmp_path}/run'\n"
    Path("storage.conf").write_text(conf)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", f"{tmp_path}/storage.conf")
    for name in ("app", "rootfs"):
        subprocess.run(["tar", "--create", f"--file={name}.tar", "storage.conf"], check=True)
    subprocess.run(["gzip", "rootfs.tar"], check=True)
    policy = image.Policy.insecure_accept_anything()
    image.copy.image(policy, dest="oci:made:1", src="tarball:app.tar")
    peer = ["skopeo", "copy", "-q", "--insecure-policy", "oci:made:1", "containers-storage:localhost/app:1"]
    subprocess.run(["unshare", "--mount", *peer], check=True)
    text = (ROOT / "docs/transports.md").read_text().replace("/var/lib/app/", "")
    namespace: dict[str, object] = {"__name__": "page_of_transports"}
    blocks = _CODE.findall(text)
    assert len(blocks) > 3
    for block in blocks:
        exec(compile(block, "docs/transports.md", "exec", dont_inherit=True), namespace)  # noqa: S102


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


def test_page_about_all_images_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page about synchronising, in one namespace, in a directory with what it is about."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/image"))
    from builders import Store, names_in  # noqa: PLC0415 - found only from here on

    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    store = Store()
    made = {f"web:{number}": store.image({"n": b"%d" % number}, platform=False) for number in (1, 2)}
    store.layout(tmp_path / "images", made)
    Path("incoming").mkdir()
    store.archive(tmp_path / "incoming" / "more.tar", {"web:3-debug": made["web:1"], "lib/a": made["web:2"]})
    text = (ROOT / "docs/sync.md").read_text().replace("/var/lib/app", str(tmp_path))
    namespace: dict[str, object] = {"__name__": "page_about_all_images"}
    blocks = _CODE.findall(text)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/sync.md", "exec", dont_inherit=True), namespace)  # noqa: S102
    assert sorted(names_in(tmp_path / "mirror")) == ["mirror/lib/a", "web:1", "web:2"]
    assert len(list((tmp_path / "parcels").iterdir())) == 3
    assert sorted(names_in(tmp_path / "new")) == ["web:1", "web:2"]


def test_page_about_sigstore_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block of the page about sigstore, in one namespace: a key is made, signs, and the signature is verified."""
    text = (ROOT / "docs/sigstore.md").read_text().replace("/var/lib/app", str(tmp_path))
    namespace: dict[str, object] = {"__name__": "page_about_sigstore", "manifest": b"{}"}
    blocks = _CODE.findall(text)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/sigstore.md", "exec", dont_inherit=True), namespace)  # noqa: S102
    assert capsys.readouterr().out.endswith("is registry.example.com/team/app:1.2\n")


def test_page_about_certificates_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page about certificates verifies a signature that has all that it speaks of."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/image"))
    from authorities import Authority, Log  # noqa: PLC0415 - found only from here on

    root, log, payload = Authority.root(), Log(), b"payload"
    signer = root.issue(emails=["who@example.com"], identity_provider="https://idp.example.com")
    signature = signer.sign(payload)
    annotations = {
        "dev.cosignproject.cosign/signature": base64.b64encode(signature).decode(),
        "dev.sigstore.cosign/bundle": log.bundle(log.hashedrekord(signer.pem, signature, payload)),
        "dev.sigstore.cosign/certificate": signer.text,
    }
    namespace: dict[str, object] = {"annotations": annotations, "signature": signature, "payload": payload}
    namespace |= {"roots_pem": root.pem, "log_pem": log.public_key.pem}
    (block,) = _CODE.findall((ROOT / "docs/certificates.md").read_text())
    exec(compile(block, "docs/certificates.md", "exec", dont_inherit=True), namespace)  # noqa: S102
    assert getattr(namespace["signatory"], "email", None) == "who@example.com"


def test_page_of_signatures_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page about signatures, one after the other, in a directory with what it is about."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/image"))
    from builders import Store  # noqa: PLC0415 - found only from here on

    monkeypatch.chdir(tmp_path)
    store = Store()
    store.layout(tmp_path / "images", {name: store.image(platform=False) for name in ("app", "other")})
    namespace: dict[str, object] = {"__name__": "page_of_signatures"}
    blocks = _CODE.findall((ROOT / "docs/signatures.md").read_text())
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/signatures.md", "exec", dont_inherit=True), namespace)  # noqa: S102
    assert str(namespace["one"]).startswith("sha256:")
    by_vault: Any = namespace["sign_by_vault"]
    signer: Any = namespace["signer"]
    assert by_vault(signer._key.sign).digests
    assert Path("other.tar").exists()


def test_page_of_registries_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the page about registries, with one of this process in the place of the one they name."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/image"))
    from builders import Store  # noqa: PLC0415 - found only from here on

    monkeypatch.chdir(tmp_path)
    store = Store()
    store.layout(tmp_path / "images", {"app": store.image(platform=False)})
    with Registry() as registry:
        (tmp_path / ".config/containers").mkdir(parents=True)
        conf = f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n'
        (tmp_path / ".config/containers/registries.conf").write_text(conf)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        (block,) = _CODE.findall((ROOT / "docs/docker.md").read_text())
        exec(block.replace("registry.example.com", registry.address), {})  # noqa: S102
        assert registry.tags("team/app") == {}
        assert image.inspect("oci:pulled:app")
    image.docker.close_connections()
