"""Tokens of registries: asked for once for each scope, shared by all threads until they expire (distribution, token).

Credentials are shown to the token server that the registry names and to nobody else.
"""

from __future__ import annotations

import base64
import datetime as dt
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from attrs import field, frozen

from ocikit._fs import ProcessLocks
from ocikit.errors import ParseError, RegistryAccessError, RegistryError
from ocikit.image.docker.refusals import MOST_BYTES, error_of
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.image.context import DockerAuthConfig

    #: Asks: method, address, headers, body; returns status and body.
    Ask = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]

__all__ = ["Grant", "TokenStore", "basic"]

# A token that says nothing of its life is good for this long, in seconds (distribution, token); none for less.
_LEAST_LIFE: Final = 60
# What is asked for anew before it expires on the way.
_MARGIN: Final = 10
# Of whoever claims more, or less than nothing, nothing is believed.
_LONGEST_LIFE: Final = 10 * 365 * 86400
# How many are asked for at the same time, and how many are kept.
_MOST_AT_ONCE: Final = 64
_MOST_KEPT: Final = 4096
_NOT_OF_THE_REGISTRY: Final = frozenset({400, 404, 405, 410})
_CLIENT: Final = "ocikit"


@frozen(kw_only=True)
class Grant:
    """What a token is asked for.

    Attributes:
        realm: The address of the token server.
        service: What it calls the registry.
        scopes: What is to be allowed, such as ``repository:library/busybox:pull``.
        auth: Who asks; None for anybody.
    """

    realm: str
    service: str
    scopes: tuple[str, ...]
    auth: DockerAuthConfig | None = field(default=None, repr=False)


@frozen(kw_only=True)
class _Token:
    value: str = field(repr=False)
    until: float


class TokenStore:
    """The tokens of this process."""

    def __init__(self) -> None:
        self._tokens: dict[Grant, _Token] = {}
        self._guard = ProcessLocks()
        # A registry makes up as many scopes as it likes: a lock stands for several.
        self._asking = ProcessLocks(_MOST_AT_ONCE)

    def token(self, grant: Grant, ask: Ask) -> str:
        """Return a token, one that is there already or a new one; of several threads one asks.

        Args:
            grant: What it is for.
            ask: Sends a request.

        Raises:
            RegistryError: The token server refuses, or answers with nonsense.
        """
        with self._asking.of(grant):
            found = self._tokens.get(grant)
            if found is None or found.until <= time.monotonic():
                found = _asked(grant, ask)
                self._keep(grant, found)
            return found.value

    def _keep(self, grant: Grant, token: _Token) -> None:
        with self._guard.of():
            if len(self._tokens) >= _MOST_KEPT:
                now = time.monotonic()
                left = [(one, kept) for one, kept in self._tokens.items() if kept.until > now]
                # Where none has expired, the oldest ones go.
                self._tokens = dict(left[-_MOST_KEPT // 2 :])
            self._tokens[grant] = token

    def forget(self, grant: Grant, value: str) -> None:
        """Forget a token that the registry has refused.

        Args:
            grant: What it was for.
            value: The token: another thread may have a newer one.
        """
        with self._guard.of():
            found = self._tokens.get(grant)
            if found is not None and found.value == value:
                del self._tokens[grant]


def basic(auth: DockerAuthConfig) -> str:
    """Return the header that shows credentials (RFC 7617).

    Args:
        auth: The credentials.
    """
    return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def _asked(grant: Grant, ask: Ask) -> _Token:
    what = f"token of {urlsplit(grant.realm).netloc.rpartition('@')[2]} for {', '.join(grant.scopes) or 'login'}"
    auth = grant.auth
    began = time.monotonic()
    if auth is not None and auth.identity_token:
        form = {"grant_type": "refresh_token", "service": grant.service, "client_id": _CLIENT}
        form |= {"refresh_token": auth.identity_token, "scope": " ".join(grant.scopes)}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = ask("POST", grant.realm, headers, urlencode(form).encode())
    else:
        query = [("service", grant.service)] if grant.service else []
        query += [("scope", scope) for scope in grant.scopes]
        query += [("account", auth.username)] if auth is not None and auth.username else []
        joint = "&" if "?" in grant.realm else "?"
        headers = {"Authorization": basic(auth)} if auth is not None and auth.username else {}
        status, body = ask("GET", f"{grant.realm}{joint}{urlencode(query)}", headers, None)
    if status != 200:
        error = error_of(what, status, body)
        # What the token server does not have says nothing of what the registry has.
        is_about_it = status in _NOT_OF_THE_REGISTRY
        raise RegistryError(what, f"its token server says: {error.answer}") if is_about_it else error
    return _read(body, began, what)


def _read(body: bytes, began: float, what: str) -> _Token:
    try:
        document = loads(body, max_bytes=MOST_BYTES)
    except (ParseError, ValueError) as error:
        raise RegistryError(what, f"the token server answers with something else than a token: {error}") from error
    members = document if isinstance(document, dict) else {}
    value = members.get("token") or members.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryAccessError(what, "the token server answers without a token")
    life = members.get("expires_in")
    seconds = 0.0
    if isinstance(life, int | float) and not isinstance(life, bool) and 0 <= life <= _LONGEST_LIFE:
        seconds = float(life)
    issued = _issued(members.get("issued_at"))
    left = max(seconds, _LEAST_LIFE) - issued
    return _Token(value=value, until=began + max(left - _MARGIN, 0))


def _issued(text: object) -> float:
    """Return how long ago a token was made, as far as that can be told and believed."""
    try:
        made = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return 0.0
    if made is None or made.tzinfo is None:
        return 0.0
    age = (dt.datetime.now(dt.UTC) - made).total_seconds()
    return age if 0 < age < _LEAST_LIFE else 0.0
