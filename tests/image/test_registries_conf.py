"""registries.conf: which files, what they say together, and the answers for one image."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from registry_homes import own_home, write

from ocikit.errors import BlockedRegistryError, InvalidConfigurationError, LimitExceededError, OCIKitError
from ocikit.image import DockerAuthConfig, ShortNameMode, SystemContext, registries
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries import RegistriesConfiguration, configuration
from ocikit.image.registries.document import parse_document
from ocikit.image.registries.matching import matched_length, rewritten

DIGEST = "sha256:" + "5" * 64
SECRET = "of nobody's business"  # noqa: S105 - of nobody's


def configured(*texts: str) -> RegistriesConfiguration:
    """Return what some files say together."""
    return RegistriesConfiguration.merge(
        parse_document(text.encode(), f"{number}.conf") for number, text in enumerate(texts)
    )


def places(configuration: RegistriesConfiguration, name: str) -> list[str]:
    """Return the names under which an image may be pulled, with a mark behind those that are insecure."""
    sources = configuration.pull_sources(parse_normalized_named(name))
    assert [one.is_mirror for one in sources] == [True] * (len(sources) - 1) + [False]
    return [f"{one.reference}{' insecure' if one.insecure else ''}" for one in sources]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemContext:
    """Give a context in which nothing is configured."""
    return own_home(tmp_path, monkeypatch)


# What one file may say


MALFORMED = {
    "location = ": ("$", "expected TOML"),
    "\xff": ("$", "expected TOML"),
    "registry = 1": ("$.registry", "expected an array"),
    "registry = [1]": ("$.registry[0]", "expected a table"),
    "[[registry]]": ("$.registry[0].location", "found neither"),
    "[[registry]]\nlocation = 1": ("$.registry[0].location", "expected a string"),
    "[[registry]]\nprefix = 'a.example'": ("$.registry[0].location", "missing"),
    "[[registry]]\nlocation = 'https://a.example'": ("$.registry[0].location", "URL"),
    "[[registry]]\nlocation = 'a.example'\nprefix = 'http://b.example'": ("$.registry[0].prefix", "URL"),
    "[[registry]]\nlocation = 'a b'": ("$.registry[0].location", "host"),
    "[[registry]]\nlocation = 'a.example'\ninsecure = 'yes'": ("$.registry[0].insecure", "true or false"),
    "[[registry]]\nlocation = 'a.example'\nblocked = 1": ("$.registry[0].blocked", "true or false"),
    "[[registry]]\nlocation = 'a.example'\nlocation = 'b.example'": ("$", "overwrite"),
    "[[registry]]\nlocation = 'a.example'\nLocation = 'b.example'": ("$.registry[0].Location", "twice"),
    "[[registry]]\nprefix = '*.a.example/b'\nlocation = 'c.example'": ("$.registry[0].prefix", r"\*.domain"),
    "[[registry]]\nprefix = '*.a.example:1'": ("$.registry[0].prefix", r"\*.domain"),
    "[[registry]]\nlocation = 'a.example'\npull-from-mirror = 'all'": (
        '$.registry[0]["pull-from-mirror"]',
        "for mirrors",
    ),
    "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]": ("$.registry[0].mirror[0].location", "missing"),
    "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'm.example'\npull-from-mirror = 'some'": (
        '$.registry[0].mirror[0]["pull-from-mirror"]',
        "digest-only",
    ),
    "[[registry]]\nlocation = 'a.example'\nmirror-by-digest-only = true\n[[registry.mirror]]\n"
    "location = 'm.example'\npull-from-mirror = 'all'": ('$.registry[0].mirror[0]["pull-from-mirror"]', "already"),
    "[[registry]]\nlocation = 'a.example'\n[[registry]]\nprefix = 'b.example'\nlocation = 'a.example'\n"
    "blocked = true": ("$.registry", "with and without blocked"),
    "[[registry]]\nlocation = 'a.example'\n[[registry]]\nprefix = 'b.example'\nlocation = 'a.example'\n"
    "insecure = true": ("$.registry", "with and without insecure"),
    "unqualified-search-registries = ['a.example/b']": ('$["unqualified-search-registries"][0]', "host"),
    "unqualified-search-registries = ['a.example', '']": ('$["unqualified-search-registries"][1]', "host"),
    "unqualified-search-registries = 'a.example'": ('$["unqualified-search-registries"]', "an array"),
    "credential-helpers = ['../x']": ('$["credential-helpers"][0]', "docker-credential-X"),
    "short-name-mode = 'sometimes'": ('$["short-name-mode"]', "enforcing"),
    "[aliases]\na = 'b'": ("$.aliases.a", "short name"),
    "[aliases]\na = 'b.example/c:1'": ("$.aliases.a", "without tag"),
    "[aliases]\n'a:1' = 'b.example/c'": ('$.aliases["a:1"]', "without tag"),
    "[aliases]\n'a.example/b' = 'b.example/c'": ('$.aliases["a.example/b"]', "is a registry"),
    "[aliases]\na = ['b.example/c']": ("$.aliases.a", "expected a string"),
    "unqualified-search-registries = []\n[registries.search]\nregistries = []": ("$.registries", "version 1"),
    "[registries.block]\nregistries = ['http://a.example']": ("$.registries.block.registries[0]", "URL"),
    "[registries]\nblock = 1": ("$.registries.block", "a table"),
}


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_malformed_is_refused(text: str) -> None:
    """Every fault has its file, its place and what was expected."""
    with pytest.raises(InvalidConfigurationError, match=MALFORMED[text][1]) as raised:
        parse_document(text.encode("latin-1"), "/etc/x.conf")
    assert raised.value.path == MALFORMED[text][0]
    assert raised.value.source == "/etc/x.conf"
    assert str(raised.value).startswith("/etc/x.conf: $")


def test_what_would_cost_too_much_is_refused() -> None:
    """Keys of very many parts, and tables in each other without end, end in an error."""
    with pytest.raises(LimitExceededError, match="dots in line 2"):
        parse_document(b"\n" + b"a." * 5000 + b"a = 1", "x.conf")
    for text in ("[" * 100_000, "a = " + "[" * 100_000, "a = " + "{b = " * 100_000, f"a = {'1' * 10_000}"):
        with pytest.raises(InvalidConfigurationError):
            parse_document(text.encode(), "x.conf")


@given(st.binary(max_size=200) | st.text("[]{}='\"\n.registymoaln #1-", max_size=120).map(str.encode))
@example(b"[[registry]]\nlocation='a'\n[[registry.mirror]]\nlocation=['b']")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but the errors that are documented comes of a file, whatever is in it."""
    with contextlib.suppress(OCIKitError):
        parse_document(data, "x.conf")


