"""Certificates for registries (containers-certs.d(5)): who vouches for a registry, and who we are to it.

A directory for each ``host[:port]`` has authorities (``*.crt``), and certificates of clients (``*.cert``, with the key
of the same name in ``*.key``). The first such directory that is there is the one that counts.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import InvalidConfigurationError, InvalidReferenceError, LimitExceededError
from ocikit.image.reference import DOMAIN
from ocikit.image.registries.naming import LONGEST
from ocikit.image.registries.places import home, implied
from ocikit.image.registries.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

    from ocikit.image.context import SystemContext

__all__ = ["ClientCertificate", "TLSMaterial", "find_certificates", "ssl_context"]

_USER_DIRECTORY: Final = ".config/containers/certs.d"
_SYSTEM_DIRECTORIES: Final = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_HOST: Final = re.compile(DOMAIN)
_MOST_BYTES: Final = 4 << 20
_MOST_NAMES: Final = 1000

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class ClientCertificate:
    """A certificate of ours, and its key.

    Attributes:
        certificate: The file with the certificate, and what is between it and its authority.
        key: The file with its private key.
    """

    certificate: str
    key: str


@frozen(kw_only=True)
class TLSMaterial:
    """What there is for talking to a registry.

    Attributes:
        directory: Where it was found; None where there is none.
        authorities: Files with certificates of authorities, beside those of the system.
        client_certificates: What a registry is shown that asks who we are.
    """

    directory: str | None = None
    authorities: tuple[str, ...] = ()
    client_certificates: tuple[ClientCertificate, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read for it."""
        pairs = ((one.certificate, one.key) for one in self.client_certificates)
        return (*self.authorities, *(path for pair in pairs for path in pair))


def find_certificates(host: str, sys: SystemContext | None = None) -> TLSMaterial:
    """Return what there is for a registry.

    Args:
        host: The registry, ``host[:port]``.
        sys: ``docker_cert_path``, ``docker_per_host_cert_dir_path`` and ``root_for_implicit_absolute_paths``.

    Raises:
        InvalidReferenceError: That is no registry.
        InvalidConfigurationError: There is a certificate of a client without its key, or a key without certificate.
        LimitExceededError: The directory has more than 1000 names.
        OSError: The directory cannot be listed.
    """
    if len(host) > LONGEST or not _HOST.fullmatch(host):
        raise InvalidReferenceError(f"{host[:80]!r} is not a registry (host[:port])")
    for directory in _directories(host, sys):
        try:
            names = _names(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            _log.warning("%s: certificates are passed over: %s", directory, error.strerror)
            continue
        return _sorted_out(directory, names)
    return TLSMaterial()


def _directories(host: str, sys: SystemContext | None) -> Iterator[str]:
    if sys is not None and sys.docker_cert_path:
        yield sys.docker_cert_path
    elif sys is not None and sys.docker_per_host_cert_dir_path:
        yield os.path.join(sys.docker_per_host_cert_dir_path, host)
    else:
        yield f"{home()}/{_USER_DIRECTORY}/{host}"
        yield from (f"{implied(directory, sys)}/{host}" for directory in _SYSTEM_DIRECTORIES)


def _names(directory: str) -> set[str]:
    found = set()
    with os.scandir(directory) as entries:
        for entry in entries:
            found.add(entry.name)
            if len(found) > _MOST_NAMES:
                raise LimitExceededError(f"{directory}: names in a directory of certificates", _MOST_NAMES)
    return found


def _sorted_out(directory: str, names: set[str]) -> TLSMaterial:
    pairs = []
    for name in sorted(names):
        stem, _, kind = name.rpartition(".")
        if kind == "cert" and f"{stem}.key" not in names:
            reason = f"expected {stem}.key beside it, found none; an authority is called {stem}.crt"
            raise InvalidConfigurationError("$", reason, os.path.join(directory, name))
        if kind == "key" and f"{stem}.cert" not in names:
            raise InvalidConfigurationError(
                "$", f"expected {stem}.cert beside it, found none", os.path.join(directory, name)
            )
        if kind == "cert":
            pairs.append(ClientCertificate(certificate=f"{directory}/{name}", key=f"{directory}/{stem}.key"))
    return TLSMaterial(
        directory=directory,
        authorities=tuple(f"{directory}/{name}" for name in sorted(names) if name.endswith(".crt")),
        client_certificates=tuple(pairs),
    )


def ssl_context(material: TLSMaterial, *, insecure: bool = False) -> SSLContext:
    """Return the context of TLS for a registry: certificate and host name are verified unless that is given up.

    The authorities of the system count, too, as in containers/image. Of several certificates of clients with keys of
    one kind the first by name is shown.

    Args:
        material: What was found for the registry.
        insecure: Take its certificate unseen.

    Raises:
        InvalidConfigurationError: A file has no certificate, a key is none, is encrypted, or belongs to another
            certificate.
        LimitExceededError: A file is larger than 4 MiB.
        OSError: A file cannot be read.
    """
    import ssl  # noqa: PLC0415 - loaded when first needed

    context = ssl.create_default_context()
    for path in material.authorities:
        data = read_file(path, _MOST_BYTES, "certificates")
        if data is None:
            continue  # removed since the directory was listed
        try:
            # Words around the certificates are no ASCII at times, and of no meaning.
            context.load_verify_locations(cadata=data.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise InvalidConfigurationError("$", f"expected certificates in PEM: {_said(error)}", path) from error
    # With equal kinds of keys the last one counts.
    for pair in reversed(material.client_certificates):
        _load_pair(context, pair)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_pair(context: SSLContext, pair: ClientCertificate) -> None:
    for path in (pair.certificate, pair.key):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InvalidConfigurationError("$", "expected a file, found something that is no file", path)

    def refuse() -> str:
        raise InvalidConfigurationError("$", "the key is encrypted, and nobody is asked for a passphrase", pair.key)

    try:
        context.load_cert_chain(pair.certificate, pair.key, refuse)
    except InvalidConfigurationError:
        raise
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = f"expected a certificate in PEM, and its key in {pair.key}: {_said(error)}"
        raise InvalidConfigurationError("$", reason, pair.certificate) from error


def _said(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
