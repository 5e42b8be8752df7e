"""registries.d: read strictly and within bounds, and asked about images as containers/image asks it."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import LayoutError, LimitExceededError, MissingDependencyError, OCIKitError
from ocikit.image import SystemContext
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries_d import (
    RegistriesConfiguration,
    RegistryNamespace,
    load_registries_configuration,
    signature_storage_base_url,
    use_sigstore_attachments,
)
from ocikit.image.registries_d.scopes import docker_scopes

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = "sha256:" + "0" * 64
FILE = """
default-docker:
  lookaside: https://everything.example.com/
  lookaside-staging: file:///staging
docker:
  registry.example.com:
    lookaside: https://registry.example.com/signatures
    use-sigstore-attachments: true
  registry.example.com/team:
    lookaside-staging: file:///team
  registry.example.com/team/app:
    use-sigstore-attachments: false
  registry.example.com/team/app:1.2:
    sigstore: https://old.example.com
    sigstore-staging: file:///old
  "*.example.org":
    lookaside: file:///org
  localhost:5000:
    lookaside: file:///port
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., SystemContext]:
    """Return what writes files of a registries.d and names the directory."""

    def write(*texts: str | bytes) -> SystemContext:
        for number, text in enumerate(texts):
            data = text.encode() if isinstance(text, str) else text
            (tmp_path / f"{number}.yaml").write_bytes(data)
        (tmp_path / "not.yml").write_text("{{{")
        return SystemContext(registries_dir_path=str(tmp_path))

    return write


@pytest.mark.parametrize(
    ("name", "read", "write", "attachments"),
    [
        ("busybox", "https://everything.example.com/library/busybox", "file:///staging/library/busybox", False),
        (
            "registry.example.com/x:1",
            "https://registry.example.com/signatures/x",
            "https://registry.example.com/signatures/x",
            True,
        ),
        ("registry.example.com/team/x", "https://registry.example.com/signatures/team/x", "file:///team/team/x", True),
        (
            "registry.example.com/team/app:1.3",
            "https://registry.example.com/signatures/team/app",
            "file:///team/team/app",
            False,
        ),
        ("registry.example.com/team/app:1.2", "https://old.example.com/team/app", "file:///old/team/app", False),
        (
            f"registry.example.com/team/app@{DIGEST}",
            "https://registry.example.com/signatures/team/app",
            "file:///team/team/app",
            False,
        ),
        ("a.b.example.org:5000/x", "file:///org/x", "file:///org/x", False),
        ("example.org/x", "https://everything.example.com/x", "file:///staging/x", False),
        ("localhost:5000/x", "file:///port/x", "file:///port/x", False),
        ("localhost/x", "https://everything.example.com/x", "file:///staging/x", False),
    ],
)
def test_which_store(
    configured: Callable[..., SystemContext], name: str, read: str, write: str, *, attachments: bool
) -> None:
    """The most specific scope that says something of a key counts, key by key, and the old keys after the new ones."""
    named, sys = parse_normalized_named(name), configured(FILE)
    assert signature_storage_base_url(named, sys) == read
    if read.startswith("file:///org"):
        assert load_registries_configuration(sys).lookaside(named, write=True) == "file:///org"
    assert signature_storage_base_url(named, sys, write=True) == write
    assert use_sigstore_attachments(named, sys) is attachments


def test_scopes() -> None:
    """From the image to its domains; a port belongs to the registry, and no domain has one."""
    assert docker_scopes(parse_normalized_named(f"a.example.com:5000/x/y:1@{DIGEST}")) == (
        f"a.example.com:5000/x/y@{DIGEST}",
        "a.example.com:5000/x/y:1",
        "a.example.com:5000/x/y",
        "a.example.com:5000/x",
        "a.example.com:5000",
        "*.example.com",
        "*.com",
    )
    assert docker_scopes(parse_normalized_named("busybox")) == (
        "docker.io/library/busybox",
        "docker.io/library",
        "docker.io",
        "*.io",
    )
    assert docker_scopes(parse_normalized_named("[::1]:5000/x")) == ("[::1]:5000/x", "[::1]:5000")


def test_where_the_directory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is named, else the user's when it is there, else that of the system; stores likewise."""
    named = parse_normalized_named("example.com/x")
    home, root = tmp_path / "home", tmp_path / "root"
    monkeypatch.setenv("HOME", str(home))
    of_user, of_system = home / ".config/containers/registries.d", root / "etc/containers/registries.d"
    sys = SystemContext(root_for_implicit_absolute_paths=str(root))
    of_system.mkdir(parents=True)
    default = root / "var/lib/containers/sigstore" if os.geteuid() == 0 else home / ".local/share/containers/sigstore"
    assert signature_storage_base_url(named, sys) == f"file://{default}/x"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert signature_storage_base_url(named, sys) == f"file://{home}/.local/share/containers/sigstore/x"
    (of_system / "a.yaml").write_text("default-docker: {lookaside: 'file:///system'}")
    assert signature_storage_base_url(named, sys) == "file:///system/x"
    of_user.mkdir(parents=True)
    (of_user / "a.yaml").write_text("default-docker: {lookaside: 'file:///user'}")
    assert signature_storage_base_url(named, sys) == "file:///user/x"
    nowhere = SystemContext(registries_dir_path=str(tmp_path / "nowhere"))
    assert load_registries_configuration(nowhere) == RegistriesConfiguration()


