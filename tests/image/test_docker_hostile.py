"""Registries that want what is meant for another, or that never come to an end; and users who will not wait."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import signal
import subprocess
import sys as python
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from docker_images import an_image, context, push
from raw_servers import Asked, RawServer, answer

from ocikit.errors import CredentialsError, LimitExceededError, OCIKitError, RegistryError
from ocikit.image import BlobInfo, DockerAuthConfig, SystemContext, docker, parse_image_name
from ocikit.image.context import RetryPolicy
from ocikit.image.docker.addresses import origin_of, resolve_address, shown
from ocikit.spec import Digest
from ocikit.testing import TLS, Answer, BearerAuth, Delay, Fault, Hang, Registry
from ocikit.testing.certificates import MadeFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "S3cretPassw0rd"  # noqa: S105 - of registries that end with the test
USER = DockerAuthConfig(username="alice", password=SECRET)
TAGS = answer(200, b'{"tags": ["a"]}')
#: What a call may take that is bounded by half a second, on a machine that has much else to do.
SOON = 60.0


@pytest.fixture(scope="module")
def files() -> Iterator[MadeFiles]:
    """Certificates for servers, and one to be shown to them."""
    made = MadeFiles(TLS(client_certificate=True))
    yield made
    made.remove()
    docker.close_connections()


def circumstances(place: Path, files: MadeFiles | None = None, **more: Any) -> SystemContext:
    """Return circumstances in which nobody is waited for."""
    options: dict[str, Any] = {"docker_auth_config": USER, "docker_timeout": 0.5}
    options |= {"docker_retry": RetryPolicy(attempts=2, delay=0.001, longest_delay=0.1)}
    if files is not None:
        options["docker_cert_path"] = files.directory
    return context(place, **options | more)


def registry_that(says: Callable[[Asked], bytes | Iterator[bytes]]) -> Callable[[Asked], bytes | Iterator[bytes]]:
    """Return what is there, and says this to everything that it is asked."""
    return lambda asked: answer(200, b"{}") if asked.target == "/v2/" else says(asked)


def with_password(says: Callable[[Asked], bytes]) -> Callable[[Asked], bytes]:
    """Ask for a password first."""
    return lambda asked: (
        says(asked) if "authorization" in asked.headers else answer(401, WWW_Authenticate='Basic realm="x"')
    )


# Who gets what is meant for another


def test_nobody_else_asks_for_credentials(tmp_path: Path, files: MadeFiles) -> None:
    """A redirect leads to somebody who wants a token from a server of their own: the registry has asked for none."""
    evil: RawServer
    with (
        RawServer(lambda _: answer(401, WWW_Authenticate=f'Bearer realm="https://{evil.host}/token"'), files) as evil,
        RawServer(registry_that(lambda _: answer(307, Location=f"https://{evil.host}/x")), files) as registry,
        pytest.raises(RegistryError, match="answers 401"),
    ):
        docker.list_tags(f"{registry.host}/app", circumstances(tmp_path / "conf", files))
    assert [one.target for one in evil.asked] == ["/x"]
    assert evil.shown("authorization") == []


def test_a_refresh_token_goes_to_whom_it_is_for(tmp_path: Path, files: MadeFiles) -> None:
    """It is in a body, which would go along with a redirect."""
    token = DockerAuthConfig(identity_token="REFRESH")  # noqa: S106
    with (
        RawServer(lambda _: answer(200, b'{"access_token": "t"}'), files) as evil,
        RawServer(lambda _: answer(307, Location=f"https://{evil.host}/token"), files) as tokens,
        RawServer(lambda _: answer(401, WWW_Authenticate=f'Bearer realm="https://{tokens.host}/"'), files) as registry,
        pytest.raises(RegistryError, match="another server"),
    ):
        docker.list_tags(f"{registry.host}/app", circumstances(tmp_path / "conf", files, docker_auth_config=token))
    assert [b"REFRESH" in one.body for one in tokens.asked] == [True]
    assert evil.asked == []


@pytest.mark.parametrize("form", ["https://{evil}\\@{registry}/x", "//{evil}\\@{registry}/x", "https://u@{evil}/x"])
def test_addresses_that_may_be_read_in_two_ways(tmp_path: Path, files: MadeFiles, form: str) -> None:
    """What reads them for the check and what connects to them may not agree."""
    registry: RawServer
    with (
        RawServer(lambda _: TAGS, files) as evil,
        RawServer(
            with_password(lambda _: answer(307, Location=form.format(evil=evil.host, registry=registry.host))), files
        ) as registry,
        pytest.raises(RegistryError, match=r"characters in it that are in no address|user in it"),
    ):
        docker.list_tags(f"{registry.host}/app", circumstances(tmp_path / "conf", files))
    assert evil.asked == []


def test_a_certificate_is_shown_to_the_registry_alone(tmp_path: Path, files: MadeFiles) -> None:
    """Where the registry sends one to does not learn who one is."""
    with (
        RawServer(lambda _: TAGS, files) as other,
        RawServer(registry_that(lambda _: answer(307, Location=f"https://{other.host}/x")), files) as registry,
    ):
        assert docker.list_tags(f"{registry.host}/app", circumstances(tmp_path / "conf", files)) == ("a",)
    assert {one.certificate for one in registry.asked} == {True}
    assert {one.certificate for one in other.asked} == {False}


def test_nothing_goes_on_without_encryption(tmp_path: Path, files: MadeFiles) -> None:
    """An upload is said to go on at the same place in plain HTTP: what ends TLS is meant, and is asked."""
    registry: RawServer

    def says(asked: Asked) -> bytes:
        if asked.method == "POST":
            return answer(202, Location=f"http://{registry.host}/v2/app/blobs/uploads/1")
        if asked.method == "HEAD":
            return answer(404)
        digest = Digest.from_bytes(asked.body)
        return (
            answer(201, Location="/v2/x", Docker_Content_Digest=str(digest)) if asked.method == "PUT" else answer(202)
        )

    with RawServer(with_password(says), files) as registry:
        sys = circumstances(tmp_path / "conf", files)
        with parse_image_name(f"docker://{registry.host}/app:1").new_image_destination(sys) as destination:
            data = b"something"
            destination.put_blob(io.BytesIO(data), BlobInfo(digest=Digest.from_bytes(data), size=len(data)))
        assert [one.method for one in registry.asked if one.body] == ["PUT"]
    with (
        RawServer(lambda _: TAGS) as other,
        RawServer(
            with_password(
                lambda _: answer(200, b'{"tags": ["a"]}', Link=f'<http://{other.host}/v2/app/tags/list>; rel="next"')
            ),
            files,
        ) as registry,
        pytest.raises(RegistryError, match=r"not encrypted|next page"),
    ):
        docker.list_tags(f"{registry.host}/app", circumstances(tmp_path / "conf2", files))
    assert other.asked == []


def test_a_registry_that_is_busy_is_not_asked_in_the_open(tmp_path: Path, files: MadeFiles) -> None:
    """Plain HTTP is for those who speak no TLS, where that was allowed."""
    with RawServer(lambda _: answer(503), files) as registry:
        sys = circumstances(tmp_path / "conf", files, docker_insecure_skip_tls_verify=True)
        with pytest.raises(RegistryError, match="https: the registry answers 503") as caught:
            docker.list_tags(f"{registry.host}/app", sys)
        assert "http:" not in str(caught.value)


def test_a_token_with_the_end_of_a_line(tmp_path: Path) -> None:
    """As it comes from a file: it is said what is wrong, and not what the token is."""
    with RawServer(lambda _: TAGS) as registry:
        sys = circumstances(
            tmp_path / "conf",
            docker_bearer_registry_token="tok-secret\n",  # noqa: S106
            docker_insecure_skip_tls_verify=True,
        )
        with pytest.raises(CredentialsError, match="end of a line") as caught:
            docker.list_tags(f"{registry.host}/app", sys)
        assert "tok-secret" not in repr(caught.value)


def test_a_proxy_is_shown_its_user(tmp_path: Path) -> None:
    """And nobody reads the password in an error."""
    with RawServer(lambda _: answer(407)) as proxy:
        password = "p%2Fw"  # noqa: S105
        sys = circumstances(
            tmp_path / "conf",
            docker_proxy_url=f"http://user:{password}@{proxy.host}",
            docker_insecure_skip_tls_verify=True,
        )
        with pytest.raises(RegistryError) as caught:
            docker.list_tags("registry.example/app", sys)
        assert password not in str(caught.value)
    assert set(proxy.shown("proxy-authorization")) == {"Basic dXNlcjpwL3c="}


ORIGINS = [
    ("https://Example.COM/x", ("https", "example.com", 443)),
    ("http://example.com:80", ("http", "example.com", 80)),
    ("https://[::1]:5000/x?y#z", ("https", "[::1]", 5000)),
]


@pytest.mark.parametrize(("url", "origin"), ORIGINS)
def test_origins(url: str, origin: tuple[str, str, int]) -> None:
    """A default port is a port, and names have no case."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "given",
    [
        "https://[::1",
        "https://h:99999/",
        "ftp://h/",
        "https://h/\x1b[31m",
        "https://h/a b",
        "https://u:p@h/",
        "https://h/" + "a" * 20_000,
        "javascript:alert(1)",
        "https://h\x7f.evil/",
        "http://other/",
    ],
)
def test_addresses_that_nobody_goes_to(given: str) -> None:
    """Each is an error of the registry, in words that a terminal can show."""
    with pytest.raises(RegistryError, match="sends one to") as caught:
        resolve_address("https://registry/v2/", given, "upload")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_what_is_shown_of_an_address() -> None:
    """No query, which is signed; no password."""
    assert shown("https://user:password@host/a?X-Signature=1#x") == "https://host/a"


