"""Names without a registry: what they may stand for, and what is recorded of that."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_homes import listening, own_home, write

from ocikit.errors import InvalidConfigurationError, InvalidReferenceError, LimitExceededError, ShortNameError
from ocikit.image import ShortNameMode, SystemContext, registries
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries import Rationale, is_short_name, resolve_short_name

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = "sha256:" + "5" * 64
CONF = """
unqualified-search-registries = ["one.example", "docker.io"]
[aliases]
app = "quay.example/team/app"
"team/gone" = ""
hub = "docker.io/hub"
"""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Give a context with two registries to search and some aliases."""
    write(tmp_path / "root/etc/containers/registries.conf", CONF)
    return evolve(own_home(tmp_path, monkeypatch), user_short_name_alias_conf_path=str(tmp_path / "cache/aliases.conf"))


def found(text: str, sys: SystemContext) -> list[str]:
    """Return what a name may stand for."""
    return [str(one) for one in resolve_short_name(text, sys).candidates]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("busybox", True),
        ("busybox:1.2", True),
        ("team/app", True),
        (f"team/app@{DIGEST}", True),
        ("localhost/app", False),
        ("localhost:5000/app", False),
        ("a.example/app", False),
        ("host:5000/app", False),
    ],
)
def test_what_is_short(text: str, short: bool) -> None:  # noqa: FBT001
    """A name is short where its first part is no registry: has no dot and no colon, and is not localhost."""
    assert is_short_name(text) is short


def test_what_names_stand_for(context: SystemContext) -> None:
    """Aliases first, with the tag or digest that was asked for; else each registry that is searched."""
    assert found("app", context) == ["quay.example/team/app:latest"]
    assert found("app:1", context) == ["quay.example/team/app:1"]
    assert found(f"app@{DIGEST}", context) == [f"quay.example/team/app@{DIGEST}"]
    assert found("hub:1", context) == ["docker.io/library/hub:1"]
    assert found("other:1", context) == ["one.example/other:1", "docker.io/library/other:1"]
    assert found("team/gone", context) == ["one.example/team/gone:latest", "docker.io/team/gone:latest"]
    assert found("full.example/x", context) == ["full.example/x:latest"]
    reasons = [resolve_short_name(text, context).rationale for text in ("app", "other", "full.example/x")]
    assert reasons == [Rationale.ALIAS, Rationale.SEARCH, Rationale.FULL_NAME]
    source = context.root_for_implicit_absolute_paths
    for text in ("app", "other"):
        resolved = resolve_short_name(text, context)
        assert resolved.source == f"{source}/etc/containers/registries.conf"
        assert resolved.source in resolved.description


def test_modes(context: SystemContext) -> None:
    """Enforcing refuses what is ambiguous and lists it; nobody is ever asked."""
    enforcing = evolve(context, short_name_mode=ShortNameMode.ENFORCING)
    with pytest.raises(ShortNameError, match=r"one.example/x:latest, docker.io/library/x:latest .*enforcing"):
        resolve_short_name("x", enforcing)
    assert found("app", enforcing) == ["quay.example/team/app:latest"]
    assert found("a.example/x", enforcing) == ["a.example/x:latest"]
    for mode in (ShortNameMode.DISABLED, ShortNameMode.PERMISSIVE):
        assert len(found("x", evolve(context, short_name_mode=mode))) == 2
    write(
        Path(f"{context.root_for_implicit_absolute_paths}/etc/containers/registries.conf"),
        "short-name-mode = 'enforcing'\nunqualified-search-registries = ['one.example']\n",
    )
    assert found("x", context) == ["one.example/x:latest"]


def test_nothing_to_search(tmp_path: Path, context: SystemContext) -> None:
    """Without an alias and without anything to search the error says what to do."""
    path = tmp_path / "root/etc/containers/registries.conf"
    path.write_text("")
    with pytest.raises(ShortNameError, match=f"{path}; write the name in full"):
        resolve_short_name("x", context)
    path.unlink()
    with pytest.raises(ShortNameError, match="there is none; write the name in full"):
        resolve_short_name("x", context)


@pytest.mark.parametrize("text", ["", "A/b", "a:", "a b", "a" * 3000, "a@sha256:1", "5" * 64, "../x", "-", "a//b"])
def test_what_is_no_name(text: str, context: SystemContext) -> None:
    """Text outside the grammar is refused before anything is read."""
    with pytest.raises(InvalidReferenceError):
        resolve_short_name(text, context)
    with pytest.raises(InvalidReferenceError):
        registries.record_alias(text, "a.example/b", context)


def test_recording(tmp_path: Path, context: SystemContext) -> None:
    """What is recorded comes before registries.conf, is for its user alone, and can be forgotten."""
    path = tmp_path / "cache/aliases.conf"
    assert registries.recorded_aliases(context) == {}
    assert not path.exists()
    assert registries.record_alias("app", "own.example/app", context) == str(path)
    registries.record_alias("team/tool", parse_normalized_named("own.example/tool:1"), context)
    registries.record_alias("team/tool", parse_normalized_named("own.example/tool2:1"), context)
    assert found("app:2", context) == ["own.example/app:2"]
    assert resolve_short_name("team/tool", context).source == str(path)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert tomllib.loads(path.read_text()) == {"aliases": {"app": "own.example/app", "team/tool": "own.example/tool2"}}
    registries.remove_alias("app", context)
    assert found("app", context) == ["quay.example/team/app:latest"]
    with pytest.raises(ShortNameError, match="nothing is recorded"):
        registries.remove_alias("app", context)
    assert sorted(one.name for one in path.parent.iterdir()) == ["aliases.conf", "aliases.conf.lock"]


