"""Lookaside stores: read and written as skopeo does, within bounds, by no link, and whole at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, digest_of, skopeo_digest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_signatures import openpgp
from registries import running_registry
from test_layout_crash import at_every_step

from ocikit.errors import LayoutError, LimitExceededError, NotSupportedError, TransportError
from ocikit.image import SystemContext
from ocikit.image.lookaside import delete_signatures, read_signatures, write_signatures
from ocikit.image.lookaside.files import delete_files, read_files, write_files
from ocikit.image.lookaside.stores import Store as LookasideStore
from ocikit.image.reference import parse_normalized_named
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIGEST = Digest(digest_of(b"manifest"))
NAMED = parse_normalized_named("example.com/team/app:1")
WHERE = f"team/app@sha256={DIGEST.hex}"
WRITE = """
import sys
from ocikit.image.lookaside.files import write_files
write_files(sys.argv[2].encode(), ("app@x",), tuple(bytes.fromhex(one) for one in sys.argv[3:]))
"""


def at(place: Path, lookaside: str, *more: str) -> SystemContext:
    """Return what configures a store."""
    (place / "registries.d").mkdir(exist_ok=True)
    lines = "".join(f"  {line}\n" for line in (f"lookaside: {lookaside}", *more))
    (place / "registries.d" / "a.yaml").write_text(f"default-docker:\n{lines}")
    return SystemContext(registries_dir_path=str(place / "registries.d"))


# ---------------------------------------------------------------------------------------------------------- directories


def test_written_and_read(tmp_path: Path) -> None:
    """One file each, counted from 1, below the repository and the digest; what is left out goes, and all of it."""
    sys = at(tmp_path, f"file://{tmp_path}/st%6Fre/", f"lookaside-staging: file://{tmp_path}/staging")
    assert read_signatures(NAMED, DIGEST, sys) == ()
    assert not delete_signatures(NAMED, DIGEST, sys)
    write_signatures(NAMED, DIGEST, [b"one", b"two", b"one"], sys)
    assert read_signatures(NAMED, DIGEST, sys) == ()
    os.rename(tmp_path / "staging", tmp_path / "store")
    assert {path.name: path.read_bytes() for path in (tmp_path / "store" / WHERE).iterdir()} == {
        "signature-1": b"one",
        "signature-2": b"two",
    }
    assert read_signatures(NAMED, DIGEST, sys) == (b"one", b"two")
    sys = at(tmp_path, f"file://localhost{tmp_path}/store")
    write_signatures(NAMED, DIGEST, [b"three", b"two"], sys)
    assert read_signatures(NAMED, DIGEST, sys) == (b"three", b"two")
    write_signatures(NAMED, DIGEST, [], sys)
    assert not (tmp_path / "store" / WHERE).exists()
    write_signatures(NAMED, DIGEST, [b"x"], sys)
    assert delete_signatures(NAMED, DIGEST, sys)
    assert [*(tmp_path / "store" / "team").iterdir()] == []


def test_other_files_stay(tmp_path: Path) -> None:
    """What is no signature is nobody's business; a signature behind a gap does not come back to life."""
    sys = at(tmp_path, f"file://{tmp_path}/store")
    write_signatures(NAMED, DIGEST, [b"one"], sys)
    directory = tmp_path / "store" / WHERE
    for name in ("README", "signature-3", "signature-03", ".ocikit-tmp-0"):
        (directory / name).write_bytes(b"revoked")
    assert read_signatures(NAMED, DIGEST, sys) == (b"one",)
    write_signatures(NAMED, DIGEST, [b"one", b"two"], sys)
    assert read_signatures(NAMED, DIGEST, sys) == (b"one", b"two")
    assert sorted(path.name for path in directory.iterdir()) == ["README", "signature-03", "signature-1", "signature-2"]
    assert delete_signatures(NAMED, DIGEST, sys)
    assert sorted(path.name for path in directory.iterdir()) == ["README", "signature-03"]


BLOBS = [bytes([number]) for number in range(5)]


@settings(max_examples=40, deadline=None)
@given(before=st.permutations(BLOBS), count=st.integers(0, 5), wanted=st.lists(st.sampled_from(BLOBS), unique=True))
def test_any_set_after_any_other(before: list[bytes], count: int, wanted: list[bytes]) -> None:
    """Whatever was there, what is wanted is there afterwards, each once."""
    with tempfile.TemporaryDirectory() as scratch:
        store, old = scratch.encode(), tuple(before[:count])
        if old:
            write_files(store, ("a", "b"), old)
        assert read_files(store, ("a", "b")) == old
        write_files(store, ("a", "b"), tuple(wanted))
        found = read_files(store, ("a", "b"))
        assert (set(found), len(found)) == (set(wanted), len(wanted))
        assert delete_files(store, ("a", "b")) is bool(wanted)


