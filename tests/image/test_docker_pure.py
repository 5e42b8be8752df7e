"""What the client for registries decides without a registry: challenges, retries, refusals, names."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import InvalidReferenceError, RegistryAccessError, RegistryError
from ocikit.image import parse_image_name
from ocikit.image.context import RetryPolicy
from ocikit.image.docker.addresses import origin_of
from ocikit.image.docker.challenges import Challenge, parse_challenges
from ocikit.image.docker.proxies import proxy_for
from ocikit.image.docker.refusals import error_of, first_fault
from ocikit.image.docker.retrying import delay_before, seconds_of

NOW = dt.datetime(2024, 6, 1, 12, 0, 0, tzinfo=dt.UTC)

CHALLENGES = [
    ('Basic realm="registry"', [("basic", {"realm": "registry"})]),
    (
        'Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push"',
        [
            (
                "bearer",
                {
                    "realm": "https://auth.example.com/token",
                    "service": "registry.example.com",
                    "scope": "repository:a/b:pull,push",
                },
            )
        ],
    ),
    ('BEARER Realm = "a" , error="insufficient_scope"', [("bearer", {"realm": "a", "error": "insufficient_scope"})]),
    ('Basic realm="a", Bearer realm="b"', [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
    (r'Bearer realm="a\"b\\c"', [("bearer", {"realm": 'a"b\\c'})]),
    ("Bearer realm=plain/x", [("bearer", {"realm": "plain/x"})]),
    ("Negotiate, Basic realm=a", [("negotiate", {}), ("basic", {"realm": "a"})]),
    ("", []),
    ('="x"', []),
    ('Bearer realm="open', [("bearer", {})]),
]


@pytest.mark.parametrize(("header", "expected"), CHALLENGES)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    """Schemes and parameters as RFC 9110 has them; what is malformed ends there."""
    assert parse_challenges([header]) == tuple(Challenge(scheme=name, parameters=found) for name, found in expected)


@given(st.text(max_size=200))
def test_any_header_is_read(header: str) -> None:
    """A header is read or not understood, and takes no time to speak of."""
    parse_challenges([header, header * 50])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("Sat, 01 Jun 2024 12:00:30 GMT", 30),
        ("Sat, 01 Jun 2024 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("99999999999999", None),
        ("Sat, 99 Jun 9999 99:99:99 GMT", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Seconds or a date; what is neither says nothing."""
    assert seconds_of(header, NOW) == seconds


def test_delays_grow_and_end() -> None:
    """Twice as long each time, up to the longest, never less than what the registry asks for, and not for ever."""
    policy = RetryPolicy(attempts=5, delay=1.0, longest_delay=4.0)
    for attempt, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 4.0)):
        for _ in range(20):
            delay = delay_before(attempt, policy)
            assert delay is not None
            assert most / 2 <= delay <= most
    assert delay_before(5, policy) is None
    assert delay_before(1, policy, 3.0) == 3.0
    assert delay_before(1, policy, 5.0) is None


def test_refusals_are_errors_that_help() -> None:
    """Status, code and detail by themselves, and in the message with what to do; access is a kind of its own."""
    body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown","detail":{"Tag":"x"}}]}'
    error = error_of("manifest x of a/b", 404, body)
    assert (error.status, error.code, error.detail) == (404, "MANIFEST_UNKNOWN", "{'Tag': 'x'}")
    assert "manifest x of a/b: the registry answers 404 (MANIFEST_UNKNOWN: unknown: {'Tag': 'x'}); look at" in str(
        error
    )
    assert isinstance(error_of("x", 401, b""), RegistryAccessError)
    assert isinstance(error_of("x", 403, b""), PermissionError)
    assert type(error_of("x", 500, b"<html>")) is RegistryError


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"errors":{}}', b'{"errors":[]}', b'{"errors":["x"]}', b"\xff", b"[" * 5000],
)
def test_refusals_in_any_words(body: bytes) -> None:
    """What is no document of the specification says nothing, and breaks nothing."""
    assert first_fault(body) == ("", "", "")


