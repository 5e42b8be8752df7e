"""The token server: who asks gets a token for what they may do, as in Docker's token authentication."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from ocikit._tuples import NamedTuple
from ocikit.testing.access import (
    Grants,
    actions_of,
    basic_credentials,
    has_anonymous_rights,
    is_user,
    parse_scope,
)
from ocikit.testing.messages import Refusal, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.testing.options import BearerAuth
    from ocikit.testing.site import Request

__all__ = ["Token", "TokenServer"]

#: The oldest token goes when there are more.
_MAX_TOKENS: Final = 10_000
_MAX_SCOPES: Final = 100
_MAX_FORM: Final = 1 << 20


class Token(NamedTuple):
    """What is known of a token."""

    #: How records name it: never the token itself.
    id: str
    user: str | None
    grants: Grants
    #: Of the monotonic clock.
    expires: float


class TokenServer:
    """Hands out tokens and knows them again."""

    def __init__(self, auth: BearerAuth) -> None:
        self._auth = auth
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}
        self._identities = dict(auth.identity_tokens)
        self._count = 0

    def find(self, text: str) -> Token | None:
        """Return a token that was handed out here, expired or not."""
        with self._lock:
            return self._tokens.get(text)

    def expire(self) -> None:
        """Make every token worthless that was handed out."""
        with self._lock:
            self._tokens = {text: token._replace(expires=0.0) for text, token in self._tokens.items()}

    def answer(self, request: Request) -> Response:
        """Answer a request for a token."""
        if request.head.method == "POST":
            return self._to_form(request)
        if request.head.method != "GET":
            raise Refusal(405, "UNSUPPORTED", "tokens are asked for with GET or POST", headers=[("Allow", "GET, POST")])
        user = self._user_of(request.head.headers.get("authorization"))
        scopes = [value for key, value in request.head.query if key == "scope"]
        document, token = self._issue(user, scopes)
        document = dict.fromkeys(self._auth.token_keys, token) | document
        if request.head.parameter("offline_token") in {"true", "1"} and user is not None:
            document["refresh_token"] = self._identity(user)
        return json_response(document, headers=[("Cache-Control", "no-store")])

    def _user_of(self, authorization: str | None) -> str | None:
        if authorization is None:
            if not has_anonymous_rights(self._auth):
                raise self._denied("no credentials")
            return None
        scheme, _, value = authorization.partition(" ")
        found = basic_credentials(value) if scheme.lower() == "basic" else None
        if not found or not is_user(self._auth, *found):
            raise self._denied("wrong user or password")
        return found[0]

    def _denied(self, reason: str) -> Refusal:
        return Refusal(
            401, "UNAUTHORIZED", f"no token: {reason}", headers=[("WWW-Authenticate", 'Basic realm="token server"')]
        )

    def _to_form(self, request: Request) -> Response:
        try:
            pairs = parse_qsl(request.read_all(_MAX_FORM).decode(), max_num_fields=_MAX_SCOPES)
        except ValueError as error:
            raise Refusal(400, "UNSUPPORTED", "expected a form (application/x-www-form-urlencoded)") from error
        form = dict(pairs)
        kind = form.get("grant_type")
        if kind == "refresh_token":
            with self._lock:
                user = self._identities.get(form.get("refresh_token", ""))
            if user is None:
                raise self._denied("unknown refresh_token")
        elif kind == "password":
            user = form.get("username", "")
            if not is_user(self._auth, user, form.get("password", "")):
                raise self._denied("wrong user or password")
        else:
            raise Refusal(400, "UNSUPPORTED", "expected a grant_type of refresh_token or password")
        document, token = self._issue(user, [value for key, value in pairs if key == "scope"])
        document |= {"access_token": token, "scope": form.get("scope", "")}
        if kind == "refresh_token" or form.get("access_type") == "offline":
            document["refresh_token"] = form.get("refresh_token") or self._identity(user)
        return json_response(document, headers=[("Cache-Control", "no-store")])

    def _issue(self, user: str | None, scopes: Iterable[str]) -> tuple[dict[str, object], str]:
        words = [word for scope in scopes for word in scope.split()]
        if len(words) > _MAX_SCOPES:
            raise Refusal(400, "UNSUPPORTED", f"expected at most {_MAX_SCOPES} scopes, found {len(words)}")
        grants: Grants = {}
        for scope in filter(None, map(parse_scope, words)):
            allowed = actions_of(self._auth, user, scope.kind, scope.name)
            given = allowed if "*" in scope.actions else allowed & scope.actions
            grants[scope.kind, scope.name] = grants.get((scope.kind, scope.name), frozenset()) | given
        text = secrets.token_urlsafe(32)
        with self._lock:
            self._count += 1
            token = Token(f"token-{self._count}", user, grants, time.monotonic() + self._auth.lifetime)
            self._tokens[text] = token
            while len(self._tokens) > _MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
        said = self._auth.expires_in
        document: dict[str, object] = {}
        if said != 0:
            document["expires_in"] = max(int(self._auth.lifetime), 1) if said is None else said
            document["issued_at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return document, text

    def _identity(self, user: str) -> str:
        """Return an identity token for a user: always the same, so that there are no more than users."""
        with self._lock:
            for text, owner in self._identities.items():
                if owner == user:
                    return text
            text = secrets.token_urlsafe(32)
            self._identities[text] = user
            return text
