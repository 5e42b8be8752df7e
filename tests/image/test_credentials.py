"""Files with credentials: which, in what order, found by which key, stored and removed; secrets stay where they are."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from registry_homes import own_home, write

from ocikit.errors import CredentialsError, InvalidReferenceError, LimitExceededError, OCIKitError
from ocikit.image import DockerAuthConfig, SystemContext
from ocikit.image.credentials import get_all_credentials, get_credentials, remove_credentials, set_credentials
from ocikit.image.credentials.document import AuthDocument, encoded, parse_auth_document
from ocikit.image.reference import parse_normalized_named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Whatever is secret in these tests has this in it.
SECRET = "hush-hush"  # noqa: S105 - of nobody's


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Give a context without credentials, of a user with a session."""
    own_home(tmp_path, monkeypatch)
    return SystemContext(system_registries_conf_path="/dev/null", system_registries_conf_dir_path="/dev/null")


def pair(user: str, password: str = SECRET) -> dict[str, str]:
    """Return an entry of a file."""
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def users(keys: dict[str, str]) -> str:
    """Return a file with a user for each key."""
    return json.dumps({"auths": {key: pair(user) for key, user in keys.items()}})


def found(key: str, sys: SystemContext) -> str | None:
    """Return the user that is found for a key."""
    one = get_credentials(key, sys)
    return None if one is None else one.auth.username


# Where