def test_unknown_keys_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A key that nobody knows may belong to a newer program, or be a misspelled one: it is ignored, and said."""
    found = configured("[[registry]]\nlocation = 'a.example'\nblokced = true\n").registries
    assert [one.blocked for one in found] == [False]
    assert "$.registry[0].blokced" in caplog.text


def test_keys_fit_in_any_case() -> None:
    """As in containers/image: Blocked = true blocks."""
    assert configured("[[Registry]]\nLocation = 'a.example'\nBLOCKED = true\n").registries[0].blocked


def test_version_1_means_the_same() -> None:
    """The first format becomes the second: searched, blocked, insecure; it is refused in drop-ins."""
    text = (
        "[registries.search]\nregistries = ['a.example//', 'b.example']\n"
        "[registries.insecure]\nregistries = ['c.example/', 'd.example']\n"
        "[registries.block]\nregistries = ['c.example']\n"
    )
    found = configured(text)
    assert found.unqualified_search_registries == ("a.example", "b.example")
    assert {one.prefix: (one.blocked, one.insecure) for one in found.registries} == {
        "c.example": (True, True),
        "d.example": (False, True),
    }
    with pytest.raises(InvalidConfigurationError, match="drop-in"):
        parse_document(text.encode(), "x.conf", only_version_2=True)


# Which files


def test_order_of_files(tmp_path: Path, context: SystemContext) -> None:
    """The file of the system, its drop-ins by name, those of the user; no subdirectories, and nothing but *.conf."""
    system, user = tmp_path / "root/etc/containers", tmp_path / "home/.config/containers"
    write(system / "registries.conf", "unqualified-search-registries = ['system.example']\ncredential-helpers = ['a']")
    write(system / "registries.conf.d/b.conf", "short-name-mode = 'enforcing'\n[aliases]\nx = 'b.example/x'")
    write(system / "registries.conf.d/a.conf", "short-name-mode = 'disabled'\n[aliases]\nx = 'a.example/x'")
    write(system / "registries.conf.d/c.con", "short-name-mode = 'permissive'")
    write(system / "registries.conf.d/d.conf/e.conf", "short-name-mode = 'permissive'")
    write(user / "registries.conf.d/a.conf", "credential-helpers = []\n[aliases]\nx = 'user.example/x'")
    found = RegistriesConfiguration.load(context)
    assert [Path(one).relative_to(tmp_path).as_posix() for one in found.sources] == [
        "root/etc/containers/registries.conf",
        "root/etc/containers/registries.conf.d/a.conf",
        "root/etc/containers/registries.conf.d/b.conf",
        "home/.config/containers/registries.conf.d/a.conf",
    ]
    assert found.short_name_mode is ShortNameMode.ENFORCING
    assert found.credential_helpers == ("containers-auth.json",)
    assert found.search_source == str(system / "registries.conf")
    assert str(found.aliases["x"][0]) == "user.example/x"
    write(user / "registries.conf", "unqualified-search-registries = ['user.example']")
    found = RegistriesConfiguration.load(context)
    assert found.unqualified_search_registries == ("user.example",)
    assert found.short_name_mode is ShortNameMode.PERMISSIVE


def test_files_that_the_caller_names(tmp_path: Path, context: SystemContext) -> None:
    """A file and a directory that are named come in place of all others; a file that is not there is an error."""
    write(tmp_path / "home/.config/containers/registries.conf", "short-name-mode = 'enforcing'")
    mine = write(tmp_path / "mine.conf", "short-name-mode = 'disabled'")
    write(tmp_path / "mine.d/x.conf", "unqualified-search-registries = ['mine.example']")
    named = SystemContext(
        system_registries_conf_path=str(mine), system_registries_conf_dir_path=str(tmp_path / "mine.d")
    )
    found = RegistriesConfiguration.load(named)
    assert (found.short_name_mode, found.unqualified_search_registries) == (ShortNameMode.DISABLED, ("mine.example",))
    assert RegistriesConfiguration.load(context).short_name_mode is ShortNameMode.ENFORCING
    with pytest.raises(FileNotFoundError):
        RegistriesConfiguration.load(SystemContext(system_registries_conf_path=str(tmp_path / "none.conf")))
    nothing = SystemContext(system_registries_conf_path="/dev/null", system_registries_conf_dir_path="/dev/null")
    assert RegistriesConfiguration.load(nothing).registries == ()


def test_a_file_that_changes_is_read_again(tmp_path: Path, context: SystemContext) -> None:
    """What was read is kept as long as no file changes, comes or goes."""
    path = write(tmp_path / "root/etc/containers/registries.conf", "[[registry]]\nlocation = 'a.example'")
    old = time.time() - 3600
    for mode in ("disabled", "enforcing"):
        write(path, f"short-name-mode = '{mode}'")
        os.utime(path, (old, old))  # the same time of change for all
        assert RegistriesConfiguration.load(context).short_name_mode.value == mode
    drop_in = write(tmp_path / "home/.config/containers/registries.conf.d/a.conf", "short-name-mode = 'disabled'")
    assert RegistriesConfiguration.load(context).short_name_mode is ShortNameMode.DISABLED
    drop_in.unlink()
    assert RegistriesConfiguration.load(context).short_name_mode is ShortNameMode.ENFORCING


def test_what_was_read_is_kept(tmp_path: Path, context: SystemContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are as they were are not read again; each change of one is seen."""
    monkeypatch.setattr(configuration, "_TICK_NS", -(10**18))  # as if they had been there for long
    path = write(tmp_path / "root/etc/containers/registries.conf", "short-name-mode = 'enforcing'")
    first = RegistriesConfiguration.load(context)
    assert RegistriesConfiguration.load(context) is first
    path.write_text("short-name-mode = 'disabled'")
    second = RegistriesConfiguration.load(context)
    assert second.short_name_mode is ShortNameMode.DISABLED
    drop_in = write(path.with_name("registries.conf.d") / "a.conf", "short-name-mode = 'enforcing'")
    assert RegistriesConfiguration.load(context).short_name_mode is ShortNameMode.ENFORCING
    drop_in.unlink()
    path.rename(path.with_name("old"))
    assert RegistriesConfiguration.load(context).sources == ()
    for number in range(100):
        RegistriesConfiguration.load(SystemContext(root_for_implicit_absolute_paths=str(tmp_path / str(number))))
    assert len(configuration._kept) <= 32