# What never comes to an end


def chunks(*ends: bytes) -> Iterator[bytes]:
    """Begin an answer in chunks that does not end."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from itertools.cycle(ends)


def slowly(beginning: bytes, piece: bytes) -> Iterator[bytes]:
    """Send a little now and then."""
    yield beginning
    while True:
        time.sleep(0.1)
        yield piece


ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "headers": lambda: slowly(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "body": lambda: slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n", b" "),
    "refusal": lambda: slowly(b"HTTP/1.1 500 No\r\nContent-Length: 4000000\r\n\r\n", b" "),
    "continue": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "trailers": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"], itertools.repeat(b"X: y\r\n" * 1000)
    ),
    "redirect": lambda: itertools.chain(
        [b"HTTP/1.1 307 x\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n"],
        itertools.repeat(b"10000\r\n" + b"a" * 65536 + b"\r\n"),
    ),
    "slow redirect": lambda: slowly(b"HTTP/1.1 307 x\r\nLocation: /x\r\nContent-Length: 99999\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """Something comes all the time, and it is never all."""
    leads_on = "redirect" in kind
    with RawServer(registry_that(lambda asked: TAGS if asked.target == "/x" else ENDLESS[kind]())) as registry:
        sys = circumstances(tmp_path / "conf", docker_insecure_skip_tls_verify=True, docker_auth_config=None)
        caught: list[BaseException] = []

        def ask() -> None:
            try:
                docker.list_tags(f"{registry.host}/app", sys)
            except OCIKitError as error:
                caught.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(SOON)
        assert not asking.is_alive()
        assert len(caught) == (0 if leads_on else 1)


def test_a_chunk_of_less_than_nothing(tmp_path: Path) -> None:
    """http.client would read to the end, which never comes."""
    with RawServer(
        registry_that(
            lambda _: itertools.chain(
                [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"], itertools.repeat(b"a" * 65536)
            )
        )
    ) as registry:
        sys = circumstances(tmp_path / "conf", docker_insecure_skip_tls_verify=True, docker_timeout=20.0)
        with pytest.raises(LimitExceededError):
            docker.list_tags(f"{registry.host}/app", sys)


# Users who will not wait

COPY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from docker_images import context, pull, push
address, conf, source, dest = sys.argv[2:]
sys_context = context(Path(conf), address, docker_timeout=600.0)
print("ready", flush=True)
(push if source.startswith("oci:") else pull)(source, dest, sys_context)
"""


