"""Mount options as data: what each name of the specification changes."""

from __future__ import annotations

import pytest

from ocikit.errors import UnsupportedFieldError
from ocikit.runtime import mount_options
from ocikit.runtime.mount_options import NODEV, NOEXEC, NOSUID, READ_ONLY

ATIME_FIELD = 0x70


def parse(*options: str) -> mount_options.MountOptions:
    """Parse options as those of the first mount."""
    return mount_options.parse(options, "$.mounts[0].options")


def test_attributes_add_up() -> None:
    """Attributes of one mount accumulate, and what no table knows goes to the file system."""
    parsed = parse("nosuid", "noexec", "nodev", "ro", "mode=755", "size=65536k")
    assert parsed.set == NOSUID | NOEXEC | NODEV | READ_ONLY
    assert parsed.clear == 0
    assert parsed.data == ("mode=755", "size=65536k")
    assert parsed.bind is None


@pytest.mark.parametrize(
    ("options", "to_set", "to_clear"),
    [
        (("ro", "rw"), 0, READ_ONLY),
        (("rw", "ro"), READ_ONLY, 0),
        (("nosuid", "suid"), 0, NOSUID),
        (("noatime",), 0x10, ATIME_FIELD),
        (("noatime", "relatime"), 0, ATIME_FIELD),
        (("strictatime",), 0x20, ATIME_FIELD),
        (("noatime", "strictatime"), 0x20, ATIME_FIELD),
        (("nodiratime", "diratime"), 0, 0x80),
        (("nosymfollow",), 0x20_0000, 0),
    ],
)
def test_the_last_word_counts(options: tuple[str, ...], to_set: int, to_clear: int) -> None:
    """Of contradicting options the last one holds; access times are one value in a field of several bits."""
    parsed = parse(*options)
    assert (parsed.set, parsed.clear) == (to_set, to_clear)


def test_recursive_attributes_are_apart() -> None:
    """Options with a leading "r" concern the mounts below as well, and only those options do."""
    parsed = parse("rbind", "rro", "nosuid")
    assert parsed.bind is True
    assert (parsed.set, parsed.recursive_set) == (NOSUID, READ_ONLY)


def test_relatime_is_not_a_recursive_elatime() -> None:
    """Names that happen to begin with "r" are themselves."""
    parsed = parse("relatime", "rw", "ro")
    assert (parsed.recursive_set, parsed.recursive_clear, parsed.data) == (0, 0, ())


def test_propagation_keeps_its_order() -> None:
    """Propagation types are applied one after the other, as given."""
    assert parse("rslave", "shared").propagation == ((mount_options.SLAVE, True), (mount_options.SHARED, False))


def test_rbind_after_bind_is_recursive() -> None:
    """Asking for both kinds of bind asks for the larger one."""
    assert parse("bind", "rbind").bind is True
    assert parse("rbind", "bind").bind is True
    assert parse("bind").bind is False


@pytest.mark.parametrize("option", ["tmpcopyup", "idmap", "ridmap", "idmap=uids=0-1-1", "remount", "iversion"])
def test_what_would_be_ignored_is_refused(option: str) -> None:
    """An option that is known and not acted on is an error that names its place."""
    with pytest.raises(UnsupportedFieldError, match=r"\$\.mounts\[0\]\.options\[1\]"):
        parse("ro", option)
