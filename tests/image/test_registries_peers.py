"""The same files read by us, skopeo and podman: mirrors in the order they are asked, credentials of each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from registry_homes import listening, own_home, write

from ocikit.image import DockerAuthConfig, SystemContext, registries
from ocikit.image.credentials import get_all_credentials, get_credentials, remove_credentials, set_credentials
from ocikit.image.reference import parse_normalized_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER, PASSWORD = "tester", "registry-secret"
#: The same, as a registry has it: bcrypt.
HTPASSWD = "tester:$2b$04$abcdefghijklmnopqrstuu2fZl/x3nh66sAonKfBpDesaK60ZV4zW\n"
DIGEST = "sha256:" + "5" * 64

CONF = """
[[registry]]
prefix = "p.example/team"
location = "{here}/primary"
insecure = true
[[registry.mirror]]
location = "{here}/first"
insecure = true
[[registry.mirror]]
location = "{here}/digests"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "{here}/tags"
insecure = true
pull-from-mirror = "tag-only"

[[registry]]
prefix = "d.example"
location = "{here}/by-digest"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "{here}/mirror"
insecure = true

[[registry]]
prefix = "*.wild.example"
location = "{here}/wild"
insecure = true

[[registry]]
prefix = "docker.io/library"
location = "{here}/hub"
insecure = true

[[registry]]
prefix = "x.example"
location = "{here}/short"
insecure = true
[[registry]]
prefix = "x.example/deep/er"
location = "{here}/long"
insecure = true
"""
DROP_IN = """
[[registry]]
prefix = "x.example/deep"
location = "{here}/dropped-in"
insecure = true
"""
IMAGES = [
    "p.example/team/app:1",
    f"p.example/team/app@{DIGEST}",
    "d.example/app:1",
    f"d.example/a/b@{DIGEST}",
    "a.b.wild.example/app:1",
    "busybox:1",
    "x.example/app:1",
    "x.example/deep/app:1",
    "x.example/deep/er/app:1",
    "x.example/deeper/app:1",
]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Give a context in which nothing is configured but what the user has."""
    return evolve(own_home(tmp_path, monkeypatch), root_for_implicit_absolute_paths=None)