@pytest.mark.parametrize("way", ["pull", "push"])
@pytest.mark.parametrize("layers", [1, 3])
def test_ctrl_c_while_nothing_comes(tmp_path: Path, way: str, layers: int) -> None:
    """A registry that is silent is not waited for, in however many threads."""
    with Registry() as registry:
        source, name = an_image(tmp_path / "images", layers=layers), f"docker://{registry.address}/app:1"
        sys = context(tmp_path / "conf", registry)
        if way == "pull":
            push(source, name, sys)
            registry.inject(Fault(kind="blob", method="GET", do=Hang(sent=0), times=None))
            names = [name, f"oci:{tmp_path}/l:x"]
        else:
            registry.inject(Fault(kind="upload_put", do=Hang(received=0), times=None))
            registry.inject(Fault(kind="upload_patch", do=Hang(received=0), times=None))
            names = [source, name]
        registry.clear_requests()
        here, conf = str(Path(__file__).parent), str(tmp_path / "conf")
        command = [python.executable, "-c", COPY, here, registry.address, conf, *names]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            stalled = {"pull": {"blob"}, "push": {"upload_put", "upload_patch"}}[way]
            deadline = time.monotonic() + SOON
            while not any(one.kind in stalled for one in registry.requests):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SOON)
        assert b"KeyboardInterrupt" in said.splitlines()[-1]


