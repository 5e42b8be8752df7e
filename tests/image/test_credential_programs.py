"""Programs that keep credentials: asked in Docker's protocol, in bounded time and space, without secrets in sight."""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from registry_homes import own_home, write

from ocikit.errors import CredentialsError
from ocikit.image import DockerAuthConfig, SystemContext
from ocikit.image.credentials import (
    get_all_credentials,
    get_credentials,
    programs,
    remove_credentials,
    set_credentials,
)

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hush-hush"  # noqa: S105 - of nobody's

#: Keeps what it gets in a file, and notes how it was called.
KEEPER = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(__file__)
file = here.with_suffix(".json")
kept = json.loads(file.read_text()) if file.exists() else {{}}
text = sys.stdin.read()
with here.with_suffix(".calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], "" if sys.argv[1] == "store" else text]) + "\\n")
if sys.argv[1] == "store":
    one = json.loads(text)
    kept[one["ServerURL"]] = one
elif sys.argv[1] == "list":
    print(json.dumps({{server: one["Username"] for server, one in kept.items()}}))
elif text not in kept:
    sys.exit(print("credentials not found in native keychain") or 1)
elif sys.argv[1] == "get":
    print(json.dumps(kept[text]))
else:
    del kept[text]
file.write_text(json.dumps(kept))
"""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Give a context in which nothing is configured, and a place for programs."""
    own_home(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return SystemContext(system_registries_conf_path="/dev/null", system_registries_conf_dir_path="/dev/null")


def program(tmp_path: Path, name: str, text: str = KEEPER) -> Path:
    """Put a program where programs are found; text that names no interpreter is for the shell."""
    path = write(tmp_path / f"bin/docker-credential-{name}", text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def calls(path: Path) -> list[object]:
    """Return how a program was called, and forget that."""
    noted = path.with_suffix(".calls")
    found = [json.loads(line) for line in noted.read_text().splitlines()]
    noted.unlink()
    return found


def helped(context: SystemContext, tmp_path: Path, *names: str) -> SystemContext:
    """Return the context in which these helpers are asked."""
    conf = write(tmp_path / "registries.conf", f"credential-helpers = {json.dumps(names)}")
    return evolve(context, system_registries_conf_path=str(conf))


def test_a_helper_for_everything(tmp_path: Path, context: SystemContext) -> None:
    """Stored, listed, found for everything in the registry, removed; secrets on standard input alone."""
    path = program(tmp_path, "keeper")
    sys = helped(context, tmp_path, "keeper")
    auth = DockerAuthConfig(username="u", password=SECRET)
    assert set_credentials("a.example", auth, sys) == "docker-credential-keeper"
    set_credentials("b.example:5000", DockerAuthConfig(identity_token=SECRET), sys)
    assert calls(path) == [[["store"], ""], [["store"], ""]]
    for key in ("a.example", "a.example/team/app"):
        one = get_credentials(key, sys)
        assert one is not None
        assert (one.auth, one.source, one.key) == (auth, "docker-credential-keeper", "a.example")
    assert get_credentials("c.example", sys) is None
    assert calls(path) == [[["get"], "a.example"], [["get"], "a.example"], [["get"], "c.example"]]
    assert {key: one.auth for key, one in get_all_credentials(sys).items()} == {
        "a.example": auth,
        "b.example:5000": DockerAuthConfig(identity_token=SECRET),
    }
    with pytest.raises(CredentialsError, match="whole registries only"):
        set_credentials("a.example/x", auth, sys)
    assert remove_credentials("a.example/x", sys) == ()
    assert remove_credentials("a.example", sys) == ("docker-credential-keeper",)
    assert remove_credentials("a.example", sys) == ()
    assert get_credentials("a.example", sys) is None


def test_helpers_in_order(tmp_path: Path, context: SystemContext) -> None:
    """They are asked in their order; one that fails is no obstacle, unless nobody else has something."""
    program(tmp_path, "keeper")
    program(tmp_path, "broken", "cat >/dev/null; echo no session; exit 3")
    auth = DockerAuthConfig(username="keeper", password=SECRET)
    set_credentials("a.example", auth, helped(context, tmp_path, "keeper"))
    set_credentials("a.example", evolve(auth, username="file"), context)
    for order, expected in (
        (("keeper", "containers-auth.json"), "keeper"),
        (("containers-auth.json", "keeper"), "file"),
    ):
        one = get_credentials("a.example", helped(context, tmp_path, "missing", "broken", *order))
        assert one is not None
        assert one.auth.username == expected
    with pytest.raises(
        CredentialsError, match=r"missing: expected a program.*broken get: ended with 3; it said: no se"
    ):
        get_credentials("b.example", helped(context, tmp_path, "missing", "broken", "keeper"))
    assert set_credentials("b.example", auth, helped(context, tmp_path, "broken", "keeper")).endswith("keeper")
    assert set(get_all_credentials(helped(context, tmp_path, "missing", "keeper"))) == {"a.example", "b.example"}


def test_helpers_that_a_file_names(tmp_path: Path, context: SystemContext) -> None:
    """What credHelpers names is for one registry, before what the file has itself, and is asked for storing, too."""
    path = program(tmp_path, "keeper")
    file = tmp_path / "session/containers/auth.json"
    content = {"auths": {"a.example/team": {"auth": "dTpw"}}, "credHelpers": {"a.example": "keeper"}}
    write(file, json.dumps(content))
    auth = DockerAuthConfig(username="kept", password=SECRET)
    assert set_credentials("a.example", auth, context) == "docker-credential-keeper"
    one = get_credentials("a.example/team/app", context)
    assert one is not None
    assert one.auth == auth
    assert get_credentials("b.example", context) is None
    assert calls(path) == [[["store"], ""], [["get"], "a.example"]]
    assert json.loads(file.read_text()) == content
    assert set(get_all_credentials(context)) == {"a.example", "a.example/team"}
    assert remove_credentials("a.example", context) == ("docker-credential-keeper",)


def test_a_helper_that_docker_names(tmp_path: Path, context: SystemContext) -> None:
    """A program that Docker's file names for Docker Hub gets what is stored for it, under Docker's name."""
    path = program(tmp_path, "keeper")
    hub = "https://index.docker.io/v1/"
    file = write(tmp_path / "config.json", json.dumps({"credHelpers": {hub: "keeper"}}))
    sys = evolve(context, docker_compat_auth_file_path=str(file))
    auth = DockerAuthConfig(username="u", password=SECRET)
    assert set_credentials("docker.io", auth, sys) == "docker-credential-keeper"
    for key in ("docker.io", "docker.io/library/busybox", "index.docker.io"):
        one = get_credentials(key, sys)
        assert one is not None
        assert (one.auth, one.key) == (auth, hub)
    assert set(get_all_credentials(sys)) == {"docker.io"}
    assert remove_credentials("docker.io", sys) == ("docker-credential-keeper",)
    assert calls(path) == [[["store"], ""], *[[["get"], hub]] * 4, [["erase"], hub]]


def test_the_store_of_docker(tmp_path: Path, context: SystemContext) -> None:
    """What credsStore names is asked where the caller wants it, for what the file has not, by the names of Docker."""
    path = program(tmp_path, "keeper")
    write(tmp_path / "home/.docker/config.json", json.dumps({"auths": {"a.example": {}}, "credsStore": "keeper"}))
    for server in ("a.example", "https://index.docker.io/v1/"):
        programs.store_with("keeper", server, DockerAuthConfig(username=server[:5], password=SECRET))
    calls(path)
    assert get_credentials("a.example", context) is None
    sys = evolve(context, docker_use_creds_store=True)
    for key, user in (("a.example/x", "a.exa"), ("docker.io/library/x", "https"), ("index.docker.io", "https")):
        one = get_credentials(key, sys)
        assert one is not None
        assert (one.auth.username, one.source) == (user, "docker-credential-keeper")
    assert set(get_all_credentials(sys)) == {"a.example", "docker.io"}


WRONG = {
    "echo '{'": "expected a JSON object: not JSON",
    "echo '[]'": "expected a JSON object, found an array",
    f'echo \'{{"Username": "u", "Secret": ["{SECRET}"]}}\'': "Secret: expected a string",
    f'echo \'{{"Username": "u", "Secret": "{SECRET}"}}\'; exit 1': "ended with 1$",
    f'echo \'{{"Username": "u", "Secret": "{SECRET}"}} {SECRET}\'': "not JSON",
    "printf 'a\\033[31mb\\n%0300d' 0; exit 2": r"ended with 2; it said: a \[31mb 0{192}$",
    f"echo '{'[' * 1000}'": "limit",
    "kill -9 $$": "ended with -9",
    "exec head -c 3000000 /dev/zero": "limit 1,048,576",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_a_program_may_do_wrong(text: str, tmp_path: Path, context: SystemContext) -> None:
    """Whatever a program says or does, it is an error that says so, without a secret and without control characters."""
    program(tmp_path, "wrong", text)
    with pytest.raises(CredentialsError, match=WRONG[text]) as raised:
        get_credentials("a.example", helped(context, tmp_path, "wrong"))
    assert SECRET not in str(raised.value)
    assert str(raised.value).isprintable()


def test_an_echo_of_a_secret_is_hidden(tmp_path: Path, context: SystemContext) -> None:
    """A program that says again what it was told to keep does not bring it into an error."""
    program(tmp_path, "echo", f"cat >/dev/null; echo cannot keep {SECRET}; exit 1")
    with pytest.raises(CredentialsError, match="it said: cannot keep …") as raised:
        set_credentials("a.example", DockerAuthConfig(username="u", password=SECRET), helped(context, tmp_path, "echo"))
    assert SECRET not in str(raised.value)


def test_a_program_that_does_not_end(tmp_path: Path, context: SystemContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that says nothing, or goes on after it has, is killed when its time is up."""
    monkeypatch.setattr(programs, "_PATIENCE_SECONDS", 0.2)
    for text in ("exec sleep 1000", "exec >&-; exec sleep 1000", "while :; do echo x; done"):
        program(tmp_path, "slow", text)
        with pytest.raises(CredentialsError, match=r"killed|went on|limit"):
            get_credentials("a.example", helped(context, tmp_path, "slow"))


def test_a_program_that_does_not_listen(tmp_path: Path, context: SystemContext) -> None:
    """A program may answer without reading, and a secret may be longer than a pipe holds."""
    program(tmp_path, "deaf", 'exec <&-; echo \'{"Username": "u", "Secret": "s"}\'')
    program(tmp_path, "keeper")
    deaf = helped(context, tmp_path, "deaf")
    one = get_credentials("a.example", deaf)
    assert one is not None
    assert one.auth == DockerAuthConfig(username="u", password="s")  # noqa: S106 - of nobody's
    set_credentials("a.example", DockerAuthConfig(username="u", password=SECRET * 50_000), deaf)
    auth = DockerAuthConfig(username="u", password=SECRET * 50_000)
    keeper = helped(context, tmp_path, "keeper")
    set_credentials("a.example", auth, keeper)
    one = get_credentials("a.example", keeper)
    assert one is not None
    assert one.auth == auth


def test_a_program_in_the_current_directory(
    tmp_path: Path, context: SystemContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program is not taken from wherever somebody happens to be."""
    program(tmp_path, "keeper")
    monkeypatch.chdir(tmp_path / "bin")
    monkeypatch.setenv("PATH", ".:bin:/usr/bin")
    with pytest.raises(CredentialsError, match="expected a program of that name on PATH, found none"):
        get_credentials("a.example", helped(context, tmp_path, "keeper"))


def test_a_host_that_ignores_its_children(tmp_path: Path, context: SystemContext) -> None:
    """Where the codes of children are lost, what they say still counts."""
    program(tmp_path, "keeper")
    sys = helped(context, tmp_path, "keeper")
    auth = DockerAuthConfig(username="u", password=SECRET)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        set_credentials("a.example", auth, sys)
        one = get_credentials("a.example", sys)
        assert one is not None
        assert one.auth == auth
        assert get_credentials("b.example", sys) is None
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_threads_share_nothing(tmp_path: Path, context: SystemContext) -> None:
    """Several threads ask programs at the same time."""
    program(tmp_path, "echoing", 'read -r server; echo "{\\"Username\\": \\"$server\\", \\"Secret\\": \\"s\\"}"')
    sys = helped(context, tmp_path, "echoing")
    found: dict[str, str] = {}

    def ask(key: str) -> None:
        one = get_credentials(key, sys)
        found[key] = one.auth.username if one else ""

    threads = [threading.Thread(target=ask, args=(f"host{number}.example",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {key: key for key in found}
    assert len(found) == 8