def test_as_skopeo_asks(tmp_path: Path, context: SystemContext, peer: Callable[[str], str]) -> None:
    """Every image is asked for where skopeo asks for it, under the same names and in the same order."""
    with listening() as (address, asked):
        user = tmp_path / "home/.config/containers"
        write(user / "registries.conf", CONF.format(here=address))
        write(user / "registries.conf.d/more.conf", DROP_IN.format(here=address))
        for image in IMAGES:
            asked.clear()
            subprocess.run([peer("skopeo"), "inspect", f"docker://{image}"], capture_output=True, check=False)
            sources = registries.pull_sources(parse_normalized_named(image), context)
            ours = [
                f"/v2/{one.reference.path}/manifests/{one.reference.tag or one.reference.digest}" for one in sources
            ]
            assert [path for path in asked if "/manifests/" in path] == ours
            assert {one.reference.domain for one in sources} == {address}


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]]\nprefix = 'p.example'\nlocation = 'http://a.example'",
        "[[registry]]\nprefix = 'p.example'\nlocation = 'Q'",
        "[[registry]]\nlocation = 'p.example'\nblocked = true",
        "[[registry]]\nlocation = 'p.example'\npull-from-mirror = 'all'",
        "[registries.block]\nregistries = ['p.example']",
        "[registries.block]\nregistries = ['p.example']\n[aliases]\na = 'b.example/c'",
        "short-name-mode = 'no'",
    ],
)
def test_as_skopeo_refuses(text: str, tmp_path: Path, context: SystemContext, peer: Callable[[str], str]) -> None:
    """What skopeo takes for malformed or blocked is refused here, before anything is asked."""
    write(tmp_path / "home/.config/containers/registries.conf", text)
    done = subprocess.run(
        [peer("skopeo"), "inspect", "docker://p.example/x:1"], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "no such host" not in done.stderr
    assert "dial" not in done.stderr
    with pytest.raises((ValueError, PermissionError)):
        registries.pull_sources(parse_normalized_named("p.example/x:1"), context)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Iterator[str]:
    """Run a registry on loopback that wants to know who asks; give its address."""
    place = tmp_path_factory.mktemp("registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    write(place / "htpasswd", HTPASSWD)
    write(
        place / "registry.yml",
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: {address}}}\n"
        f"auth: {{htpasswd: {{realm: tests, path: {place}/htpasswd}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {place}/data}}}}\n",
    )
    command = [peer("docker-registry"), "serve", str(place / "registry.yml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://{address}/v2/").close()
            except urllib.error.HTTPError as error:
                error.close()
                break  # it wants to know who asks
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program; return how it ended, and what it said."""
    return subprocess.run([*command], input=given, capture_output=True, text=True, check=False)


def is_let_in(address: str, *options: str) -> bool:
    """Say whether a registry lets skopeo look for an image that is not there."""
    done = run("skopeo", "inspect", "--tls-verify=false", *options, f"docker://{address}/team/app:1")
    assert ("manifest unknown" in done.stderr) != ("unauthorized" in done.stderr), done.stderr
    return "manifest unknown" in done.stderr


@pytest.mark.parametrize("program", ["podman", "skopeo", "buildah"])
def test_what_a_peer_stored(
    program: str, registry: str, tmp_path: Path, context: SystemContext, peer: Callable[[str], str]
) -> None:
    """Credentials of a login are found here, where they usually are and where one says; removed, they are gone."""
    place = tmp_path / "session/containers/auth.json"
    named = tmp_path / "named.json"
    login = [peer(program), "login", "--tls-verify=false", "--username", USER, "--password-stdin"]
    for options, path, used in (
        ([], place, context),
        (["--authfile", str(named)], named, evolve(context, auth_file_path=str(named))),
    ):
        assert get_credentials(registry, used) is None
        done = run(*login, *options, registry, given=PASSWORD)
        assert done.returncode == 0, done.stderr
        found = get_credentials(parse_normalized_named(f"{registry}/team/app:1"), used)
        assert found is not None
        assert found.auth == DockerAuthConfig(username=USER, password=PASSWORD)
        assert (found.source, found.key) == (str(path), registry)
        assert set(get_all_credentials(used)) == {registry}
        assert remove_credentials(registry, used) == (str(path),)
        assert run(program, "login", "--get-login", *options, registry).returncode


def test_what_peers_find(registry: str, tmp_path: Path, context: SystemContext, peer: Callable[[str], str]) -> None:
    """Credentials that were stored here let skopeo in, for their repository alone; podman logs out with them."""
    auth = DockerAuthConfig(username=USER, password=PASSWORD)
    named = evolve(context, auth_file_path=str(tmp_path / "named.json"))
    assert not is_let_in(registry)
    set_credentials(f"{registry}/other", auth, context)
    assert not is_let_in(registry)
    set_credentials(f"{registry}/team", auth, context)
    assert is_let_in(registry)
    set_credentials(registry, auth, named)
    assert is_let_in(registry, "--authfile", str(named.auth_file_path))
    assert (
        run(peer("podman"), "login", "--get-login", registry, "--authfile", str(named.auth_file_path)).stdout
        == f"{USER}\n"
    )
    set_credentials("a.example", auth, named)
    assert run("podman", "logout", "--authfile", str(named.auth_file_path), registry).returncode == 0
    assert set(get_all_credentials(named)) == {"a.example"}


HELPER = f"""#!{sys.executable}
import json, sys
server = sys.stdin.read()
print(json.dumps({{"ServerURL": server, "Username": "{USER}", "Secret": "{PASSWORD}"}}))
"""


@pytest.mark.parametrize("place", ["registries.conf", "auth.json"])
def test_as_skopeo_asks_helpers(
    place: str, registry: str, tmp_path: Path, context: SystemContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that registries.conf or a file with credentials names is asked by skopeo, and by us."""
    write(tmp_path / "bin/docker-credential-tests", HELPER).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert get_credentials(registry, context) is None
    assert not is_let_in(registry)
    if place == "auth.json":
        write(tmp_path / "session/containers/auth.json", json.dumps({"credHelpers": {registry: "tests"}}))
    else:
        write(tmp_path / "home/.config/containers/registries.conf", 'credential-helpers = ["tests"]')
    found = get_credentials(registry, context)
    assert found is not None
    assert found.auth == DockerAuthConfig(username=USER, password=PASSWORD)
    assert is_let_in(registry)