def test_ctrl_c_while_the_registry_wants_to_be_left_alone(tmp_path: Path) -> None:
    """Time that is waited is not slept through."""
    with Registry() as registry:
        name = f"docker://{registry.address}/app:1"
        push(an_image(tmp_path / "images"), name, context(tmp_path / "conf", registry))
        left = Answer(status=503, headers={"Retry-After": "300"})
        registry.inject(Fault(kind="blob", method="GET", do=left, times=None))
        here, conf = str(Path(__file__).parent), str(tmp_path / "conf")
        text = COPY.replace("docker_timeout=600.0", "docker_retry=Retry(attempts=3, longest_delay=600.0)").replace(
            "address, conf", "from ocikit.image.context import RetryPolicy as Retry\naddress, conf", 1
        )
        command = [python.executable, "-c", text, here, registry.address, conf, name, f"oci:{tmp_path}/l:x"]
        registry.clear_requests()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            registry.wait_for(lambda one: one.status == 503, timeout=SOON)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SOON)
        assert b"KeyboardInterrupt" in said.splitlines()[-1]


# Forks and files that change


def test_a_source_that_is_open_at_a_fork(tmp_path: Path) -> None:
    """Parent and children share no conversation: each gets the answers to its own questions."""
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        name = f"docker://{registry.address}/app:1"
        done = push(an_image(tmp_path / "images", size=300_000, layers=4), name, sys)
        registry.inject(Fault(kind="blob", method="GET", do=Delay(seconds=0.01, every=65536), times=None))
        with parse_image_name(name).new_image_source(sys) as source:
            infos = [BlobInfo(digest=blob.digest, size=blob.size) for blob in done.blobs]

            def right(info: BlobInfo) -> bool:
                stream, _ = source.get_blob(info)
                with stream:
                    return Digest.from_bytes(stream.read(-1)) == info.digest

            assert all(map(right, infos))  # there are connections now
            forking = multiprocessing.get_context("fork")
            children = [
                forking.Process(target=lambda info=info: python.exit(0 if right(info) else 1)) for info in infos * 2
            ]
            for child in children:
                child.start()
            for child in children:
                child.join(SOON)
        assert [child.exitcode for child in children] == [0] * len(children)


def test_certificates_that_change(tmp_path: Path, files: MadeFiles) -> None:
    """What is in the files when it is asked counts: an authority that is taken away is trusted no more."""
    directory = tmp_path / "certs"
    directory.mkdir()
    authority = Path(files.directory, "ca.crt").read_bytes()
    (directory / "ca.crt").write_bytes(authority)
    other = MadeFiles(TLS())
    try:
        with RawServer(registry_that(lambda _: TAGS), files) as registry:
            sys = circumstances(tmp_path / "conf", docker_cert_path=str(directory))
            assert docker.list_tags(f"{registry.host}/app", sys) == ("a",)
            (directory / "ca.crt").write_bytes(Path(other.directory, "ca.crt").read_bytes())
            with pytest.raises(RegistryError, match=r"certificate verify failed.*certs\.d"):
                docker.list_tags(f"{registry.host}/app", sys)
    finally:
        other.remove()


def test_a_registry_that_speaks_no_tls(tmp_path: Path) -> None:
    """It is asked once, and it is said how plain HTTP is allowed."""
    with Registry() as registry:
        sys = circumstances(tmp_path / "conf", docker_retry=RetryPolicy(attempts=6, delay=10.0))
        with pytest.raises(RegistryError, match=r"insecure = true in registries\.conf") as caught:
            docker.list_tags(f"{registry.address}/app", sys)
        assert "tries)" not in str(caught.value)


def test_tokens_of_another_server(tmp_path: Path) -> None:
    """Ours is the real thing: a token server of its own, as every hosted registry has it."""
    with Registry(auth=BearerAuth(users={"alice": SECRET})) as registry:
        sys = context(tmp_path / "conf", registry, docker_auth_config=USER)
        push(an_image(tmp_path / "images"), f"docker://{registry.address}/app:1", sys)
        assert docker.list_tags(f"{registry.address}/app", sys) == ("1",)