def test_order_of_files(tmp_path: Path, context: SystemContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the session, that of the configuration, Docker's, Docker's of old: the first that has something."""
    places = [
        tmp_path / "session/containers/auth.json",
        tmp_path / "home/.config/containers/auth.json",
        tmp_path / "home/.docker/config.json",
    ]
    old = write(tmp_path / "home/.dockercfg", json.dumps({"https://a.example/v1/": pair("old")}))
    for place in places[::-1]:
        assert found("a.example", context) == (
            "old" if place == places[-1] else places[places.index(place) + 1].parts[-2]
        )
        write(place, users({"a.example": place.parts[-2]}))
        one = get_credentials("a.example/x", context)
        assert one is not None
        assert one.source == str(place)
    write(places[0], json.dumps({"auths": {"a.example": {}}}))  # nothing in an entry: the next file is asked
    one = get_credentials("a.example", context)
    assert one is not None
    assert one.source == str(places[1])
    docker = write(tmp_path / "docker/config.json", users({"b.example": "moved"}))
    write(places[2], users({"b.example": "stayed"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(docker.parent))
    assert found("b.example", context) == "moved"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write(tmp_path / "config/containers/auth.json", users({"b.example": "nearer"}))
    assert found("b.example", context) == "nearer"
    for path in (*places, old):
        path.unlink()
    assert found("a.example", context) is None


def test_files_that_the_caller_names(tmp_path: Path, context: SystemContext) -> None:
    """A file that is named is the only one; two that exclude each other are refused."""
    write(tmp_path / "session/containers/auth.json", users({"a.example": "session"}))
    mine = str(write(tmp_path / "mine.json", users({"b.example": "mine"})))
    old = str(write(tmp_path / "old", json.dumps({"b.example": pair("old")})))
    for named in (evolve(context, auth_file_path=mine), evolve(context, docker_compat_auth_file_path=mine)):
        assert (found("a.example", named), found("b.example", named)) == (None, "mine")
    assert found("b.example", evolve(context, legacy_format_auth_file_path=old)) == "old"
    assert found("a.example", evolve(context, auth_file_path="/dev/null")) is None
    assert found("a.example", evolve(context, auth_file_path=str(tmp_path / "none"))) is None
    with pytest.raises(CredentialsError, match="exclude each other"):
        get_credentials("a.example", evolve(context, auth_file_path=mine, docker_compat_auth_file_path=mine))


def test_what_a_call_says_comes_first(tmp_path: Path, context: SystemContext) -> None:
    """Credentials of the call are for every registry, and nothing is read."""
    write(tmp_path / "session/containers/auth.json", "damaged")
    auth = DockerAuthConfig(username="u", password=SECRET)
    one = get_credentials("a.example", evolve(context, docker_auth_config=auth))
    assert one is not None
    assert (one.auth, one.source) == (auth, "SystemContext")


# Under which key


TREE = {"a.example/team/app": "app", "a.example/team": "team", "a.example": "registry", "a.example:5000": "port"}
FOUND = {
    "a.example/team/app": "app",
    "a.example/team/other": "team",
    "a.example/team/app/x": "app",
    "a.example/teams": "registry",
    "a.example": "registry",
    "a.example:5000/team/app": "port",
    "b.a.example": None,
    "example": None,
}


@pytest.mark.parametrize("key", FOUND)
def test_the_most_specific_key_counts(key: str, tmp_path: Path, context: SystemContext) -> None:
    """An entry for a repository comes before those for what it lies in; a port is another registry."""
    write(tmp_path / "session/containers/auth.json", users(TREE))
    assert found(key, context) == FOUND[key]


@pytest.mark.parametrize("asked", ["docker.io", "index.docker.io", "registry-1.docker.io", "docker.io/library/busybox"])
@pytest.mark.parametrize(
    "written", ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "http://registry-1.docker.io"]
)
def test_docker_hub_is_one(asked: str, written: str, tmp_path: Path, context: SystemContext) -> None:
    """Docker Hub is found by each of its names, under each of its names."""
    write(tmp_path / "home/.docker/config.json", users({written: "hub", "https://docker.example": "other"}))
    assert found(asked, context) == "hub"


def test_urls_as_keys(tmp_path: Path, context: SystemContext) -> None:
    """Docker kept URLs once: scheme and path do not count, unless there is the key itself."""
    write(
        tmp_path / "home/.docker/config.json",
        users({"https://a.example/v1/": "url", "http://b.example": "url", "b.example": "host", "c.example/v1": "ns"}),
    )
    assert [found(key, context) for key in ("a.example", "b.example", "c.example")] == ["url", "host", None]


def test_an_image_is_a_key(tmp_path: Path, context: SystemContext) -> None:
    """Of an image its repository counts, tag and digest do not."""
    write(tmp_path / "session/containers/auth.json", users({"docker.io/library/busybox": "box"}))
    one = get_credentials(parse_normalized_named("busybox:1"), context)
    assert one is not None
    assert (one.auth.username, one.auth.password, one.key) == ("box", SECRET, "docker.io/library/busybox")


@pytest.mark.parametrize(
    "key",
    ["https://a.example", "a.example/x:1", "a.example/x@sha256:1", "", "a b", "a.example/", "a\n", "/x", "a" * 999],
)
def test_what_is_no_key(key: str, context: SystemContext) -> None:
    """A URL, an image with tag or digest and whatever is no registry are refused."""
    for call in (get_credentials, remove_credentials):
        with pytest.raises(InvalidReferenceError, match="expected host"):
            call(key, context)
    with pytest.raises(InvalidReferenceError, match="expected host"):
        set_credentials(key, DockerAuthConfig(username="u", password=SECRET), context)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": base64.b64encode(b"u:p:q").decode()}, ("u", "p:q", "")),
        ({"auth": base64.b64encode(b"u:p\0\0").decode()}, ("u", "p", "")),
        ({"auth": base64.b64encode(b"u:").decode() + "\n"}, ("u", "", "")),
        ({**pair("u"), "identitytoken": "t"}, ("u", SECRET, "t")),
        ({"identitytoken": "t"}, ("", "", "t")),
        ({**pair("u"), "email": 1}, ("u", SECRET, "")),
        ({"auth": base64.b64encode(b"nothing").decode()}, None),
        ({"auth": None}, None),
        (None, None),
        ({}, None),
    ],
)
def test_entries(entry: object, expected: tuple[str, str, str] | None, tmp_path: Path, context: SystemContext) -> None:
    """An entry is user:password in base64, perhaps a token; one with nothing in it is nothing."""
    write(tmp_path / "session/containers/auth.json", json.dumps({"auths": {"a.example": entry}}))
    one = get_credentials("a.example", context)
    assert (one and (one.auth.username, one.auth.password, one.auth.identity_token)) == expected


def test_all_credentials(tmp_path: Path, context: SystemContext) -> None:
    """All that is stored is listed, each once, as it would be found."""
    write(tmp_path / "session/containers/auth.json", users({"a.example/team": "team", "b.example": "session"}))
    write(
        tmp_path / "home/.docker/config.json",
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": pair("hub"),
                    "b.example": pair("docker"),
                    "c.example": {},
                    "no key": pair("none"),
                }
            }
        ),
    )
    assert {key: one.auth.username for key, one in get_all_credentials(context).items()} == {
        "a.example/team": "team",
        "b.example": "session",
        "docker.io": "hub",
    }


# Damaged files


DAMAGED = {
    "{": "not JSON",
    "[]": "expected an object",
    '{"auths": 1}': r"\$.auths: expected an object",
    '{"auths": {"a.example": 1}}': r'\$.auths\["a.example"\]: expected an object',
    '{"auths": {"a.example": {"auth": 1}}}': r'\$.auths\["a.example"\].auth: expected a string',
    f'{{"auths": {{"a.example": {{"auth": "{SECRET}"}}}}}}': "base64",
    '{"auths": {"a.example": {"auth": "/zr/"}}}': "UTF-8",
    f'{{"auths": {{"a.example": {{"auth": "", "identitytoken": ["{SECRET}"]}}}}}}': "expected a string",
    f'{{"auths": {{}}, "auths": {{"a.example": {{"auth": "{SECRET}"}}}}}}': "more than once",
    '{"credHelpers": {"a.example": "../x"}}': "docker-credential-X",
    '{"credHelpers": {"a.example": 1}}': "docker-credential-X",
    '{"credHelpers": []}': "expected an object",
    "[" * 100_000: "limit",
    "\ufeff{}": "byte order mark",
}


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files(text: str, tmp_path: Path, context: SystemContext) -> None:
    """What is malformed is an error with its file and place, and without the secrets in it; nothing is overwritten."""
    path = write(tmp_path / "session/containers/auth.json", text)
    with pytest.raises(CredentialsError, match=DAMAGED[text]) as raised:
        get_credentials("a.example", context)
    assert str(path) in str(raised.value)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    with contextlib.suppress(CredentialsError):
        set_credentials("a.example", DockerAuthConfig(username="u", password=SECRET), context)
        assert text.startswith('{"auths": {"a.example"')  # only that entry was wrong, and it is replaced
        return
    assert path.read_text() == text


def test_files_that_are_unreasonable(tmp_path: Path, context: SystemContext) -> None:
    """A pipe is not waited for, a device without end is not read to it; neither is replaced by a file."""
    path = tmp_path / "auth.json"
    named = evolve(context, auth_file_path=str(path))
    auth = DockerAuthConfig(username="u", password=SECRET)
    os.mkfifo(path)
    for call in (lambda: get_credentials("a.example", named), lambda: set_credentials("a.example", auth, named)):
        with pytest.raises(CredentialsError, match="no file"):
            call()
    path.unlink()
    path.mkdir()
    with pytest.raises(CredentialsError, match="no file"):
        set_credentials("a.example", auth, named)
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(CredentialsError, match="limit 1,048,576"):
        get_credentials("a.example", named)
    path.unlink()
    path.write_text(" " * (2 << 20))
    with pytest.raises(CredentialsError, match="limit 1,048,576"):
        set_credentials("a.example", auth, named)
    with pytest.raises(CredentialsError, match="no file"):
        set_credentials("a.example", auth, evolve(context, auth_file_path=str(device_at(tmp_path))))


def device_at(directory: Path) -> Path:
    """Make another /dev/null."""
    path = directory / "null"
    os.mknod(path, 0o020666, os.makedev(1, 3))
    return path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a.example", "dTpw", "x", "é"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["auths", "credHelpers", "credsStore", "a.example", "auth", "identitytoken"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=60) | JSON.map(json.dumps).map(str.encode), st.booleans())
@example(b'{"auths": {"a.example": {"auth": "dTpw"}}}', False)
def test_any_bytes_are_read_or_refused(data: bytes, is_legacy: bool) -> None:  # noqa: FBT001
    """Nothing but the errors that are documented comes of a file, whatever is in it."""
    with contextlib.suppress(OCIKitError):
        document = parse_auth_document(data, "x.json", is_legacy=is_legacy)
        for look in (document.find, document.program):
            with contextlib.suppress(OCIKitError):
                look("a.example")
        assert all(isinstance(key, str) for key in document.keys)
        assert document.store is None or isinstance(document.store, str)


# Stored


@given(st.text(max_size=20), st.text(max_size=20), st.text("ab", max_size=2))
def test_what_is_stored_is_found(user: str, password: str, token: str) -> None:
    """Every user and password that can be stored is found again, and the others are refused."""
    auth = DockerAuthConfig(username=user, password=password, identity_token=token)
    try:
        entry = encoded(auth)
    except CredentialsError:
        assert ":" in user or "\0" in user + password
        return
    data = json.dumps(AuthDocument(source="x").with_entry("a.example", entry)).encode()
    found = parse_auth_document(data, "x").find("a.example/b")
    assert found == (auth, "a.example")


def test_storing(tmp_path: Path, context: SystemContext) -> None:
    """Stored in the file of the session, for its user alone; the rest of the file stays."""
    path = tmp_path / "session/containers/auth.json"
    auth = DockerAuthConfig(username="u", password=SECRET)
    assert set_credentials("a.example/team", auth, context) == str(path)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert json.loads(path.read_text()) == {"auths": {"a.example/team": pair("u")}}
    more: dict[str, dict[str, object]] = {
        "auths": {"b.example": {"auth": "eDp5", "more": 1}},
        "HttpHeaders": {"A": "b"},
        "credHelpers": {},
    }
    write(path, json.dumps(more)).chmod(0o644)
    set_credentials("a.example", evolve(auth, identity_token=SECRET), context)
    assert json.loads(path.read_text()) == {
        **more,
        "auths": {**more["auths"], "a.example": {**pair("u"), "identitytoken": SECRET}},
    }
    assert path.stat().st_mode & 0o7777 == 0o600
    one = get_credentials("a.example/x", context)
    assert one is not None
    assert one.auth == evolve(auth, identity_token=SECRET)
    assert remove_credentials("a.example", context) == (str(path),)
    assert json.loads(path.read_text()) == more
    assert remove_credentials("a.example", context) == ()
    assert [one.name for one in path.parent.iterdir()] == ["auth.json"]


def test_an_empty_file(tmp_path: Path, context: SystemContext) -> None:
    """A file that somebody made to be written, with nothing in it yet, has no credentials and takes some."""
    path = write(tmp_path / "auth.json", "")
    named = evolve(context, auth_file_path=str(path))
    assert get_credentials("a.example", named) is None
    set_credentials("a.example", DockerAuthConfig(username="u", password=SECRET), named)
    assert json.loads(path.read_text()) == {"auths": {"a.example": pair("u")}}


def test_removing_where_nothing_is(tmp_path: Path, context: SystemContext) -> None:
    """Removing what is not there makes nothing."""
    assert remove_credentials("a.example", evolve(context, auth_file_path=str(tmp_path / "x/auth.json"))) == ()
    assert not (tmp_path / "x").exists()


def test_storing_for_docker(tmp_path: Path, context: SystemContext) -> None:
    """A file that Docker reads gets whole registries only, and Docker Hub under the key that Docker looks for."""
    path = write(tmp_path / "config.json", '{"psFormat": "x"}')
    named = evolve(context, docker_compat_auth_file_path=str(path))
    auth = DockerAuthConfig(username="u", password=SECRET)
    set_credentials("docker.io", auth, named)
    assert json.loads(path.read_text()) == {"psFormat": "x", "auths": {"https://index.docker.io/v1/": pair("u")}}
    with pytest.raises(CredentialsError, match="whole registries only"):
        set_credentials("a.example/x", auth, named)
    assert found("docker.io/library/x", named) == "u"
    assert remove_credentials("docker.io", named) == (str(path),)
    assert json.loads(path.read_text()) == {"psFormat": "x", "auths": {}}


def test_what_cannot_be_stored(tmp_path: Path, context: SystemContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """No user, one that could not be read back, a file that is only read, a link, a session that is not there."""
    good = DockerAuthConfig(username="u", password=SECRET)
    bad = [DockerAuthConfig(), DockerAuthConfig(password=SECRET), evolve(good, username="a:b")]
    bad += [evolve(good, password=f"{SECRET}\0"), evolve(good, username="\ud800")]
    for auth in bad:
        with pytest.raises(CredentialsError) as raised:
            set_credentials("a.example", auth, context)
        assert SECRET not in str(raised.value)
    with pytest.raises(CredentialsError, match="only read"):
        set_credentials("a.example", good, evolve(context, legacy_format_auth_file_path=str(tmp_path / "x")))
    target = write(tmp_path / "target", "{}")
    (tmp_path / "link").symlink_to(target)
    for call in (lambda sys: set_credentials("a.example", good, sys), lambda sys: remove_credentials("a.example", sys)):
        with pytest.raises(CredentialsError, match="symbolic link"):
            call(evolve(context, auth_file_path=str(tmp_path / "link")))
    assert target.read_text() == "{}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    with pytest.raises(CredentialsError, match="XDG_RUNTIME_DIR"):
        set_credentials("a.example", good, context)
    assert get_credentials("a.example", context) is None


WRITER = f"""
import sys
from ocikit.image import SystemContext, DockerAuthConfig
from ocikit.image.credentials import set_credentials
context = SystemContext(auth_file_path=sys.argv[1], system_registries_conf_path="/dev/null")
auth = DockerAuthConfig(username="u", password="{SECRET}" * 10_000)
for number in range(int(sys.argv[3])):
    set_credentials(f"{{sys.argv[2]}}{{number}}.example", auth, context)
    print(number, flush=True)
"""


def test_several_store_at_the_same_time(tmp_path: Path, context: SystemContext) -> None:
    """Processes that store credentials at the same time lose none of them."""
    path = tmp_path / "auth.json"
    command = [sys.executable, "-c", WRITER.replace("* 10_000", ""), str(path)]
    children = [subprocess.Popen([*command, name, "10"], stdout=subprocess.DEVNULL) for name in "abc"]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(get_all_credentials(evolve(context, auth_file_path=str(path)))) == 30


def test_killed_while_storing(tmp_path: Path, context: SystemContext) -> None:
    """Whoever is killed while storing leaves a whole file, and nothing with secrets that the next would not remove."""
    path = tmp_path / "auth.json"
    named = evolve(context, auth_file_path=str(path))
    for kill in range(5):
        path.write_text("{}")
        command = [sys.executable, "-c", WRITER.replace("10_000", "2000"), str(path), "x", "1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.003 * kill)  # at another moment each time
            child.send_signal(signal.SIGKILL)
        assert get_all_credentials(named)
        set_credentials("after.example", DockerAuthConfig(username="u", password=SECRET), named)
        assert [one.name for one in tmp_path.glob("*auth*")] == ["auth.json"]


# Secrets


def test_secrets_stay_where_they_are(
    tmp_path: Path, context: SystemContext, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No repr, no log and no error has a secret, whatever is done with it."""
    caplog.set_level(logging.DEBUG)
    auth = DockerAuthConfig(username="u", password=SECRET, identity_token=SECRET)
    named = evolve(context, docker_auth_config=auth, docker_bearer_registry_token=SECRET)
    told = [auth, named, [auth], {"a": named}]
    set_credentials("a.example", auth, context)
    told += [get_credentials("a.example", context), get_credentials("a.example", named), get_all_credentials(context)]
    path = tmp_path / "session/containers/auth.json"
    told.append(parse_auth_document(path.read_bytes(), "x"))
    path.chmod(0o400)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    write(path, json.dumps({"auths": {"a.example": pair("u")}, "credHelpers": {"a.example": "nobody"}}))
    calls: list[Callable[[], object]] = [
        lambda: get_credentials("a.example", context),
        lambda: set_credentials("a.example", auth, context),
        lambda: remove_credentials("a.example", context),
        lambda: set_credentials("a.example/x", auth, evolve(context, docker_compat_auth_file_path=str(path))),
    ]
    for call in calls:
        with pytest.raises(CredentialsError) as raised:
            call()
        told += [*traceback.format_exception(raised.value), repr(raised.value.args)]
    text = "".join(f"{one!r}{one!s}" for one in told) + caplog.text
    assert SECRET not in text
    assert pair("u")["auth"] not in text
    assert "username='u'" in text
    assert pickle.loads(pickle.dumps(auth)) == auth  # noqa: S301 - our own bytes
    assert repr(DockerAuthConfig()) == "DockerAuthConfig(username='', password='', identity_token='')"


def test_too_large(tmp_path: Path, context: SystemContext) -> None:
    """A file may not grow beyond what is read."""
    named = evolve(context, auth_file_path=str(tmp_path / "auth.json"))
    auth = DockerAuthConfig(username="u", password="p" * (2 << 20))
    with pytest.raises((CredentialsError, LimitExceededError), match="limit"):
        set_credentials("a.example", auth, named)
    assert not (tmp_path / "auth.json").exists()
