"""The registry for tests with clients that others wrote: skopeo and buildah, plain, with passwords, tokens and TLS."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from asking import digest_of, make_image

from ocikit.testing import (
    TLS,
    Answer,
    BasicAuth,
    BearerAuth,
    Corrupt,
    Fault,
    Features,
    Redirect,
    Registry,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = make_image(bytes(200_000))
USERS = {"alice": "secret"}

#: What peers keep of earlier copies makes them leave out requests: they find only what they have kept in this test.
ALONE = ("unshare", "--mount", "sh", "-c", 'mount --bind "$HOME" /var/lib/containers && exec "$@"', "sh")


class Peer:
    """Runs the programs of others, away from what the machine has."""

    def __init__(self, path: Path, find: Callable[[str], str]) -> None:
        self.path = path
        self._find = find
        (path / "home").mkdir()
        (path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program."""
        environment = {
            "HOME": str(self.path / "home"),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "TMPDIR": str(self.path),
        }
        command = [*ALONE, self._find(program), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)

    def skopeo(self, *words: str) -> str:
        """Run skopeo; return what it says."""
        done = self.run("skopeo", "--insecure-policy", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def run(tmp_path: Path, peer: Callable[[str], str]) -> Peer:
    """Give the way to run others."""
    return Peer(tmp_path, peer)


def check(registry: Registry, repository: str, tag: str, digest: str = IMAGE.digest) -> None:
    """Check that an image has arrived, whole."""
    assert registry.tags(repository)[tag] == digest
    assert {digest_of(IMAGE.config), digest_of(IMAGE.layer)} <= registry.blobs(repository)
    assert registry.blob(repository, digest_of(IMAGE.layer)) == IMAGE.layer
    assert registry.uploads(repository) == {}


def test_skopeo_pushes_and_pulls(run: Peer, tmp_path: Path) -> None:
    """An image that skopeo pushes is what it pulls; tags are listed, looked at and deleted."""
    source = IMAGE.layout(tmp_path / "layout", "1")
    with Registry(directory=tmp_path) as registry:
        name = f"docker://{registry.address}/team/app"
        run.skopeo("copy", "--dest-tls-verify=false", source, f"{name}:1")
        check(registry, "team/app", "1")
        kinds = {one.kind for one in registry.requests}
        assert {"ping", "blob", "upload_start", "upload_patch", "upload_put", "manifest"} <= kinds
        run.skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"{name}:1", f"{name}/mounted:2")
        check(registry, "team/app/mounted", "2")
        assert any("mount=" in one.target and one.status == 201 for one in registry.requests)
        assert json.loads(run.skopeo("list-tags", "--tls-verify=false", name))["Tags"] == ["1"]
        assert json.loads(run.skopeo("inspect", "--tls-verify=false", f"{name}:1"))["Digest"] == IMAGE.digest
        run.skopeo("copy", "--src-tls-verify=false", f"{name}@{IMAGE.digest}", f"dir:{tmp_path}/pulled")
        assert (tmp_path / "pulled/manifest.json").read_bytes() == IMAGE.manifest
        run.skopeo("delete", "--tls-verify=false", f"{name}:1")
        assert registry.tags("team/app") == {}


@pytest.mark.parametrize("auth", [BasicAuth(users=USERS), BearerAuth(users=USERS)], ids=["basic", "bearer"])
def test_skopeo_proves_who_it_is(run: Peer, tmp_path: Path, auth: BasicAuth | BearerAuth) -> None:
    """Skopeo comes in over TLS with the password, and with the tokens that it gets for it; not without."""
    source = IMAGE.layout(tmp_path / "layout", "1")
    with Registry(auth=auth, tls=TLS(client_certificate=True)) as registry:
        assert registry.cert_directory is not None
        name = f"docker://{registry.address}/team/app:1"
        certificates = f"--dest-cert-dir={registry.cert_directory}"
        run.skopeo("copy", certificates, "--dest-creds=alice:secret", source, name)
        check(registry, "team/app", "1")
        assert {one.authorization for one in registry.requests if one.status == 201} == {
            "basic" if isinstance(auth, BasicAuth) else "bearer"
        }
        done = run.run("skopeo", "--insecure-policy", "copy", certificates, "--dest-creds=alice:wrong", source, name)
        assert done.returncode != 0
        run.skopeo("delete", f"--cert-dir={registry.cert_directory}", "--creds=alice:secret", name)
        assert registry.tags("team/app") == {}


def test_skopeo_pulls_as_anybody(run: Peer, tmp_path: Path) -> None:
    """Skopeo gets a token for nobody where anybody may pull."""
    with Registry(auth=BearerAuth(users=USERS, anonymous_pull=True)) as registry:
        IMAGE.put(registry, "team/app", "1")
        run.skopeo(
            "copy", "--src-tls-verify=false", f"docker://{registry.address}/team/app:1", f"dir:{tmp_path}/pulled"
        )
        assert {one.token for one in registry.requests if one.kind == "blob"} <= {"token-1", "token-2"}


def test_skopeo_synchronises(run: Peer) -> None:
    """Skopeo brings all images of one registry to another."""
    with Registry(features=Features(page_size=2)) as source, Registry() as target:
        for tag in "abcde":
            IMAGE.put(source, "team/app", tag)
        words = ("--src=docker", "--dest=docker", "--src-tls-verify=false", "--dest-tls-verify=false")
        run.skopeo("sync", *words, f"{source.address}/team/app", f"{target.address}/copy")
        assert [*target.tags("copy/app")] == [*"abcde"]
        check(target, "copy/app", "c")
        assert len([one for one in source.requests if one.kind == "tags"]) == 3


def test_skopeo_meets_faults(run: Peer, tmp_path: Path) -> None:
    """What goes wrong here, skopeo sees: it waits, follows, or gives up, as it should."""
    target = f"dir:{tmp_path}/pulled"
    with Registry() as registry, Registry(contents_of=registry) as other:
        IMAGE.put(registry, "team/app", "1")
        pull = ("copy", "--src-tls-verify=false", f"docker://{registry.address}/team/app:1", target)
        registry.inject(Fault(kind="manifest", do=Answer(status=429, retry_after=0)))
        registry.inject(Fault(kind="blob", do=Redirect(to=other.url), times=None))
        run.skopeo(*pull)
        assert {one.kind for one in other.requests} == {"blob"}
        registry.clear_faults()
        for fault in (Corrupt(at=5), Answer.html_page(), Answer(status=500)):
            registry.inject(Fault(kind="blob", do=fault, times=None))
            assert run.run("skopeo", "--insecure-policy", *pull).returncode != 0
            registry.clear_faults()


def test_buildah_pulls_and_pushes(run: Peer, tmp_path: Path) -> None:
    """An image goes through buildah's storage and comes back."""
    storage = (f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--storage-driver=vfs")
    more = ("--tls-verify=false", f"--signature-policy={tmp_path}/policy.json", "--quiet")
    with Registry() as registry:
        IMAGE.put(registry, "team/app", "1")
        name = f"{registry.address}/team/app:1"
        pulled = run.run("buildah", *storage, "pull", *more, name)
        assert pulled.returncode == 0, pulled.stderr
        pushed = run.run("buildah", *storage, "push", *more, name, f"docker://{registry.address}/copy/app:2")
        assert pushed.returncode == 0, pushed.stderr
        manifest = json.loads(registry.manifest("copy/app", "2") or b"")
        assert manifest["config"]["digest"] == digest_of(IMAGE.config)
        assert {manifest["layers"][0]["digest"]} <= registry.blobs("copy/app")
