"""Names of images in registries."""

from __future__ import annotations

import pytest

from ocikit.errors import InvalidReferenceError
from ocikit.image.reference import parse_normalized_named

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("busybox:1.37", "docker.io/library/busybox:1.37"),
        ("team/app", "docker.io/team/app"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox"),
        ("index.docker.io/team/app:x", "docker.io/team/app:x"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("registry:5000/a/b/c", "registry:5000/a/b/c"),
        ("quay.io/a/b:1_2.3-4", "quay.io/a/b:1_2.3-4"),
        ("QUAY.io/a", "quay.io/a"),
        ("[::1]:5000/a", "[::1]:5000/a"),
        ("127.0.0.1/a", "127.0.0.1/a"),
        ("a__b/c---d/e.f", "docker.io/a__b/c---d/e.f"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"quay.io/a:1@{DIGEST}", f"quay.io/a:1@{DIGEST}"),
        ("a" * 237, "docker.io/library/" + "a" * 237),
    ],
)
def test_spells_names_out(text: str, expected: str) -> None:
    """What is left out is Docker Hub's, and writing the name out again changes nothing."""
    named = parse_normalized_named(text)
    assert str(named) == expected
    assert parse_normalized_named(expected) == named


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "a:",
        "a@",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a_-b",
        "a..b",
        "Busybox",
        "quay.io/Team/app",
        "Team/app",
        "a:.x",
        "a:-x",
        "a:" + "x" * 129,
        "a b",
        "a:1:2",
        "quay.io:port/a",
        "quay..io/a",
        "-quay.io/a",
        "a@sha256:0123",
        f"a@{DIGEST.upper()}",
        f"a@{DIGEST}@{DIGEST}",
        f"@{DIGEST}",
        "0" * 64,
        "a" * 238,
        "a\n",
        "\u00e4",
    ],
)
def test_refuses_what_is_no_name(text: str) -> None:
    """Everything outside the grammar is refused."""
    with pytest.raises(InvalidReferenceError):
        parse_normalized_named(text)


def test_parts() -> None:
    """The parts are those of the text, and a bare repository says so."""
    named = parse_normalized_named(f"quay.io:443/a/b:1@{DIGEST}")
    assert (named.domain, named.path, named.tag, named.digest) == ("quay.io:443", "a/b", "1", DIGEST)
    assert named.name == "quay.io:443/a/b"
    assert not named.is_name_only
    assert parse_normalized_named("a").is_name_only