def test_nothing_said(configured: Callable[..., SystemContext]) -> None:
    """Empty files and sections, as distributions ship them, say nothing; a link that leads nowhere neither."""
    sys = configured("", "# nothing\n", "default-docker:\ndocker:\n", "docker:\n  example.com:\n")
    assert sys.registries_dir_path is not None
    Path(sys.registries_dir_path, "gone.yaml").symlink_to("nowhere")
    found = load_registries_configuration(sys)
    assert found == RegistriesConfiguration(docker={"example.com": RegistryNamespace()})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["docker: {a: {lookaside: x}}", "docker: {a: {}}"], "1.yaml: the scope 'a' is configured in .*0.yaml"),
        (["default-docker: {lookaside: x}"] * 2, "1.yaml: default-docker is configured in .*0.yaml"),
        (["docker: {a: {}, a: {}}"], "'a' is there twice"),
        (["docker: {}\ndocker: {}"], "'docker' is there twice"),
        (["docker: {a: {lookaside: x, lookaside: y}}"], "'lookaside' is there twice"),
        (["dokcer: {}"], r"\$\.dokcer: unknown; expected default-docker and docker"),
        (["docker: {a: {lookside: x}}"], r"\$\.docker\.a\.lookside: unknown; expected one of lookaside"),
        (["default-docker: {1: x}"], "unknown"),
        (["docker: [a]"], r"\$\.docker: expected a mapping, found an array"),
        (["[a]"], "expected a mapping"),
        (["docker: {a: x}"], r"\$\.docker\.a: expected a mapping, found"),
        (["docker: {1: {}}"], "expected a registry"),
        (["docker: {a: {lookaside: 7}}"], r"lookaside: expected a string, found"),
        (["docker: {a: {use-sigstore-attachments: 'true'}}"], "expected true or false, found"),
        (["docker: {a: &x {}, b: *x}"], "anchors and aliases"),
        (["docker: {a: !!python/object:os.system {}}"], "types of values are not stated"),
        (["docker: {a: !!int x}"], "types of values"),
        (["docker: {"], "not YAML"),
        (["a: 2001-99-99"], "not YAML: a value is not what it looks like"),
        ([b"docker: {\xff: {}}"], "not YAML"),
        (["---\n---\n"], "not YAML"),
    ],
)
def test_malformed(configured: Callable[..., SystemContext], texts: list[Any], message: str) -> None:
    """A file that could be meant in another way is refused, with the file and the place in it."""
    with pytest.raises(LayoutError, match=message):
        load_registries_configuration(configured(*texts))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["#" * (256 << 10) + "\n"], "bytes of .*0.yaml"),
        (["[" * 100], "mappings within each other"),
        (["docker: {" + "a: {}, " * 20_000 + "}"], "keys and values"),
        ([""] * 1001, "files: limit 1,000, found 1,001"),
    ],
)
def test_too_much(configured: Callable[..., SystemContext], texts: list[str], message: str) -> None:
    """Sizes, counts and nesting are bounded before anything is made of them."""
    with pytest.raises(LimitExceededError, match=message):
        load_registries_configuration(configured(*texts))


def test_without_yaml(configured: Callable[..., SystemContext], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML is needed when there is something to read, and the error says what to install."""
    original = builtins.__import__

    def imported(name: str, *rest: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return original(name, *rest)

    sys = configured("docker: {}")
    monkeypatch.setattr(builtins, "__import__", imported)
    with pytest.raises(MissingDependencyError, match=r"ocikit\[yaml\]"):
        load_registries_configuration(sys)
    assert load_registries_configuration(SystemContext(registries_dir_path="/nowhere")) == RegistriesConfiguration()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="docker:{}[]&*!?|>-# \n\t'\"%@,ae1.", max_size=60).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    """Whatever a file holds, it is read or refused."""
    from ocikit.image.registries_d import reading  # noqa: PLC0415 - what is inside

    try:
        RegistriesConfiguration.from_documents([("x.yaml", reading._parsed(data, "x.yaml"))])
    except OCIKitError as error:
        assert "x.yaml" in str(error)  # noqa: PT017 - most of them are no errors
