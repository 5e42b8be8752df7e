"""Lists that clients keep in a registry: several add to them at once, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys as python
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker_images import an_image, context, push
from registries import running_registry

from ocikit.errors import RegistryError
from ocikit.image import artifact, referrers, sign, signature
from ocikit.image.docker import kept_lists
from ocikit.testing import Features, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image import SystemContext

#: What each process does: attach files to an image, one after the other.
ATTACH = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from docker_images import context
from ocikit.image import artifact
from ocikit.image.artifact import ArtifactFile
circumstances = context(Path({place!r}), {address!r})
for number in range(3):
    content = b"%s %d" % (sys.argv[1].encode(), number)
    artifact.attach({name!r}, [ArtifactFile(content=content, title="a", media_type="a/b")], artifact_type="text/x",
                    sys=circumstances)
"""


def attach(name: str, number: int, sys: SystemContext) -> str:
    """Attach a file to an image; return the digest of what was attached."""
    file = artifact.ArtifactFile(content=b"%d" % number, title="a", media_type="a/b")
    return str(artifact.attach(name, [file], artifact_type="text/x", sys=sys).digest)


def test_threads_add_at_the_same_time(tmp_path: Path) -> None:
    """Each finds the image, uploads, and takes its turn with the list."""
    with Registry(features=Features(referrers=False)) as registry:
        sys = context(tmp_path / "conf", registry)
        name = f"docker://{registry.address}/app:1"
        push(an_image(tmp_path / "l"), name, sys)
        with ThreadPoolExecutor(8) as pool:
            attached = set(pool.map(lambda number: attach(name, number, sys), range(16)))
        assert len(attached) == 16
        assert {str(one.digest) for one in referrers(name, sys=sys)} == attached
        # What is there already is not put once more.
        before = len(registry.requests)
        attach(name, 3, sys)
        puts = [one.target for one in registry.requests[before:] if one.method == "PUT"]
        assert not any("manifests/sha256-" in target for target in puts)


def test_processes_add_at_the_same_time(tmp_path: Path, peer: Callable[[str], str]) -> None:
    """They have no lock in common, only the list."""
    with running_registry(peer("docker-registry"), tmp_path / "registry") as address:
        name, place = f"docker://{address}/app:1", tmp_path / "conf"
        sys = context(place, address)
        push(an_image(tmp_path / "l"), name, sys)
        here = str(Path(__file__).parent)
        text = ATTACH.format(here=here, place=str(place), address=address, name=name)
        started = [subprocess.Popen([python.executable, "-c", text, str(number)]) for number in range(4)]
        assert [one.wait(60) for one in started] == [0] * 4
        assert len(referrers(name, sys=sys)) == 12


def test_signatures_are_attached_at_the_same_time(tmp_path: Path) -> None:
    """Each signer finds its signature, and leaves those of the others."""
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        (tmp_path / "conf/empty/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
        name = f"docker://{registry.address}/app:1"
        push(an_image(tmp_path / "l"), name, sys)
        keys = [signature.PrivateKey.generate() for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda key: sign(name, signature.SigstoreSigner(key), sys=sys), keys))
        tag = next(tag for tag in registry.tags("app") if tag.endswith(".sig"))
        assert len(json.loads(registry.manifest("app", tag) or b"")["layers"]) == 6


def test_somebody_who_takes_it_away_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, after as many tries as are worth while."""
    monkeypatch.setattr(kept_lists, "_TRIES", 3)
    added: list[None] = []
    with pytest.raises(RegistryError, match=r"list sha256-0 of here/app: others have put it without .*, 3 times.* API"):
        kept_lists.change_list("sha256-0 of here/app", lambda: False, lambda: added.append(None))
    assert len(added) == 3
