"""User names of a container: the text of its passwd and group files, parsed.

Nothing here opens the files: where they are and how they are read safely below a root is
the caller's business. Parsing is strict, because a wrong id is a wrong owner: an id is
decimal digits and nothing else, and lines that are not as passwd(5) and group(5) describe
are skipped whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GroupEntry", "PasswdEntry", "UserDatabase", "UserLookup", "parse_id"]

# The highest id that may be set: 2**32 - 1 means "leave it as it is" to setresuid(2), so a process
# that was to become that user would stay root.
_MAX_ID: Final = 2**32 - 2

_DIGITS: Final = frozenset("0123456789")


def parse_id(text: str) -> int | None:
    """A user or group id in decimal digits; None for anything else, or for an id that cannot be set."""
    if not text or not _DIGITS.issuperset(text) or len(text) > 20:
        return None
    number = int(text)
    return number if number <= _MAX_ID else None


@frozen(kw_only=True)
class PasswdEntry:
    """A user."""

    #: Name of the user.
    name: str
    #: Id of the user.
    uid: int
    #: Id of the user's primary group.
    gid: int
    #: Home directory; may be empty.
    home: str = ""
    #: Login shell; may be empty.
    shell: str = ""


@frozen(kw_only=True)
class GroupEntry:
    """A group."""

    #: Name of the group.
    name: str
    #: Id of the group.
    gid: int
    #: Names of users who are in the group beside those whose primary group it is.
    members: tuple[str, ...] = ()


class UserLookup(Protocol):
    """Where the names of a container are looked up."""

    def user(self, name_or_uid: str | int) -> PasswdEntry | None:
        """The user of that name or id; None when there is none."""

    def group(self, name_or_gid: str | int) -> GroupEntry | None:
        """The group of that name or id; None when there is none."""

    def groups_of(self, name: str) -> tuple[int, ...]:
        """The ids of the groups that have the user as a member, without repetition."""


@frozen(kw_only=True)
class UserDatabase:
    """The users and groups of a container, in the order of its files; the first of equals counts.

    >>> users = UserDatabase.parse(passwd=b"root:x:0:0::/root:/bin/sh", group=b"wheel:x:10:root")
    >>> users.user("root").uid, users.groups_of("root")
    (0, (10,))
    """

    #: The users.
    users: tuple[PasswdEntry, ...] = field(default=())
    #: The groups.
    groups: tuple[GroupEntry, ...] = field(default=())

    @classmethod
    def parse(cls, *, passwd: bytes = b"", group: bytes = b"") -> UserDatabase:
        """Parse the contents of the two files; empty for a file that is not there.

        Malformed lines, comments and NIS entries are skipped. Bytes that are no UTF-8 are
        kept as Python keeps them in file names.
        """
        return cls(users=tuple(_users(passwd)), groups=tuple(_groups(group)))

    def user(self, name_or_uid: str | int) -> PasswdEntry | None:
        """The first user of that name (a string) or id (a number); None when there is none."""
        return next((user for user in self.users if name_or_uid in (user.name, user.uid)), None)

    def group(self, name_or_gid: str | int) -> GroupEntry | None:
        """The first group of that name (a string) or id (a number); None when there is none."""
        return next((group for group in self.groups if name_or_gid in (group.name, group.gid)), None)

    def groups_of(self, name: str) -> tuple[int, ...]:
        """The ids of the groups that have the user as a member, without repetition, in the order of the file."""
        return tuple(dict.fromkeys(group.gid for group in self.groups if name in group.members))


def _lines(data: bytes, least: int, most: int) -> Iterator[list[str]]:
    """The fields of each line that has a name and a plausible number of fields."""
    for line in data.decode(errors="surrogateescape").split("\n"):
        fields = line.strip().split(":")
        if least <= len(fields) <= most and fields[0] and fields[0][0] not in "#+-":
            yield fields


def _users(data: bytes) -> Iterator[PasswdEntry]:
    for fields in _lines(data, 4, 7):
        uid, gid = parse_id(fields[2]), parse_id(fields[3])
        if uid is not None and gid is not None:
            _, home, shell = (fields[4:] + [""] * 3)[:3]
            yield PasswdEntry(name=fields[0], uid=uid, gid=gid, home=home, shell=shell)


def _groups(data: bytes) -> Iterator[GroupEntry]:
    for fields in _lines(data, 3, 4):
        gid = parse_id(fields[2])
        if gid is not None:
            members = fields[3].split(",") if len(fields) == 4 else []
            yield GroupEntry(name=fields[0], gid=gid, members=tuple(filter(None, map(str.strip, members))))