def test_files_that_are_unreasonable(tmp_path: Path, context: SystemContext) -> None:
    """A pipe is not waited for, a directory is no file, and sizes and numbers have limits."""
    path = tmp_path / "root/etc/containers/registries.conf"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(InvalidConfigurationError, match="no file"):
        RegistriesConfiguration.load(context)
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidConfigurationError, match="no file"):
        RegistriesConfiguration.load(context)
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(LimitExceededError, match="limit 524,288"):
        RegistriesConfiguration.load(context)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        RegistriesConfiguration.load(context)
    path.unlink()
    for number in range(20):
        write(path.with_name("registries.conf.d") / f"{number}.conf", b"#" * 500_000)
    with pytest.raises(LimitExceededError, match="in all"):
        RegistriesConfiguration.load(context)


# What fits


HOSTS = st.sampled_from(["a.example", "b.example", "x.a.example", "a.example:5000", "localhost", "y.x.a.example:80"])
PATHS = st.lists(st.sampled_from(["a", "ab", "b", "a-b", "example"]), min_size=1, max_size=3).map("/".join)
ENDS = st.sampled_from(["", ":1", f"@{DIGEST}", f":1@{DIGEST}"])
NAMES = st.builds("{}/{}{}".format, HOSTS, PATHS, ENDS)


