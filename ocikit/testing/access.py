"""Who may do what: users, rights and scopes, and the challenges for those who may not (RFC 7617, RFC 6750). Pure."""

from __future__ import annotations

import base64
import fnmatch
import hmac
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.testing.options import BasicAuth, BearerAuth

__all__ = ["ACTIONS", "Grants", "Scope", "actions_of", "basic_credentials", "is_user", "needed", "parse_scope"]

ACTIONS: Final = frozenset({"pull", "push", "delete"})
#: What a listing of all repositories needs.
CATALOG: Final = ("registry", "catalog")
_EVERYTHING: Final = frozenset({*ACTIONS, "*"})
_BY_METHOD: Final = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}

#: Actions by kind and name: what a token is good for.
Grants = dict[tuple[str, str], frozenset[str]]


class Scope(NamedTuple):
    """What is asked for: actions on something, such as ``repository:team/app:pull,push``."""

    kind: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        # In the order in which others write them.
        words = [one for one in ("pull", "push", "delete", "*") if one in self.actions]
        return f"{self.kind}:{self.name}:{','.join(words)}"


def parse_scope(text: str) -> Scope | None:
    """Read a scope; None: it is none."""
    kind, colon, rest = text.partition(":")
    name, last, actions = rest.rpartition(":")
    return Scope(kind, name, frozenset(actions.split(","))) if colon and last and kind and name else None


def needed(kind: str, method: str, repository: str | None) -> Scope | None:
    """Return what a request needs; None: to be somebody is enough."""
    if kind == "catalog":
        return Scope(*CATALOG, frozenset({"*"}))
    if repository is None:
        return None
    if kind.startswith("upload"):
        return Scope("repository", repository, frozenset({"pull", "push"}))
    action = _BY_METHOD.get(method)
    return Scope("repository", repository, frozenset({action} if action else {"pull", "push"}))


def actions_of(auth: BasicAuth | BearerAuth, user: str | None, kind: str, name: str) -> frozenset[str]:
    """Return everything that a user (None: anybody) may do with something."""
    if (kind, name) == CATALOG:
        return _EVERYTHING if user is not None else frozenset()
    if kind != "repository":
        return frozenset()
    found = {"pull"} if auth.anonymous_pull else set()
    if auth.rights is None:
        found |= ACTIONS if user is not None else set()
    else:
        found |= _listed(auth.rights.get("", {}), name)
        found |= _listed(auth.rights.get(user, {}), name) if user else set()
    return frozenset({*found, "*"} if found >= ACTIONS else found)


def _listed(rights: Mapping[str, str], name: str) -> set[str]:
    found: set[str] = set()
    for pattern, actions in rights.items():
        if fnmatch.fnmatchcase(name, pattern):
            words = {one.strip() for one in actions.split(",")}
            found |= ACTIONS if "*" in words else words & ACTIONS
    return found


def has_anonymous_rights(auth: BasicAuth | BearerAuth) -> bool:
    """Tell whether there is anything that anybody may do."""
    return auth.anonymous_pull or bool(auth.rights and auth.rights.get(""))


def basic_credentials(value: str) -> tuple[str, str] | None:
    """Read the credentials of ``Authorization: Basic …`` (without the first word); None: there are none in it."""
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None


def is_user(auth: BasicAuth | BearerAuth, user: str, password: str) -> bool:
    """Tell whether this is the password of a user."""
    expected = auth.users.get(user)
    return expected is not None and hmac.compare_digest(expected.encode(), password.encode())