def test_what_is_said_is_shown_harmless() -> None:
    """No line feeds and escapes of terminals, and not more than can be read."""
    code, message, _ = first_fault(b'{"errors":[{"code":"A\\n\\u001b[31m","message":"' + b"x" * 9999 + b'"}]}')
    assert code == "A  [31m"
    assert len(message) == 301


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("//busybox", "//docker.io/library/busybox:latest"),
        ("//quay.io/a/b:1", "//quay.io/a/b:1"),
        ("//localhost:5000/a", "//localhost:5000/a:latest"),
        (f"//a.b/c@sha256:{'a' * 64}", f"//a.b/c@sha256:{'a' * 64}"),
        (f"//a.b/c:1@sha256:{'a' * 64}", f"//a.b/c:1@sha256:{'a' * 64}"),
        ("//a.b/c@@unknown-digest@@", "//a.b/c@@unknown-digest@@"),
    ],
)
def test_names(text: str, whole: str) -> None:
    """A name is read, written in full, and read again as the same."""
    reference = parse_image_name(f"docker:{text}")
    assert reference.string_within_transport == whole
    assert parse_image_name(f"docker:{whole}") == reference


@pytest.mark.parametrize(
    "text",
    ["busybox", "/busybox", "//", "//A/B", "//a.b/c:", "//a.b/c:1@sha256:a", "//a.b/c:1@@unknown-digest@@"],
)
def test_names_that_are_none(text: str) -> None:
    """What is outside the grammar is refused."""
    with pytest.raises(InvalidReferenceError):
        parse_image_name(f"docker:{text}")


def test_scopes_of_policies() -> None:
    """The image, its repository, what that is in, the registry and its domains."""
    image = parse_image_name("docker://reg.team.example.com/a/b:1")
    assert image.policy_configuration_identity == "reg.team.example.com/a/b:1"
    assert image.policy_configuration_namespaces == (
        "reg.team.example.com/a/b",
        "reg.team.example.com/a",
        "reg.team.example.com",
        "*.team.example.com",
        "*.example.com",
        "*.com",
    )


PROXIES = [
    # NO_PROXY, where, whether a proxy is asked
    ("", "https://registry.example", True),
    ("", "https://127.0.0.1:5000", False),
    ("", "https://localhost:5000", False),
    ("", "https://[::1]:5000", False),
    ("*", "https://registry.example", False),
    ("registry.example", "https://registry.example:5000", False),
    ("example", "https://registry.example", False),
    ("example", "https://registry-example", True),
    (".example", "https://registry.example", False),
    (".registry.example", "https://registry.example", True),
    ("*.example", "https://registry.example", False),
    ("registry.example:5000", "https://registry.example:5000", False),
    ("registry.example:5000", "https://registry.example", True),
    ("registry.example:443", "https://registry.example", False),
    ("192.0.2.0/24", "https://192.0.2.3", False),
    ("192.0.2.0/24", "https://192.0.3.3", True),
    ("192.0.2.3:5000", "https://192.0.2.3:5000", False),
    ("[2001:db8::1]", "https://[2001:db8::1]:5000", False),
    ("2001:db8::/32", "https://[2001:db8::1]:5000", False),
    ("other, Registry.Example ,", "https://registry.example", False),
    ("192.0.2.0/99", "https://192.0.2.3", True),
]


@pytest.mark.parametrize(("no_proxy", "url", "is_asked"), PROXIES)
def test_proxies(no_proxy: str, url: str, is_asked: bool) -> None:  # noqa: FBT001 - a case
    """As programs in Go do it: what is on this machine never goes through one."""
    environment = {"HTTPS_PROXY": "http://proxy", "no_proxy": no_proxy}
    assert proxy_for(origin_of(url), environment) == ("http://proxy" if is_asked else None)


def test_a_request_is_no_environment() -> None:
    """The header Proxy of a request to a CGI program names no proxy of ours."""
    environment = {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}
    assert proxy_for(origin_of("http://registry.example"), environment) is None
