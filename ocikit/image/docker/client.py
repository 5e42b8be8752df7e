"""A registry as it is talked to: one request at a time, with the right credentials, again when that helps.

Everything of HTTP that distribution-spec 1.1 asks of a client and that all requests have in common is here: schemes,
redirects, challenges, tokens, retries, refusals as errors. What is asked for stands in the modules beside this one.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import field, frozen

from ocikit.errors import CredentialsError, LimitExceededError, RegistryAccessError, RegistryError
from ocikit.image.context import DockerAuthConfig, RetryPolicy
from ocikit.image.credentials import get_credentials
from ocikit.image.docker.addresses import origin_of, resolve_address
from ocikit.image.docker.bounded import Call, waiting
from ocikit.image.docker.challenges import parse_challenges
from ocikit.image.docker.connection import connection_to
from ocikit.image.docker.refusals import MOST_BYTES, error_of
from ocikit.image.docker.retrying import RETRIED, delay_before, seconds_of
from ocikit.image.docker.streaming import Feed
from ocikit.image.docker.tokens import Grant, TokenStore, basic
from ocikit.image.docker.unreachable import Unreachable, unreachable
from ocikit.image.docker.warnings import report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from urllib3 import BaseHTTPResponse

    from ocikit.image.docker.challenges import Challenge
    from ocikit.image.docker.connection import Connection, Opened
    from ocikit.image.docker.endpoint import Endpoint
    from ocikit.image.docker.streaming import Body

__all__ = ["Answer", "RegistryClient"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_tokens = TokenStore()
# How often one request is answered with a challenge: first without a token, then with too little in it.
_MOST_CHALLENGES: Final = 2
_UNAUTHORIZED: Final = 401
# How long what is said with a refusal is waited for, in seconds.
_PATIENCE_SECONDS: Final = 10.0
_PIECE: Final = 256 * 1024


@frozen(kw_only=True)
class Answer:
    """What a registry answered, with its body.

    Attributes:
        status: The status of HTTP.
        headers: The headers; names in any spelling.
        body: The body.
        url: Where it came from.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str


