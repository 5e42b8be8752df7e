"""Credentials stored and removed: by the first helper that takes them, whole or not at all, for their user alone."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING

from ocikit._fs import TEMPORARY_PREFIX, atomic_write, lock_directory
from ocikit.errors import CredentialsError, LimitExceededError, OCIKitError
from ocikit.image.credentials.document import MAX_BYTES, AuthDocument, encoded, parse_auth_document
from ocikit.image.credentials.keys import DOCKER_HUB, DOCKER_HUB_KEY, checked, is_namespaced
from ocikit.image.credentials.places import AuthFile, written_file
from ocikit.image.credentials.programs import erase_with, exists, store_with
from ocikit.image.registries.configuration import AUTH_FILES, RegistriesConfiguration
from ocikit.image.registries.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.context import DockerAuthConfig, SystemContext
    from ocikit.image.reference import Named

__all__ = ["remove_credentials", "set_credentials"]

_PATIENCE_SECONDS = 60.0


def set_credentials(key: Named | str, auth: DockerAuthConfig, sys: SystemContext | None = None) -> str:
    """Store credentials for a registry or a part of it; what was stored for it there is replaced.

    Nobody is asked whether they are right.

    Args:
        key: ``host[:port][/path…]``, or an image for its repository. Programs keep credentials for whole
            registries only.
        auth: The credentials.
        sys: The files and the paths of configuration.

    Returns:
        Where they are now: a file, or ``docker-credential-X``.

    Raises:
        InvalidReferenceError: The key is not that.
        CredentialsError: No helper took them, or they are such that nobody could; the message names all reasons.
        InvalidConfigurationError: registries.conf is malformed.
        LimitExceededError: It is too large.
        OSError: It cannot be read.
    """
    text = checked(key)
    if auth.is_empty or not (auth.username or auth.identity_token):
        raise CredentialsError(f"credentials for {text}: expected a user or an identity token, found neither")
    entry = encoded(auth)
    failures: list[Exception] = []
    for helper in _helpers(sys):
        try:
            if helper == AUTH_FILES:
                return _set_in_file(written_file(sys), text, auth, entry)
            return _set_in_program(helper, text, auth)
        except (OCIKitError, OSError) as error:
            failures.append(error)
    said = "; ".join(str(one) for one in failures)
    raise CredentialsError(f"credentials for {text} could not be stored: {said}") from failures[0]


def remove_credentials(key: Named | str, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Remove what is stored for a registry or a part of it, from everywhere where it would be stored.

    Files that are only read (those of Docker) are not touched: look with
    :func:`~ocikit.image.credentials.get_credentials` whether something is left.

    Args:
        key: ``host[:port][/path…]``, or an image for its repository.
        sys: The files and the paths of configuration.

    Returns:
        Where something was: files, and programs ``docker-credential-X``; nothing where nothing was stored.

    Raises:
        InvalidReferenceError: The key is not that.
        CredentialsError: Somebody failed; what could be removed is.
        InvalidConfigurationError: registries.conf is malformed.
        LimitExceededError: It is too large.
        OSError: It cannot be read.
    """
    text = checked(key)
    removed: list[str] = []
    failures: list[Exception] = []
    for helper in _helpers(sys):
        try:
            if helper == AUTH_FILES:
                _remove_from_file(written_file(sys), text, removed)
            elif not is_namespaced(text) and exists(helper) and erase_with(helper, text):
                removed.append(f"docker-credential-{helper}")
        except (OCIKitError, OSError) as error:
            failures.append(error)
    if failures:
        said = "; ".join(str(one) for one in failures)
        done = f" (removed from {', '.join(removed)})" if removed else ""
        raise CredentialsError(f"credentials for {text} could not be removed{done}: {said}") from failures[0]
    return tuple(removed)


def _helpers(sys: SystemContext | None) -> tuple[str, ...]:
    # Docker does not know the helpers of registries.conf.
    if sys is not None and sys.docker_compat_auth_file_path:
        return (AUTH_FILES,)
    return RegistriesConfiguration.load(sys).credential_helpers


def _set_in_program(program: str, key: str, auth: DockerAuthConfig, server: str | None = None) -> str:
    if is_namespaced(key):
        raise CredentialsError(
            f"docker-credential-{program} keeps credentials for whole registries only, not for {key}"
        )
    store_with(program, server or key, auth)
    return f"docker-credential-{program}"


def _set_in_file(file: AuthFile, key: str, auth: DockerAuthConfig, entry: dict[str, str]) -> str:
    name = _key_in(file, key)
    with _editing(file, is_made=True) as (directory_fd, document):
        program = document.program(name)
        if program is not None:
            return _set_in_program(program[0], key, auth, program[1])
        _write(directory_fd, file, document.with_entry(name, entry))
    return file.path


def _remove_from_file(file: AuthFile, key: str, removed: list[str]) -> None:
    name = _key_in(file, key)
    with _editing(file, is_made=False) as (directory_fd, document):
        program = document.program(name)
        if name in document.entries:
            _write(directory_fd, file, document.without_entry(name))
            removed.append(file.path)
        if program is not None and not is_namespaced(key) and erase_with(*program):
            removed.append(f"docker-credential-{program[0]}")


def _key_in(file: AuthFile, key: str) -> str:
    if not file.is_docker:
        return key
    if is_namespaced(key):
        raise CredentialsError(f"{file.path}: Docker has credentials for whole registries only, not for {key}")
    return DOCKER_HUB_KEY if key == DOCKER_HUB else key


@contextlib.contextmanager
def _editing(file: AuthFile, *, is_made: bool) -> Iterator[tuple[int, AuthDocument]]:
    """Hold the directory of a file, and give what the file says meanwhile."""
    directory, name = os.path.split(os.path.abspath(file.path))
    if is_made:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    elif not os.path.isdir(directory):
        yield -1, AuthDocument(source=file.path)
        return
    with lock_directory(os.path.realpath(directory), exclusive=True, timeout=_PATIENCE_SECONDS) as directory_fd:
        _check_replaceable(file.path, name, directory_fd)
        data = read_file(name, MAX_BYTES, "credentials", dir_fd=directory_fd)
        yield (
            directory_fd,
            parse_auth_document(data, file.path) if data else AuthDocument(source=file.path),
        )


def _check_replaceable(path: str, name: str, directory_fd: int) -> None:
    try:
        mode = os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    # To follow it would be to write where somebody else says; to replace it, to leave what it leads to behind.
    if stat.S_ISLNK(mode):
        raise CredentialsError(f"{path} is a symbolic link, and is not written through; name what it leads to")
    # /dev/null is not replaced by a file.
    if not stat.S_ISREG(mode):
        raise CredentialsError(f"{path}: expected a file to store credentials in, found something that is no file")


def _write(directory_fd: int, file: AuthFile, document: dict[str, object]) -> None:
    # Not the writer of specifications: Docker's file has the form that people know, tabs included.
    data = json.dumps(document, indent="\t").encode()
    if len(data) > MAX_BYTES:
        raise LimitExceededError(f"{file.path}: bytes of credentials", MAX_BYTES, len(data))
    name = os.path.basename(file.path)
    atomic_write(directory_fd, name, data, mode=0o600, temporary=f"{TEMPORARY_PREFIX}{name}")
