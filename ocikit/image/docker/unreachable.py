"""Why a registry cannot be reached: in words, with what to do, and whether another try may help."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Unreachable", "unreachable"]

# Another try gives the same.
_ONCE: Final = 1
# A name may have been made just now; mostly it is wrong.
_ONCE_MORE: Final = 2
# A server may be starting anew. Who was waited for in vain, for a minute say, is not waited for many times.
_TWICE_MORE: Final = 3


class Unreachable(Exception):  # noqa: N818 - never leaves this room: it is another try, or a RegistryError
    """The other side could not be reached, fell silent, or broke off.

    Args:
        reason: Why.
        tries: How many are worth while; None for as many as the rules of the caller say.
        remedy: What to do.
    """

    def __init__(self, reason: str, *, tries: int | None = None, remedy: str = "") -> None:
        super().__init__(reason)
        self.tries = tries
        self.remedy = remedy

    def when(self, what: str) -> Unreachable:
        """Return the same with what it happened to.

        Args:
            what: That, in words.
        """
        return Unreachable(f"{what}: {self}", tries=self.tries, remedy=self.remedy)


class _Why(NamedTuple):
    tries: int
    remedy: str


_PLAIN: Final = _Why(
    _ONCE,
    "the registry does not speak TLS, it seems; plain HTTP is allowed by insecure = true in registries.conf, or by "
    "SystemContext(docker_insecure_skip_tls_verify=True)",
)
_UNTRUSTED: Final = _Why(
    _ONCE,
    "put the certificate of its authority, as a *.crt, into its directory in certs.d, or into one that "
    "SystemContext(docker_cert_path=…) names",
)
_SILENT: Final = _Why(_TWICE_MORE, "SystemContext(docker_timeout=…) says how many seconds are waited")
_NO_SUCH_NAME: Final = _Why(_ONCE_MORE, "look at the name of the registry")
_NOBODY: Final = _Why(_TWICE_MORE, "look at the name of the registry and its port")

# What OpenSSL says to an answer in plain HTTP.
_PLAIN_REASONS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
_UNKNOWN_NAMES: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def unreachable(error: BaseException) -> Unreachable:
    """Return what went wrong on the way.

    Args:
        error: What was raised, by urllib3 or by the system.
    """
    for one in _chain(error):
        why = _why(one)
        if why is not None:
            return Unreachable(_reason_of(error), tries=why.tries, remedy=why.remedy)
    return Unreachable(_reason_of(error))


def _why(error: BaseException) -> _Why | None:
    import ssl  # noqa: PLC0415 - loaded when first needed

    if isinstance(error, ssl.SSLCertVerificationError):
        return _UNTRUSTED
    if isinstance(error, ssl.SSLError) and error.reason in _PLAIN_REASONS:
        return _PLAIN
    if isinstance(error, TimeoutError):
        return _SILENT
    if isinstance(error, socket.gaierror):
        return _NO_SUCH_NAME if error.errno in _UNKNOWN_NAMES else None
    return _NOBODY if isinstance(error, ConnectionRefusedError) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised for, however urllib3 has wrapped it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, "reason", None), one.__cause__, one.__context__, *one.args)
        waiting += [found for found in inner if isinstance(found, BaseException)]


def _reason_of(error: BaseException) -> str:
    """Say what went wrong on the way, without what urllib3 tells about its own objects."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _reason_of(reason)
    cause = error.__cause__ or error.__context__
    text = str(error)
    if " object at 0x" in text and isinstance(cause, OSError) and cause is not error:
        return cause.strerror or str(cause)
    text = text.rpartition(" object at 0x")[2].partition(": ")[2] if " object at 0x" in text else text
    return text.partition("): ")[2] or text if "(host=" in text else text