@pytest.mark.parametrize(
    ("name", "value"), [("a.example/x", "b.example/x"), ("x:1", "b.example/x"), ("x", "y"), ("x", "b.example/x:1")]
)
def test_what_cannot_be_recorded(name: str, value: str, context: SystemContext, tmp_path: Path) -> None:
    """A short name stands for a repository in full; nothing else is written."""
    with pytest.raises(InvalidReferenceError):
        registries.record_alias(name, value, context)
    assert not (tmp_path / "cache/aliases.conf").exists()


def test_what_was_recorded_is_damaged(tmp_path: Path, context: SystemContext) -> None:
    """A damaged file, or a link in its place, is an error and stays as it is."""
    path = write(tmp_path / "cache/aliases.conf", "[aliases]\napp = 'x'\n")
    for call in (
        lambda: resolve_short_name("app", context),
        lambda: registries.record_alias("b", "c.example/d", context),
    ):
        with pytest.raises(InvalidConfigurationError, match=f"{path}: \\$.aliases.app"):
            call()
    assert path.read_text() == "[aliases]\napp = 'x'\n"
    path.write_bytes(b"#" * (1 << 20))
    with pytest.raises(LimitExceededError):
        registries.recorded_aliases(context)
    target = write(tmp_path / "target", "[aliases]\n")
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        registries.record_alias("b", "c.example/d", context)
    assert target.read_text() == "[aliases]\n"


NAMES = st.text("ab0", min_size=1, max_size=3) | st.builds(
    "{}/{}".format, st.sampled_from(["team", "x-y"]), st.sampled_from("ab")
)


@settings(max_examples=10)  # each is some fsync
@given(st.dictionaries(NAMES, NAMES.map("h.example/{}".format), max_size=5))
def test_what_is_recorded_is_read(tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, str]) -> None:
    """Every short name is read back with what it stands for, by any reader of TOML."""
    path = tmp_path_factory.mktemp("aliases") / "a.conf"
    sys = registries_context(path)
    for name, value in pairs.items():
        registries.record_alias(name, value, sys)
    assert {name: str(value) for name, value in registries.recorded_aliases(sys).items()} == pairs
    assert (tomllib.loads(path.read_text())["aliases"] if path.exists() else {}) == pairs


def registries_context(path: Path) -> SystemContext:
    """Return a context with just a file for recorded names."""
    return SystemContext(user_short_name_alias_conf_path=str(path))


WRITER = """
import sys
from ocikit.image import SystemContext, registries
for number in range(20):
    context = SystemContext(user_short_name_alias_conf_path=sys.argv[1])
    registries.record_alias(f"{sys.argv[2]}{number}", "a.example/b", context)
"""


def test_several_record_at_the_same_time(tmp_path: Path) -> None:
    """Processes that record names at the same time lose none of them."""
    path = tmp_path / "aliases.conf"
    command = [sys.executable, "-c", WRITER, str(path)]
    children = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(registries.recorded_aliases(registries_context(path))) == 60


def test_as_buildah(context: SystemContext, tmp_path: Path, peer: Callable[[str], str]) -> None:
    """It asks for what a short name stands for here, in the same order; also for what was recorded here."""
    with listening() as (address, asked):
        hosts = [f"{address}/{place}" for place in "ab"]
        conf = write(
            tmp_path / "registries.conf",
            f'unqualified-search-registries = ["one.example", "{address}"]\n'
            f'[aliases]\nalias = "{address}/team/alias"\n'
            f'[[registry]]\nprefix = "one.example"\nlocation = "{hosts[0]}"\ninsecure = true\n'
            f'[[registry]]\nlocation = "{address}"\ninsecure = true\n',
        )
        sys = evolve(context, system_registries_conf_path=str(conf), system_registries_conf_dir_path="/dev/null")
        registries.record_alias("noted", f"{address}/own/noted", sys)
        aliases = str(sys.user_short_name_alias_conf_path)
        command = [peer("buildah"), "--registries-conf", str(conf), "--registries-conf-dir", str(tmp_path / "none")]
        command += ["--short-name-alias-conf", aliases, "--storage-driver", "vfs", "--root", str(tmp_path / "store")]
        command += ["--runroot", str(tmp_path / "run"), "pull", "--retry", "0"]
        environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
        for text in ("noted:1", "alias", "searched:2"):
            asked.clear()
            done = subprocess.run([*command, text], capture_output=True, text=True, env=environment, check=False)
            ours = [
                f"/v2/{one.reference.path}/manifests/{one.reference.tag}"
                for image in resolve_short_name(text, sys).candidates
                for one in registries.pull_sources(image, sys)
            ]
            assert [path for path in asked if "manifests" in path] == ours, done.stderr
            assert len(ours) == (2 if text == "searched:2" else 1)