class RegistryClient:
    """Talks to one endpoint about one repository. May be used by several threads.

    Args:
        endpoint: The endpoint.
        actions: What is to be allowed: ``pull``, ``pull,push``, ``*``.
        more: Further scopes, in full.
    """

    def __init__(self, endpoint: Endpoint, actions: str = "pull", *, more: tuple[str, ...] = ()) -> None:
        self.endpoint = endpoint
        #: Whatever is asked here; cancelled, it ends.
        self.call = Call()
        self._found: Connection | None = None
        own = (f"repository:{endpoint.reference.path}:{actions}",) if actions else ()
        self._scopes = (*own, *more)
        self._guard = threading.Lock()
        self._scheme: str | None = None
        self._challenge: Challenge | None = None
        self._auth: DockerAuthConfig | None = None
        self._is_auth_known = False
        #: Whether blobs are sent in pieces; some registries take them only whole.
        self.takes_pieces = True

    @property
    def _connection(self) -> Connection:
        # Not before it is asked: what is wrong with the configuration of a mirror is no reason not to ask the others.
        if self._found is None:
            self._found = connection_to(self.endpoint)
        return self._found

    @property
    def policy(self) -> RetryPolicy:
        """How often something is tried."""
        return self.endpoint.sys.docker_retry if self.endpoint.sys is not None else RetryPolicy()

    @property
    def timeout(self) -> float:
        """How long the registry may be silent, in seconds."""
        return self._connection.timeout

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        expect: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        most: int = MOST_BYTES,
    ) -> Answer:
        """Ask, and read the answer; again, where that may help.

        Args:
            method: The method.
            path: What to ask for: a path after ``/v2/``, or an address in full.
            what: The same in words.
            expect: The statuses that are answers; others are refusals.
            headers: Further headers.
            body: What is sent.
            most: How large the answer may be, in bytes.

        Raises:
            RegistryError: The registry refuses, or cannot be reached.
            LimitExceededError: The answer is too large.
            CredentialsError: The credentials for it cannot be read, or not be shown.
            InvalidConfigurationError: A certificate that is configured for it cannot be used.
        """
        ask = partial(self._authorized, method, path, dict(headers or {}), body, what)
        return self._tried(ask, what, expect, lambda opened: self._read(opened, what, most))

    def open(
        self,
        method: str,
        path: str,
        *,
        what: str,
        expect: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Opened:
        """Ask, and return the answer with its body unread; again, where that may help.

        Args:
            method: As for :meth:`request`.
            path: Likewise.
            what: Likewise.
            expect: Likewise.
            headers: Likewise.
            body: Likewise.

        Raises:
            RegistryError: The registry refuses, or cannot be reached.
        """
        ask = partial(self._authorized, method, path, dict(headers or {}), body, what)
        return self._tried(ask, what, expect, lambda opened: opened)

    def _tried(self, ask: Callable[[], Opened], what: str, expect: Collection[int], use: Callable[[Opened], T]) -> T:
        """Ask until there is an answer that can be used: one count of tries, whatever failed in each."""
        attempt = 1
        while True:
            try:
                opened = ask()
                if opened.response.status in expect:
                    return use(opened)
            except Unreachable as error:
                self.wait(attempt, what, str(error), error)
            else:
                refusal = self._error(what, opened.response)
                if opened.response.status not in RETRIED:
                    raise refusal
                self.wait(attempt, what, refusal.answer, refusal)
            attempt += 1

    def once(
        self,
        method: str,
        path: str,
        *,
        what: str,
        expect: Collection[int] = (200, 201, 202, 204),
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        seconds: float | None = None,
    ) -> Answer:
        """Ask a single time, for whoever has to find out first what came of it.

        Args:
            method: As for :meth:`request`.
            path: Likewise.
            what: Likewise.
            expect: Likewise.
            headers: Likewise.
            body: Likewise.
            seconds: How long all of it may take; None for as long as the registry is not silent for too long.

        Raises:
            Unreachable: There was no answer.
            RegistryError: The registry refuses.
        """
        with waiting(self.call, seconds):
            opened = self._authorized(method, path, dict(headers or {}), body, what)
            if opened.response.status not in expect:
                raise self._error(what, opened.response)
            return self._read(opened, what, MOST_BYTES)

    def wait(self, attempt: int, what: str, reason: str, error: Exception) -> None:
        """Wait before another try, or give up.

        Args:
            attempt: How many tries there were.
            what: What was tried.
            reason: Why it failed.
            error: The failure; a refusal may say for how long the registry wants to be left alone.

        Raises:
            RegistryError: There is no other try.
        """
        if self.call.is_cancelled:
            raise RegistryError(what, "it is not wanted any more") from error
        delay = delay_before(attempt, self.policy, error.retry_after if isinstance(error, RegistryError) else None)
        if isinstance(error, Unreachable) and error.tries is not None and attempt >= error.tries:
            delay = None
        if delay is None:
            if isinstance(error, RegistryError):
                raise error
            tries = f" ({attempt} tries)" if attempt > 1 else ""
            remedy = error.remedy if isinstance(error, Unreachable) else ""
            message = f"{self._connection.host} cannot be reached: {reason}{tries}"
            raise RegistryError(what, message, remedy=remedy or None) from error
        _log.info("%s: %s; again in %.1f s", what, reason, delay)
        self.call.sleep(delay)

    def _authorized(self, method: str, path: str, headers: dict[str, str], body: Body, what: str) -> Opened:
        """Send a request with the credentials that the registry has asked for, and give it what it asks for next."""
        base = f"{self._base(what)}/v2/"
        url = (
            resolve_address(base, path, what, encrypted=not self._connection.is_insecure)
            if "://" in path
            else base + path
        )
        challenge, scopes = self._challenge, self._scopes
        for last in (False,) * _MOST_CHALLENGES + (True,):
            authorization, grant = self._authorization(challenge, scopes, what)
            sent = headers | ({"Authorization": authorization} if authorization and self._is_own(url) else {})
            opened = self._connection.open(method, url, sent, body, call=self.call)
            report(self._connection.host, opened.response.headers.getlist("Warning"))
            # Whoever else says 401 is not the one whose questions are answered.
            is_asked = opened.response.status == _UNAUTHORIZED and not last and self._is_own(opened.url)
            found = self._chosen(opened.response) if is_asked else None
            if found is None:
                return opened
            if grant is not None and authorization:
                _tokens.forget(grant, authorization.partition(" ")[2])
            scopes = tuple(dict.fromkeys((*self._scopes, *found.parameters.get("scope", "").split())))
            if found.scheme == "basic" and authorization:
                return opened  # the credentials were shown, and are not good enough
            self._refusal(opened.response)
            if isinstance(body, Feed):
                self._challenge = found
                raise Unreachable("the registry asks for other credentials in the middle of a stream")
            challenge = self._challenge = found
        raise AssertionError  # the last one returns

    def _authorization(
        self, challenge: Challenge | None, scopes: tuple[str, ...], what: str
    ) -> tuple[str | None, Grant | None]:
        sys = self.endpoint.sys
        if sys is not None and sys.docker_bearer_registry_token:
            return f"Bearer {_as_header(sys.docker_bearer_registry_token)}", None
        if challenge is None:
            return None, None
        auth = self.credentials
        if challenge.scheme == "basic":
            return (basic(auth), None) if auth is not None and auth.username else (None, None)
        realm = challenge.parameters.get("realm", "")
        self._check_realm(realm, what)
        grant = Grant(realm=realm, service=challenge.parameters.get("service", ""), scopes=scopes, auth=auth)
        return f"Bearer {_tokens.token(grant, self._ask)}", grant

    def _check_realm(self, realm: str, what: str) -> None:
        try:
            scheme = origin_of(realm).scheme
        except ValueError:
            scheme = ""
        if scheme not in self._connection.schemes:
            raise RegistryAccessError(
                what, f"the registry names the token server {realm[:200]!r}; expected an address with https"
            )

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        attempt = 1
        while True:
            try:
                # A redirect takes the header with credentials off; those in a body would go along to another server.
                opened = self._connection.open(method, url, headers, body, call=self.call, elsewhere=body is None)
                answer = self._read(opened, "token", MOST_BYTES)
            except Unreachable as error:
                self.wait(attempt, f"token server of {self._connection.host}", str(error), error)
            else:
                retry_after = seconds_of(answer.headers.get("Retry-After"), dt.datetime.now(dt.UTC))
                delay = delay_before(attempt, self.policy, retry_after) if answer.status in RETRIED else None
                if delay is None:
                    return answer.status, answer.body
                self.call.sleep(delay)
            attempt += 1

    @property
    def credentials(self) -> DockerAuthConfig | None:
        """What the registry is shown when it asks; None for nothing.

        Raises:
            CredentialsError: They cannot be read.
        """
        with self._guard:
            if not self._is_auth_known:
                found = get_credentials(self.endpoint.reference, self.endpoint.sys)
                self._auth = found.auth if found is not None and not found.auth.is_empty else None
                self._is_auth_known = True
            return self._auth

    def _base(self, what: str) -> str:
        """Return the address of the registry; which scheme it speaks is found out once."""
        with self._guard:
            if self._scheme is None:
                self._scheme = self._found_scheme(what)
            return f"{self._scheme}://{self._connection.host}"

    def _found_scheme(self, what: str) -> str:
        attempt = 1
        while True:
            failures: list[Unreachable] = []
            for scheme in self._connection.schemes:
                url = f"{scheme}://{self._connection.host}/v2/"
                try:
                    opened = self._connection.open("GET", url, {}, call=self.call)
                except Unreachable as error:
                    failures.append(error.when(scheme))
                    continue
                response = opened.response
                if response.status == _UNAUTHORIZED and origin_of(opened.url) == origin_of(url):
                    self._challenge = self._chosen(response)
                self._refusal(response)
                if response.status not in RETRIED:
                    return scheme
                # It is there, and busy: nobody who can be talked to in secret is talked to in the open.
                failures = [Unreachable(f"the registry answers {response.status}").when(scheme)]
                break
            failure = _worst(failures)
            self.wait(attempt, what, str(failure), failure)
            attempt += 1

    def _chosen(self, response: BaseHTTPResponse) -> Challenge | None:
        found = parse_challenges(response.headers.getlist("WWW-Authenticate"))
        return next((one for wanted in ("bearer", "basic") for one in found if one.scheme == wanted), None)

    def _is_own(self, url: str) -> bool:
        return origin_of(url) == origin_of(f"{self._scheme}://{self._connection.host}")

    def _error(self, what: str, response: BaseHTTPResponse) -> RegistryError:
        retry_after = seconds_of(response.headers.get("Retry-After"), dt.datetime.now(dt.UTC))
        return error_of(what, response.status, self._refusal(response), retry_after)

    def _refusal(self, response: BaseHTTPResponse) -> bytes:
        """Read what is said with a refusal, as far as it is of use, and give the connection back."""
        try:
            with waiting(self.call, min(self._connection.timeout, _PATIENCE_SECONDS)), response:
                return _content(response, MOST_BYTES)
        except Exception:  # noqa: BLE001 - the refusal counts, not how it is worded
            return b""

    def _read(self, opened: Opened, what: str, most: int) -> Answer:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - loaded when first needed

        response = opened.response
        try:
            # As long for the answer as for its beginning: whoever sends a byte now and then is not waited for.
            with waiting(self.call, self._connection.timeout), response:
                body = _content(response, most)
        except (HTTPError, OSError) as error:
            raise unreachable(error).when("the answer breaks off") from error
        if len(body) > most:
            raise LimitExceededError(f"{what}: bytes of an answer", most)
        return Answer(status=response.status, headers=response.headers, body=body, url=opened.url)


def _content(response: BaseHTTPResponse, most: int) -> bytes:
    """Read an answer, and a little more than most of it when there is more.

    Piece by piece as they come: what is said of the size of a piece is believed by nobody.
    """
    pieces: list[bytes] = []
    size = 0
    while size <= most and (data := response.read1(min(_PIECE, most + 1 - size))):
        pieces.append(data)
        size += len(data)
    return b"".join(pieces)


def _as_header(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise CredentialsError(
            "SystemContext.docker_bearer_registry_token: expected printable ASCII, found something else, such as the "
            "end of a line"
        )
    return token


def _worst(failures: list[Unreachable]) -> Unreachable:
    """Return one failure for those of every way of talking: as many tries as any of them deserves."""
    tries = [failure.tries for failure in failures]
    most = None if None in tries else max(filter(None, tries))
    return Unreachable("; ".join(map(str, failures)), tries=most, remedy=failures[0].remedy)
