"""Lets requests in, or answers with the challenge that says what is missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from ocikit._tuples import NamedTuple
from ocikit.testing.access import actions_of, basic_credentials, has_anonymous_rights, is_user, needed
from ocikit.testing.messages import Refusal
from ocikit.testing.options import BasicAuth, BearerAuth

if TYPE_CHECKING:
    from ocikit.testing.access import Scope
    from ocikit.testing.site import Request
    from ocikit.testing.tokens import Token, TokenServer

__all__ = ["Caller", "Gate"]


class Caller(NamedTuple):
    """Who sends a request, as far as can be told from what they show."""

    #: What they show.
    scheme: Literal["none", "basic", "bearer", "other"]
    #: Who they say they are, or whose token it is.
    user: str | None = None
    #: The name of the token in records; None for tokens that were not handed out here.
    token: Token | None = None
    password: str | None = None


class Gate:
    """Who may come in, and to what.

    Args:
        auth: How users prove who they are; None: they need not.
        tokens: The token server, with :class:`BearerAuth`.
        url: Where the registry is.
    """

    def __init__(self, auth: BasicAuth | BearerAuth | None, tokens: TokenServer | None, url: str) -> None:
        self._auth = auth
        self._tokens = tokens
        self._url = url

    def caller(self, authorization: str | None) -> Caller:
        """Return who sends a request."""
        if authorization is None:
            return Caller("none")
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "basic":
            user, password = basic_credentials(value) or (None, None)
            return Caller("basic", user, password=password)
        if scheme.lower() == "bearer":
            token = self._tokens.find(value.strip()) if self._tokens else None
            return Caller("bearer", token.user if token else None, token)
        return Caller("other")

    def admit(self, request: Request) -> None:
        """Let a request in.

        Raises:
            Refusal: It is not let in; the answer says what is missing.
        """
        scope = needed(request.route.kind, request.head.method, request.route.repository)
        if isinstance(self._auth, BasicAuth):
            self._admit_basic(self._auth, request.caller, scope)
        elif isinstance(self._auth, BearerAuth):
            self._admit_bearer(self._auth, request.caller, scope)

    def may_read(self, caller: Caller, repository: str) -> bool:
        """Tell whether a caller, who was let in, may also read another repository: to mount a blob of it."""
        if isinstance(self._auth, BasicAuth):
            return "pull" in actions_of(self._auth, caller.user, "repository", repository)
        if isinstance(self._auth, BearerAuth):
            return bool(caller.token and "pull" in caller.token.grants.get(("repository", repository), ()))
        return True

    def _admit_basic(self, auth: BasicAuth, caller: Caller, scope: Scope | None) -> None:
        known = caller.user is not None and is_user(auth, caller.user, caller.password or "")
        if caller.scheme != "none" and not known:
            raise self._basic_challenge(auth, "wrong user or password")
        user = caller.user if known else None
        if scope is None:
            if known or has_anonymous_rights(auth):
                return
        elif scope.actions <= actions_of(auth, user, scope.kind, scope.name):
            return
        if known:
            raise Refusal(403, "DENIED", f"user {user!r} may not do this", detail=str(scope))
        raise self._basic_challenge(auth, "credentials are needed")

    def _basic_challenge(self, auth: BasicAuth, reason: str) -> Refusal:
        return Refusal(
            401, "UNAUTHORIZED", reason, headers=[("WWW-Authenticate", f'Basic realm="{auth.realm}", charset="UTF-8"')]
        )

    def _admit_bearer(self, auth: BearerAuth, caller: Caller, scope: Scope | None) -> None:
        token = caller.token
        if token is None:
            error = "invalid_token" if caller.scheme == "bearer" else None
            raise self._bearer_challenge(auth, scope, error, "a token is needed")
        if token.expires <= time.monotonic():
            raise self._bearer_challenge(auth, scope, "invalid_token", "the token has expired")
        if scope and not scope.actions <= token.grants.get((scope.kind, scope.name), frozenset()):
            raise self._bearer_challenge(auth, scope, "insufficient_scope", "the token is not good for this")

    def _bearer_challenge(self, auth: BearerAuth, scope: Scope | None, error: str | None, reason: str) -> Refusal:
        words = [f'realm="{auth.realm or f"{self._url}/token"}"', f'service="{auth.service}"']
        words += [f'scope="{scope}"'] if scope else []
        words += [f'error="{error}"'] if error else []
        return Refusal(401, "UNAUTHORIZED", reason, headers=[("WWW-Authenticate", f"Bearer {','.join(words)}")])