def test_killed_at_every_step(tmp_path: Path) -> None:
    """Whoever is killed leaves every signature that was there and stays, and no half of one."""
    old, new = [b"a", b"b", b"c", b"d"], [b"c", b"d", b"e"]

    def start(place: Path) -> None:
        write_files(bytes(place / "store"), ("app@x",), tuple(old))

    def check(place: Path) -> None:
        found = read_files(bytes(place / "store"), ("app@x",))
        assert {b"c", b"d"} <= set(found) <= {*old, *new}
        write_files(bytes(place / "store"), ("app@x",), tuple(new))
        assert set(read_files(bytes(place / "store"), ("app@x",))) == set(new)
        assert len([*(place / "store" / "app@x").iterdir()]) == len(new)

    def command(place: Path) -> list[str]:
        return [WRITE, str(place / "store"), *(one.hex() for one in new)]

    assert at_every_step(tmp_path, start, command, check) >= 4


def test_several_at_once(tmp_path: Path) -> None:
    """Writers wait for each other; at the end one of them was last, and all that it wrote is there."""
    store = bytes(tmp_path)
    sets = [tuple(f"{number} {one}".encode() for one in range(number + 1)) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            pool.submit(write_files, store, ("a",), sets[number % 6])
            if number % 7 == 0:
                pool.submit(delete_files, store, ("a",))
    write_files(store, ("a",), sets[2])
    assert set(read_files(store, ("a",))) == set(sets[2])


@pytest.mark.parametrize("where", ["team", WHERE, f"{WHERE}/signature-1"])
def test_links_are_not_followed(tmp_path: Path, where: str) -> None:
    """A link below the store is refused wherever it is: what it leads to is neither read nor written."""
    sys = at(tmp_path, f"file://{tmp_path}/link")
    (tmp_path / "store" / where).parent.mkdir(parents=True)
    (tmp_path / "link").symlink_to("store")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_bytes(b"secret")
    (tmp_path / "store" / where).symlink_to(elsewhere / "secret" if where.endswith("-1") else elsewhere)
    with pytest.raises(LayoutError, match="found a link"):
        read_signatures(NAMED, DIGEST, sys)
    with pytest.raises(LayoutError, match="found a link"):
        write_signatures(NAMED, DIGEST, [b"x"], sys)
    assert [path.name for path in elsewhere.iterdir()] == ["secret"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A named pipe in place of a signature makes nobody wait."""
    sys = at(tmp_path, f"file://{tmp_path}")
    (tmp_path / WHERE).mkdir(parents=True)
    os.mkfifo(tmp_path / WHERE / "signature-1")
    with pytest.raises(LayoutError, match="expected a regular file"):
        read_signatures(NAMED, DIGEST, sys)


def test_bounds(tmp_path: Path) -> None:
    """128 are read and written; not one more, and none larger than 4 MiB."""
    sys = at(tmp_path, f"file://{tmp_path}")
    many = [str(number).encode() for number in range(129)]
    write_signatures(NAMED, DIGEST, many[:128], sys)
    assert read_signatures(NAMED, DIGEST, sys) == tuple(many[:128])
    with pytest.raises(LimitExceededError, match="limit 128, found 129"):
        write_signatures(NAMED, DIGEST, many, sys)
    (tmp_path / WHERE / "signature-129").write_bytes(b"x")
    with pytest.raises(LimitExceededError, match="limit 128"):
        read_signatures(NAMED, DIGEST, sys)
    with pytest.raises(LimitExceededError, match="bytes of a signature"):
        write_signatures(NAMED, DIGEST, [bytes((4 << 20) + 1)], sys)
    (tmp_path / WHERE / "signature-1").write_bytes(bytes((4 << 20) + 1))
    with pytest.raises(LimitExceededError, match="signature-1"):
        read_signatures(NAMED, DIGEST, sys)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("http://user:secret@[", LayoutError, "a URL that is none"),
        ("/var/lib", NotSupportedError, "expected a URL of the kind file, http or https"),
        ("ftp://user:secret@host/x", NotSupportedError, "ftp://host/x"),
        ("file://host/x", LayoutError, "three slashes"),
        ("file:///a/%2e%2e/b", LayoutError, "absolute path without"),
        ("file:///a/%00", LayoutError, "absolute path without"),
        ("file:", LayoutError, "absolute path without"),
        ("http:///x", LayoutError, "expected a host"),
        ("http://user:secret@host/?x", LayoutError, "without . and #"),
        ("http://host/\N{SNOWMAN}", LayoutError, "odd characters"),
        ("http://host:99999/", LayoutError, "a URL that is none"),
    ],
)
def test_urls_that_are_none(url: str, error: type[Exception], message: str) -> None:
    """What leads nowhere is refused, and passwords are not repeated."""
    with pytest.raises(error, match=message) as raised:
        LookasideStore.parse(url)
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(LookasideStore.parse("http://user:secret@host/x"))


# ----------------------------------------------------------------------------------------------------------------- HTTP


class _Handler(BaseHTTPRequestHandler):
    answers: dict[str, Any]
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        """Answer with a body, a status and headers, or whatever a test wants."""
        self.seen.append((self.path, self.headers.get("Authorization")))
        answer = self.answers.get(self.path, (404, {}, b""))
        if callable(answer):
            answer(self)
            return
        status, headers, body = answer
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[tuple[str, type[_Handler]]]:
    """Serve what a test puts into ``answers``; give the address."""

    class Handler(_Handler):
        answers: dict[str, Any] = {}  # noqa: RUF012 - of this test
        seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - likewise

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetched(web: tuple[str, type[_Handler]], tmp_path: Path) -> None:
    """Files up to the first that is not there, by the credentials of the URL; redirections within HTTP are followed."""
    address, handler = web
    handler.answers |= {
        f"/s/{WHERE}/signature-1": (200, {}, b"one"),
        f"/s/{WHERE}/signature-2": (302, {"Location": "/two"}, b"moved"),
        "/two": (200, {}, b"two"),
        f"/s/{WHERE}/signature-4": (200, {}, b"four"),
    }
    sys = at(tmp_path, f"http://user:pass%3Aword@{address}/s/")
    assert read_signatures(NAMED, DIGEST, sys) == (b"one", b"two")
    assert handler.seen == [
        (path, "Basic dXNlcjpwYXNzOndvcmQ=")
        for path in (f"/s/{WHERE}/signature-1", f"/s/{WHERE}/signature-2", "/two", f"/s/{WHERE}/signature-3")
    ]
    for attempt in (
        lambda: write_signatures(NAMED, DIGEST, [b"x"], sys),
        lambda: delete_signatures(NAMED, DIGEST, sys),
    ):
        with pytest.raises(NotSupportedError, match="lookaside-staging") as raised:
            attempt()
        assert "pass" not in str(raised.value)


def test_nobody_else_gets_the_password(web: tuple[str, type[_Handler]], tmp_path: Path) -> None:
    """Who is redirected to another host goes there without the password."""
    address, handler = web
    elsewhere = address.replace("127.0.0.1", "localhost")
    handler.answers |= {
        f"/{WHERE}/signature-1": (307, {"Location": f"http://{elsewhere}/there"}, b""),
        "/there": (200, {}, b"one"),
    }
    assert read_signatures(NAMED, DIGEST, at(tmp_path, f"http://u:p@{address}")) == (b"one",)
    assert [authorization for path, authorization in handler.seen if path == "/there"] == [None]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((500, {}, b""), TransportError, "expected the status 200 or 404, found 500"),
        ((403, {}, b""), TransportError, "found 403"),
        ((302, {"Location": "file:///etc/passwd"}, b""), TransportError, "redirected to 'file:"),
        ((302, {}, b""), TransportError, "redirected to ''"),
        ((302, {"Location": f"/{WHERE}/signature-1"}, b""), TransportError, "more than 5 redirections"),
        ((302, {"Location": "http://["}, b""), TransportError, "which is not followed"),
        ((200, {}, bytes((4 << 20) + 1)), LimitExceededError, "limit 4,194,304"),
        ((200, {"Content-Length": "70"}, b"short"), TransportError, "cannot be fetched"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), TransportError, "cannot be fetched"),
        (lambda handler: handler.connection.close(), TransportError, "cannot be fetched"),
    ],
)
def test_servers_that_misbehave(
    web: tuple[str, type[_Handler]], tmp_path: Path, answer: Any, error: type[Exception], message: str
) -> None:
    """Whatever a server says, it is a signature, none, or an error that names the URL."""
    address, handler = web
    handler.answers[f"/{WHERE}/signature-1"] = answer
    with pytest.raises(error, match=message) as raised:
        read_signatures(NAMED, DIGEST, at(tmp_path, f"http://u:secret@{address}"))
    assert f"http://{address}/{WHERE}/signature-1" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_server_that_never_ends(web: tuple[str, type[_Handler]], tmp_path: Path) -> None:
    """A server that has every signature is not asked for ever; one that is not there is an error."""
    address, handler = web
    handler.answers |= {f"/{WHERE}/signature-{number}": (200, {}, b"x") for number in range(1, 200)}
    with pytest.raises(LimitExceededError, match="limit 128"):
        read_signatures(NAMED, DIGEST, at(tmp_path, f"http://{address}"))
    assert len(handler.seen) == 129
    with pytest.raises(TransportError, match="cannot be fetched"):
        read_signatures(NAMED, DIGEST, at(tmp_path, "http://127.0.0.1:1"))


# ------------------------------------------------------------------------------------------------------------- the peer


@pytest.fixture
def gnupg() -> Iterator[tuple[dict[str, str], str, bytes]]:
    """Make a key; give the environment to use it in, its fingerprint, and what verifies it."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as home:
        environment = {**os.environ, "GNUPGHOME": home}

        def gpg(*arguments: str) -> bytes:
            command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *arguments]
            return subprocess.run(command, check=True, capture_output=True, env=environment).stdout

        gpg("--quick-generate-key", "test@example.com", "ed25519", "sign", "never")
        listed = gpg("--list-keys", "--with-colons").decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))
        try:
            yield environment, fingerprint, gpg("--export", fingerprint)
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], check=False, env=environment)


