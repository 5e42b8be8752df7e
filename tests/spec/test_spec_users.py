"""Names of users: strict parsing of passwd and group files, and of ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit.spec import GroupEntry, PasswdEntry, UserDatabase, parse_id


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("1", 1), ("0010", 10), ("4294967294", 4294967294)])
def test_ids_are_decimal_digits(text: str, number: int) -> None:
    """Digits are read in base ten, whatever they begin with."""
    assert parse_id(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", " 1", "1 ", "1\n", "0x10", "1e3", "1_000", "1.0", "root", "\u0661", "\u00b2"],
)
def test_nothing_else_is_an_id(text: str) -> None:
    """What is no id is never taken for one, least of all for 0."""
    assert parse_id(text) is None


@pytest.mark.parametrize("text", ["4294967295", "4294967296", "18446744073709551616", "9" * 5000])
def test_ids_that_cannot_be_set_are_refused(text: str) -> None:
    """An id does not wrap around, and 2**32 - 1, which means "no change" to the kernel, is none."""
    assert parse_id(text) is None


@given(st.text(max_size=12))
def test_an_id_is_what_it_says(text: str) -> None:
    """An id that is accepted, written out again, is the text without leading zeros (CVE-2026-30892)."""
    number = parse_id(text)
    if number is not None:
        assert str(number) == (text.lstrip("0") or "0")


PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# comment:x:1:1::/:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\r

+nis:x:2:2::/:
-:::::::
short:x
noid:x:::no ids:/:/bin/sh
negative:x:-1:0::/:/bin/sh
hex:x:0x0:0::/:/bin/sh
spaces:x: 0:0::/:/bin/sh
nochange:x:4294967295:0::/:/bin/sh
long:x:1000:1000:a:b:c:d
:x:1000:1000::/:/bin/sh
four:x:4:5
app:x:1000:1001::/home/app:/bin/sh
app:x:0:0::/:/bin/sh
again:x:1000:7::/:/bin/sh
bytes\xff:x:77:78::/\xff:"""

GROUP = b"""root:x:0:
wheel:x:10:root,app
audio:x:63:app, other
audio2:x:63:app
bad:x:ten:app
short:x
members:x:11:,,app,
long:x:12:app:x
three:x:13"""


def test_well_formed_lines_are_read_and_others_skipped() -> None:
    """Lines that are not as passwd(5) describes give no user, comments and NIS entries neither."""
    names = [user.name for user in UserDatabase.parse(passwd=PASSWD).users]
    assert names == ["root", "daemon", "four", "app", "app", "again", "bytes\udcff"]


def test_the_first_of_equals_counts() -> None:
    """As everywhere on Unix, a later entry of the same name or id is never found."""
    users = UserDatabase.parse(passwd=PASSWD)
    app, daemon = users.user("app"), users.user("daemon")
    assert app is not None
    assert daemon is not None
    assert (app.uid, app.gid, app.home, app.shell) == (1000, 1001, "/home/app", "/bin/sh")
    assert (daemon.home, daemon.shell) == ("/usr/sbin", "/usr/sbin/nologin")
    assert users.user(1000) == app
    assert users.user("four") == PasswdEntry(name="four", uid=4, gid=5)


def test_names_and_ids_are_not_confused() -> None:
    """A string is a name and a number an id: a user called 0 is not root."""
    users = UserDatabase.parse(passwd=b"0:x:5:5::/:\nzero:x:0:0::/:", group=b"7:x:8:")
    assert users.user("0") == PasswdEntry(name="0", uid=5, gid=5, home="/")
    assert users.user(0) == PasswdEntry(name="zero", uid=0, gid=0, home="/")
    assert users.group("7") == GroupEntry(name="7", gid=8)
    assert users.group(7) is None


def test_groups_have_members() -> None:
    """A user's groups are those that list it, each id once, malformed lines skipped."""
    users = UserDatabase.parse(passwd=PASSWD, group=GROUP)
    assert users.groups_of("app") == (10, 63, 11)
    assert users.groups_of("root") == (10,)
    assert users.groups_of("other") == (63,)
    assert users.groups_of("") == ()
    assert users.group("three") == GroupEntry(name="three", gid=13)
    assert users.group("long") is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_can_be_parsed(passwd: bytes, group: bytes) -> None:
    """Files of an image may hold anything: it is read or skipped, never an error."""
    users = UserDatabase.parse(passwd=passwd, group=group)
    for user in users.users:
        assert users.user(user.name) is not None
        assert 0 <= user.uid < 2**32 - 1
