"""The page about OpenPGP is right: what it shows is run, on a key that gpg makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from openpgp_peers import GnuPG

from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature import SimpleSigner
from ocikit.image.stored_signature import SimpleSignature
from ocikit.spec import Digest

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs/openpgp.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_page_of_openpgp_runs(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block, in one namespace, in a directory with a keyring."""
    gnupg = GnuPG(tmp_path_factory.mktemp("gpg"))
    monkeypatch.chdir(tmp_path)
    try:
        fingerprint = gnupg.new_key("owner", "ed25519")
        Path("keys.gpg").write_bytes(gnupg.public(fingerprint))
        digest = Digest("sha256:" + "0" * 64)
        signer = SimpleSigner(key_fingerprint=fingerprint, gnupg_home=gnupg.home)
        signature = signer.sign(digest, parse_normalized_named("registry.example/app:1"))
        namespace: dict[str, object] = {
            "signature": signature,
            "fingerprint": fingerprint,
            "passphrase": None,
            "home": gnupg.home,
            "digest": digest,
        }
        blocks = CODE.findall(PAGE.read_text())
        assert len(blocks) == 2
        for block in blocks:
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), namespace)  # noqa: S102
    finally:
        gnupg.close()
    assert isinstance(namespace["signature"], SimpleSignature)
    assert namespace["signature"] is not signature
