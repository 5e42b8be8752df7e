"""A file with credentials as data: read with the place of every fault, edited so that nothing else in it changes.

``auth.json`` and Docker's ``config.json`` have ``auths`` and ``credHelpers`` (containers-auth.json(5)); of the latter
``credsStore`` is Docker's only. ``.dockercfg`` is what ``auths`` has. No message says what a secret is.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import CredentialsError, InvalidConfigurationError, LimitExceededError, ParseError
from ocikit.image.context import DockerAuthConfig
from ocikit.image.credentials.keys import (
    DOCKER_HUB,
    DOCKER_HUB_KEY,
    NAMES_OF_DOCKER_HUB,
    lookup_order,
    normalized,
    registry_of,
)
from ocikit.spec._json import describe, json_path, loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MAX_BYTES", "AuthDocument", "encoded", "parse_auth_document"]

#: The size up to which a file is read: 1 MiB, in bytes.
MAX_BYTES: Final = 1 << 20

_PROGRAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@frozen(kw_only=True)
class AuthDocument:
    """What a file with credentials says.

    Attributes:
        source: The file.
        is_legacy: Whether it is a ``.dockercfg``.
        document: Everything in it.
    """

    source: str
    is_legacy: bool = False
    document: Mapping[str, object] = field(factory=dict, repr=False)

    @property
    def entries(self) -> dict[str, object]:
        """The entries, by the keys that are written there."""
        return dict(self.document) if self.is_legacy else self._object("auths")

    @property
    def keys(self) -> Iterator[str]:
        """What there may be credentials for: registries and parts of them, in no particular form."""
        for key in () if self.is_legacy else self._object("credHelpers"):
            yield normalized(key, is_legacy=False)
        yield from (normalized(key, is_legacy=self.is_legacy) for key in self.entries)

    def program(self, registry: str) -> tuple[str, str] | None:
        """Return the program that has the credentials for a registry, and the key that names it; None for none.

        Args:
            registry: The registry, or the key that Docker has for its hub.

        Raises:
            InvalidConfigurationError: It is none that could be.
        """
        programs = {} if self.is_legacy else self._object("credHelpers")
        # Docker names its hub by a URL there, too.
        is_hub = normalized(registry, is_legacy=False) == DOCKER_HUB
        for key in (registry, *((DOCKER_HUB_KEY, *NAMES_OF_DOCKER_HUB) if is_hub else ())):
            if programs.get(key) is not None:
                return self._program(programs[key], json_path(["credHelpers", key])), key
        return None

    @property
    def store(self) -> str | None:
        """The name of the program that Docker keeps all credentials in; None where none is named."""
        found = None if self.is_legacy else self.document.get("credsStore")
        return self._program(found, "$.credsStore") if found else None

    def find(self, key: str) -> tuple[DockerAuthConfig, str] | None:
        """Return the credentials for a registry or a part of it, and the key they are under.

        The most specific entry counts; one that has nothing in it hides those that it lies in.

        Args:
            key: What they are for.

        Raises:
            InvalidConfigurationError: The entry is malformed.
        """
        entries = self.entries
        registry = registry_of(key)
        written = (registry,) if self.is_legacy else lookup_order(key)
        for one in written:
            if one in entries:
                return self._decoded(one, entries[one])
        wanted = normalized(registry, is_legacy=False)
        for one, entry in entries.items():
            if normalized(one, is_legacy=self.is_legacy) == wanted:
                return self._decoded(one, entry)
        return None

    def with_entry(self, key: str, entry: Mapping[str, str]) -> dict[str, object]:
        """Return the document with an entry more, in place of what has the key.

        Args:
            key: The key.
            entry: See :func:`encoded`.
        """
        return {**self.document, "auths": {**self.entries, key: dict(entry)}}

    def without_entry(self, key: str) -> dict[str, object]:
        """Return the document without an entry.

        Args:
            key: The key.
        """
        return {**self.document, "auths": {one: entry for one, entry in self.entries.items() if one != key}}

    def _object(self, name: str) -> dict[str, object]:
        value = self.document.get(name)
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        raise self._error(json_path([name]), f"expected an object, found {describe(value)}")

    def _program(self, value: object, path: str) -> str:
        if isinstance(value, str) and _PROGRAM.fullmatch(value):
            return value
        raise self._error(path, "expected the X of a program docker-credential-X, found something else")

    def _decoded(self, key: str, entry: object) -> tuple[DockerAuthConfig, str]:
        path = json_path([key] if self.is_legacy else ["auths", key])
        if entry is not None and not isinstance(entry, dict):
            raise self._error(path, f"expected an object, found {describe(entry)}")
        fields = entry or {}
        text, token = (self._string(fields, name, f"{path}.{name}") for name in ("auth", "identitytoken"))
        username, password = self._user(text, f"{path}.auth")
        return DockerAuthConfig(username=username, password=password, identity_token=token), key

    def _string(self, entry: Mapping[str, object], name: str, path: str) -> str:
        value = entry.get(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        raise self._error(path, f"expected a string, found {describe(value)}")

    def _user(self, text: str, path: str) -> tuple[str, str]:
        try:
            decoded = base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True).decode()
        except (binascii.Error, ValueError):
            raise self._error(path, "expected user:password in UTF-8 and base64, found something else") from None
        username, colon, password = decoded.partition(":")
        # Docker writes entries with nothing in them for what a program has, and passes over those without a colon.
        return (username, password.strip("\0")) if colon else ("", "")

    def _error(self, path: str, reason: str) -> InvalidConfigurationError:
        return InvalidConfigurationError(path, reason, self.source)


def parse_auth_document(data: bytes, source: str, *, is_legacy: bool = False) -> AuthDocument:
    """Parse a file with credentials.

    Args:
        data: Its content.
        source: The file, for messages.
        is_legacy: Whether it is a ``.dockercfg``.

    Raises:
        InvalidConfigurationError: It is not JSON, has a key twice, or is no object.
        LimitExceededError: It is too deep.
    """
    try:
        document = loads(data, max_bytes=MAX_BYTES, max_depth=20)
    except ParseError as error:
        raise InvalidConfigurationError(error.path, error.reason, source) from None
    except LimitExceededError as error:
        raise error.within(source) from None
    if not isinstance(document, dict):
        raise InvalidConfigurationError("$", f"expected an object, found {describe(document)}", source)
    return AuthDocument(source=source, is_legacy=is_legacy, document=document)


def encoded(auth: DockerAuthConfig) -> dict[str, str]:
    """Return what an entry says of credentials.

    Args:
        auth: The credentials.

    Raises:
        CredentialsError: They cannot be read back from an entry: a colon in the user name, a zero byte.
    """
    if ":" in auth.username:
        raise CredentialsError("a user name with a colon cannot be stored (RFC 7617, 2)")
    if "\0" in auth.username + auth.password + auth.identity_token:
        raise CredentialsError("credentials with a zero byte cannot be stored")
    try:
        pair = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    except UnicodeEncodeError:
        raise CredentialsError("credentials that are no Unicode text cannot be stored") from None
    return {"auth": pair, **({"identitytoken": auth.identity_token} if auth.identity_token else {})}