def is_in_full(name: str) -> bool:
    """Say whether a name is that of an image, and short for nothing."""
    try:
        return str(parse_normalized_named(name)) == name
    except OCIKitError:
        return False


@given(NAMES, st.integers(1, 60), HOSTS | NAMES)
def test_a_prefix_ends_where_a_part_does(name: str, length: int, location: str) -> None:
    """A prefix fits if and only if the name goes on with a separator, and then nothing but the prefix is replaced."""
    prefix = name[:length]
    rest = name[len(prefix) :]
    fits = not rest or rest[0] in "/:@"
    assert matched_length(name, prefix) == (len(prefix) if fits else None)
    if fits and "@" not in prefix:
        named = parse_normalized_named(name)
        if is_in_full(location + rest):
            assert str(rewritten(named, prefix, location, "x.conf")) == location + rest
        else:
            with pytest.raises(InvalidConfigurationError):
                rewritten(named, prefix, location, "x.conf")


@given(NAMES, st.sampled_from(["*.example", "*.a.example", "*.x.a.example", "*.localhost", "*.e"]))
def test_a_wildcard_stands_for_hosts_below(name: str, prefix: str) -> None:
    """It fits the hosts that end with the domain, with any port, and not the domain itself."""
    host = parse_normalized_named(name).domain.partition(":")[0]
    assert matched_length(name, prefix) == (len(host) if host.endswith(prefix[1:]) else None)


@given(st.lists(HOSTS | st.builds("{}/{}".format, HOSTS, PATHS), min_size=1, max_size=6, unique=True), NAMES)
def test_the_longest_prefix_counts(prefixes: list[str], name: str) -> None:
    """Of all entries that fit the one with the longest prefix is found, in whatever order they stand."""
    for order in (prefixes, prefixes[::-1]):
        found = configured("\n".join(f"[[registry]]\nlocation = '{one}'" for one in order)).find_registry(name)
        fitting = [one for one in prefixes if matched_length(name, one) is not None]
        assert (found.prefix if found else None) == max(fitting, key=len, default=None)


CONF = f"""
[[registry]]
prefix = "p.example/team"
location = "q.example:5000/group"
[[registry.mirror]]
location = "m1.example/copy"
[[registry.mirror]]
location = "m2.example"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.example"
pull-from-mirror = "tag-only"

[[registry]]
location = "d.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m4.example"

[[registry]]
prefix = "*.wild.example"

[[registry]]
prefix = "docker.io"
location = "hub.example/cache"
insecure = true

[[registry]]
location = "docker.io/team/secret"
blocked = true

[[registry]]
location = "i.example"
insecure = true
[[registry.mirror]]
location = "docker.io/team/secret"

[[registry]]
prefix = "j.example"
location = "docker.io/team/secret/more"
{"#" * 10}
"""

PULLED = {
    "p.example/team/app:1": ["m1.example/copy/app:1", "m3.example/app:1", "q.example:5000/group/app:1"],
    f"p.example/team/app@{DIGEST}": [
        f"m1.example/copy/app@{DIGEST}",
        f"m2.example/app@{DIGEST} insecure",
        f"q.example:5000/group/app@{DIGEST}",
    ],
    "p.example/teams/app:1": ["p.example/teams/app:1"],
    "d.example/app:1": ["d.example/app:1"],
    f"d.example/app@{DIGEST}": [f"m4.example/app@{DIGEST}", f"d.example/app@{DIGEST}"],
    "a.b.wild.example:80/app:1": ["a.b.wild.example:80/app:1"],
    "busybox:1": ["hub.example/cache/library/busybox:1 insecure"],
    "i.example/app:1": ["i.example/app:1 insecure"],  # a mirror that is blocked by its own name is left out
}


