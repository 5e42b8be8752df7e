"""Which files have credentials, in which order (containers-auth.json(5)).

The first is the one that is written: that of the session, which ends with it. Those of Docker are read, too.
"""

from __future__ import annotations

import os
import sys as host
from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import CredentialsError
from ocikit.image.credentials.document import MAX_BYTES, AuthDocument, parse_auth_document
from ocikit.image.registries.places import home, implied
from ocikit.image.registries.reading import read_file

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext

__all__ = ["AuthFile", "files_to_read", "written_file"]


@frozen(kw_only=True)
class AuthFile:
    """A file with credentials; it need not be there.

    Attributes:
        path: Where it is.
        is_legacy: Whether it is a ``.dockercfg``.
        is_docker: Whether it is written so that Docker understands it.
    """

    path: str
    is_legacy: bool = False
    is_docker: bool = False

    def read(self) -> AuthDocument:
        """Return what it says; nothing where it is not there.

        Raises:
            InvalidConfigurationError: It is malformed, or no file.
            LimitExceededError: It is larger than 1 MiB, or too deep.
            OSError: It cannot be read.
        """
        data = read_file(self.path, MAX_BYTES, "credentials")
        if not data:  # /dev/null is what people give to have none
            return AuthDocument(source=self.path, is_legacy=self.is_legacy)
        return parse_auth_document(data, self.path, is_legacy=self.is_legacy)


def _given(sys: SystemContext | None) -> AuthFile | None:
    if sys is None:
        return None
    if sys.auth_file_path and sys.docker_compat_auth_file_path:
        raise CredentialsError(
            "auth_file_path and docker_compat_auth_file_path exclude each other; found "
            f"{sys.auth_file_path!r} and {sys.docker_compat_auth_file_path!r}"
        )
    if sys.auth_file_path:
        return AuthFile(path=sys.auth_file_path)
    if sys.docker_compat_auth_file_path:
        return AuthFile(path=sys.docker_compat_auth_file_path, is_docker=True)
    if sys.legacy_format_auth_file_path:
        return AuthFile(path=sys.legacy_format_auth_file_path, is_legacy=True)
    return None


def _of_session(sys: SystemContext | None) -> AuthFile:
    own = f"/run/containers/{os.getuid()}/auth.json"
    if host.platform != "linux":
        return AuthFile(path=f"{home()}/.config/containers/auth.json")
    if sys is not None and sys.root_for_implicit_absolute_paths:
        return AuthFile(path=implied(own, sys))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return AuthFile(path=f"{runtime}/containers/auth.json" if runtime else own)


def files_to_read(sys: SystemContext | None = None) -> tuple[AuthFile, ...]:
    """Return the files that are looked into, in their order.

    Args:
        sys: ``auth_file_path``, ``docker_compat_auth_file_path`` or ``legacy_format_auth_file_path`` is then the only
            one; ``root_for_implicit_absolute_paths``.

    Raises:
        CredentialsError: More than one of them is given that exclude each other.
    """
    given = _given(sys)
    if given is not None:
        return (given,)
    config = os.environ.get("XDG_CONFIG_HOME") or f"{home()}/.config"
    docker = os.environ.get("DOCKER_CONFIG") or f"{home()}/.docker"
    return (
        _of_session(sys),
        AuthFile(path=f"{config}/containers/auth.json"),
        AuthFile(path=f"{docker}/config.json"),
        AuthFile(path=f"{home()}/.dockercfg", is_legacy=True),
    )


def written_file(sys: SystemContext | None = None) -> AuthFile:
    """Return the file that credentials are stored in.

    Args:
        sys: As for :func:`files_to_read`.

    Raises:
        CredentialsError: It is one that is only read, or the directory of the session is not there.
    """
    file = _given(sys) or _of_session(sys)
    if file.is_legacy:
        raise CredentialsError(f"{file.path}: the format of .dockercfg is only read; name another file to write")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and file.path == f"{runtime}/containers/auth.json" and not os.path.isdir(runtime):
        raise CredentialsError(f"XDG_RUNTIME_DIR is {runtime!r}, which is no directory; make it, or unset the variable")
    return file