def test_as_skopeo_keeps_them(
    gnupg: tuple[dict[str, str], str, bytes], peer: Callable[[str], str], tmp_path: Path
) -> None:
    """What skopeo signs is read here, byte for byte; what is written here satisfies skopeo under a policy."""
    environment, fingerprint, key = gnupg
    store = Store()
    directory = store.directory(tmp_path / "in", store.image(platform=False))
    (tmp_path / "key.gpg").write_bytes(key)
    signed = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(tmp_path / "key.gpg")}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {"": [signed]}}}))
    context = at(tmp_path, f"file://{tmp_path}/store")
    skopeo = [peer("skopeo"), "--registries.d", str(tmp_path / "registries.d")]

    def pulled(name: str) -> int:
        arguments = ["--policy", str(policy), "copy", "-q", "--src-tls-verify=false", name, f"dir:{tmp_path}/out"]
        return subprocess.run([*skopeo, *arguments], check=False, capture_output=True, env=environment).returncode

    with running_registry(peer("docker-registry"), tmp_path) as address:
        name = f"docker://{address}/team/app:1"
        push = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "--sign-by", fingerprint]
        subprocess.run([*skopeo, *push, f"dir:{directory}", name], check=True, env=environment)
        named = parse_normalized_named(f"{address}/team/app:1")
        digest = Digest(skopeo_digest(f"dir:{directory}"))
        (theirs,) = read_signatures(named, digest, context)
        (file,) = (tmp_path / "store" / f"team/app@sha256={digest.hex}").iterdir()
        assert (file.name, file.read_bytes()) == ("signature-1", theirs)
        assert pulled(name) == 0
        assert delete_signatures(named, digest, context)
        assert pulled(name) != 0
        write_signatures(named, digest, [openpgp(), theirs], context)
        assert pulled(name) == 0
        assert (tmp_path / "out" / "signature-2").read_bytes() == theirs
        # What skopeo writes next to what was written here is all there again.
        subprocess.run([*skopeo, *push, f"dir:{tmp_path}/out", name], check=True, env=environment)
        assert len(read_signatures(named, digest, context)) == 3


def test_imports_no_yaml() -> None:
    """Without files to read neither YAML nor HTTP is loaded."""
    script = (
        "import sys; from ocikit.image import SystemContext; from ocikit.image.lookaside import read_signatures; "
        "from ocikit.image.reference import parse_normalized_named as n; from ocikit.spec import Digest; "
        "read_signatures(n('example.com/nobody/nothing'), Digest('sha256:' + '0' * 64), "
        "SystemContext(registries_dir_path='/nowhere', root_for_implicit_absolute_paths='/nowhere')); "
        "print({'yaml', 'urllib3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