@pytest.mark.parametrize("name", PULLED)
def test_where_an_image_is_pulled_from(name: str) -> None:
    """Mirrors by their rules and in their order, then the location; each under the name that it has there."""
    assert places(configured(CONF), name) == PULLED[name]


@pytest.mark.parametrize("name", ["team/secret:1", f"docker.io/team/secret/x@{DIGEST}", "j.example/x:1"])
def test_what_is_blocked(name: str) -> None:
    """What is blocked is pulled from nowhere, and what leads only there neither; the error names entry and file."""
    with pytest.raises(BlockedRegistryError, match=r"'docker.io/team/secret' in 0.conf"):
        configured(CONF).pull_sources(parse_normalized_named(name))


def test_where_an_image_is_pushed_to() -> None:
    """A push goes to the name itself: no mirror, no other location; what is blocked is not pushed to."""
    configuration = configured(CONF)
    for name, insecure in (("p.example/team/app:1", False), ("i.example/x:1", True), ("none.example/x:1", False)):
        endpoint = configuration.push_endpoint(parse_normalized_named(name))
        assert (str(endpoint.reference), endpoint.insecure) == (name, insecure)
    with pytest.raises(BlockedRegistryError):
        configuration.push_endpoint(parse_normalized_named("team/secret:1"))


@pytest.mark.parametrize(
    ("location", "name"), [("docker.io", "p.example/x:1"), ("q", "p.example/x:1"), ("q.example/X", "p.example/x:1")]
)
def test_a_location_that_makes_no_name(location: str, name: str) -> None:
    """A location gives the name of an image in full, or an error with the file; abbreviations are for people."""
    configuration = configured(f"[[registry]]\nprefix = 'p.example'\nlocation = '{location}'")
    with pytest.raises(
        InvalidConfigurationError, match=r"0.conf: \$.registry: location '.*expected that p.example/x:1 becomes"
    ):
        configuration.pull_sources(parse_normalized_named(name))


def test_a_later_file_replaces_an_entry() -> None:
    """Entries are merged by prefix, the later one whole; within a file the first counts."""
    found = configured(
        "[[registry]]\nlocation = 'a.example'\ninsecure = true\n[[registry.mirror]]\nlocation = 'm.example'\n"
        "[[registry]]\nlocation = 'b.example'\n[[registry]]\nprefix = 'b.example'\nlocation = 'c.example'\n",
        "[[registry]]\nprefix = 'a.example'\nlocation = 'd.example'\n",
    )
    assert [(one.prefix, one.location, one.insecure, one.mirrors, one.source) for one in found.registries] == [
        ("a.example", "d.example", False, (), "1.conf"),
        ("b.example", "b.example", False, (), "0.conf"),
    ]


@pytest.mark.parametrize("given", [None, True, False])
def test_what_a_call_says_of_certificates_wins(tmp_path: Path, given: bool | None) -> None:  # noqa: FBT001
    """docker_insecure_skip_tls_verify, where it is set, holds for mirrors, registry and pushes."""
    sys = SystemContext(
        system_registries_conf_path=str(write(tmp_path / "x.conf", CONF)),
        system_registries_conf_dir_path="/dev/null",
        docker_insecure_skip_tls_verify=given,
    )
    named = parse_normalized_named(f"p.example/team/app@{DIGEST}")
    expected = [False, True, False] if given is None else [given] * 3
    assert [one.insecure for one in registries.pull_sources(named, sys)] == expected
    assert registries.push_endpoint(named, sys).insecure == bool(given)
    found = registries.find_registry("i.example", sys)
    assert found is not None
    assert found.insecure


def test_credentials_of_a_call_are_for_its_registry() -> None:
    """A mirror with another host gets neither the credentials nor the token that the call has."""
    sys = SystemContext(
        docker_auth_config=DockerAuthConfig(username="u", identity_token=SECRET), docker_bearer_registry_token=SECRET
    )
    named = parse_normalized_named("p.example/team/app:1")
    other, *_ = configured(CONF).pull_sources(named)
    (same,) = configured().pull_sources(named)
    elsewhere = other.context_for(named, sys)
    assert elsewhere is not None
    assert (elsewhere.docker_auth_config, elsewhere.docker_bearer_registry_token) == (None, None)
    assert same.context_for(named, sys) is sys
    assert other.context_for(named, None) is None
