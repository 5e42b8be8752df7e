"""Mount options as data: what each name of the specification changes."""

from __future__ import annotations

import pytest

from ocikit.errors import ValidationError
from ocikit.runtime.plan import mount_options
from ocikit.runtime.plan.mount_options import NODEV, NOEXEC, NOSUID, READ_ONLY

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


def test_every_option_of_the_specification_is_known() -> None:
    """The table has the names of the specification, and nothing of it is taken for an option of a file system."""
    words = """
        async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
        noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
        relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro
        rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave
        strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap
    """
    assert tuple(sorted(words.split())) == mount_options.NAMES
    for name in mount_options.NAMES:
        assert parse(name).data == (), name


def test_clearing_an_access_time_is_for_that_value_only() -> None:
    """Only "relatime" asks for what remains; "atime" takes "noatime" away, and "norelatime" nothing."""
    assert parse("atime").clear == 0x10
    assert parse("nostrictatime").clear == 0x20
    assert parse("norelatime").clear == 0
    assert parse("relatime").clear == ATIME_FIELD
    assert parse("noatime", "atime").set == 0


def test_what_a_bind_loses() -> None:
    """As soon as one attribute of a bind mount is given, those that are not given are cleared, as mount(2) does."""
    every = NODEV | NOEXEC | NOSUID | READ_ONLY | 0x20_0000
    assert parse("bind").implied_clear == 0
    assert parse("bind", "ro").implied_clear == every & ~READ_ONLY
    assert parse("bind", "rw").implied_clear == every
    assert parse("bind", "nodiratime").implied_clear == every | ATIME_FIELD
    assert parse("bind", "noatime").implied_clear == every | ATIME_FIELD | 0x80


@pytest.mark.parametrize(
    ("option", "data"),
    [
        ("size=64k,mode=755", ("size=64k", "mode=755")),
        ('context="u:r:t:s0:c1,c2",nosharecache', ("context=u:r:t:s0:c1,c2", "nosharecache")),
        ("lowerdir=/a:/b", ("lowerdir=/a:/b",)),
        (",size=1m,", ("size=1m",)),
    ],
)
def test_options_in_one_string(option: str, data: tuple[str, ...]) -> None:
    """Callers that join options of a file system by commas are understood; between quotes a comma is a comma."""
    assert parse(option).data == data


def test_owners_are_asked_for_in_three_ways() -> None:
    """Mapped owners, for one mount or for all below, by the mappings of the configuration or in crun's own words."""
    assert parse("bind").owners is None
    assert parse("idmap").owners is False
    assert parse("idmap", "ridmap").owners is True
    assert parse("idmap=uids=0-1-10;gids=0-2-10").owners_text == "uids=0-1-10;gids=0-2-10"


def test_labels_do_not_replace_labels() -> None:
    """The label of all mounts is for those that say nothing themselves."""
    assert mount_options.labelled(("size=1m",), "a:b:c") == ("size=1m", "context=a:b:c")
    assert mount_options.labelled(("context=x",), "a:b:c") == ("context=x",)
    assert mount_options.labelled(("size=1m",), "") == ("size=1m",)


def test_an_empty_option_is_an_error() -> None:
    """A hole in the list is a mistake of whoever wrote it, and its place is told."""
    with pytest.raises(ValidationError, match=r"\$\.mounts\[0\]\.options\[1\]"):
        parse("ro", "")
