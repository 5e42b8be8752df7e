"""Which credentials a registry is shown: those of the call, else of the first helper that has some.

Helpers are what ``credential-helpers`` of registries.conf lists (containers-registries.conf(5)); one of them is the
files with credentials (containers-auth.json(5)).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import CredentialsError, OCIKitError
from ocikit.image.credentials.keys import DOCKER_HUB, DOCKER_HUB_KEY, checked, normalized, registry_of
from ocikit.image.credentials.places import AuthFile, files_to_read
from ocikit.image.credentials.programs import exists, get_from, list_of
from ocikit.image.registries.configuration import AUTH_FILES, RegistriesConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.context import DockerAuthConfig, SystemContext
    from ocikit.image.reference import Named

__all__ = ["FoundCredentials", "get_all_credentials", "get_credentials"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class FoundCredentials:
    """Credentials, and where they were.

    Attributes:
        auth: The credentials; in no repr are their secrets.
        source: The file, ``docker-credential-X``, or ``SystemContext``.
        key: What they were kept under; empty for those of the call.
    """

    auth: DockerAuthConfig
    source: str
    key: str = ""


def get_credentials(key: Named | str, sys: SystemContext | None = None) -> FoundCredentials | None:
    """Return the credentials for an image, or for a registry or a part of it; None where there are none.

    Args:
        key: The image, or ``host[:port][/path…]``.
        sys: ``docker_auth_config`` comes before everything; the files, ``docker_use_creds_store``, and the paths of
            configuration.

    Raises:
        InvalidReferenceError: The key is not that.
        CredentialsError: Nothing was found, and a helper failed or a file is malformed; the message names all.
        InvalidConfigurationError: registries.conf is malformed.
        LimitExceededError: It is too large.
        OSError: It cannot be read.
    """
    text = checked(key)
    if sys is not None and sys.docker_auth_config is not None:
        return FoundCredentials(auth=sys.docker_auth_config, source="SystemContext")
    failures: list[Exception] = []
    for helper in RegistriesConfiguration.load(sys).credential_helpers:
        try:
            found = _in_files(text, sys) if helper == AUTH_FILES else _in_program(helper, registry_of(text))
        except (OCIKitError, OSError) as error:
            failures.append(error)
            continue
        if found is not None:
            _log.debug("credentials for %s are from %s, under %s", text, found.source, found.key)
            return found
    if failures:
        said = "; ".join(str(one) for one in failures)
        raise CredentialsError(f"credentials for {text}: none were found, and not everybody answered: {said}") from (
            failures[0]
        )
    return None


def get_all_credentials(sys: SystemContext | None = None) -> dict[str, FoundCredentials]:
    """Return all credentials that are stored, by registry or part of it, each as :func:`get_credentials` has it.

    Args:
        sys: As for :func:`get_credentials`.

    Raises:
        CredentialsError: A helper failed.
        InvalidConfigurationError: A file is malformed.
        LimitExceededError: A file is too large.
        OSError: A file cannot be read.
    """
    found = {}
    for key in _all_keys(sys):
        one = get_credentials(key, sys)
        if one is not None:
            found[key] = one
    return found


def _all_keys(sys: SystemContext | None) -> list[str]:
    keys: dict[str, None] = {}
    for helper in RegistriesConfiguration.load(sys).credential_helpers:
        if helper == AUTH_FILES:
            for file in files_to_read(sys):
                keys.update(dict.fromkeys(_keys_of(file, sys)))
        elif exists(helper):
            keys.update(dict.fromkeys(normalized(server, is_legacy=False) for server in list_of(helper)))
    return sorted(key for key in keys if _is_key(key))


def _keys_of(file: AuthFile, sys: SystemContext | None) -> Iterator[str]:
    document = file.read()
    yield from document.keys
    store = _store(document.store, sys)
    if store is not None and exists(store):
        yield from (normalized(server, is_legacy=False) for server in list_of(store))


def _is_key(text: str) -> bool:
    # Whatever else somebody has written into a file is no registry that anybody could ask about.
    try:
        return bool(checked(text))
    except OCIKitError:
        return False


def _store(name: str | None, sys: SystemContext | None) -> str | None:
    return name if sys is not None and sys.docker_use_creds_store else None


def _in_files(key: str, sys: SystemContext | None) -> FoundCredentials | None:
    for file in files_to_read(sys):
        found = _in_file(file, key, sys)
        if found is not None:
            return found
    return None


def _in_file(file: AuthFile, key: str, sys: SystemContext | None) -> FoundCredentials | None:
    document = file.read()
    registry = registry_of(key)
    program = document.program(registry)
    if program is not None:
        return _in_program(*program)
    entry = document.find(key)
    if entry is not None and not entry[0].is_empty:
        return FoundCredentials(auth=entry[0], source=file.path, key=entry[1])
    store = _store(document.store, sys)
    if store is None:
        return None
    # Docker has its own name for Docker Hub there, too.
    return _in_program(store, DOCKER_HUB_KEY if normalized(registry, is_legacy=False) == DOCKER_HUB else registry)


def _in_program(program: str, server: str) -> FoundCredentials | None:
    auth = get_from(program, server)
    return None if auth is None else FoundCredentials(auth=auth, source=f"docker-credential-{program}", key=server)
