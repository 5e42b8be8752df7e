"""Names of hosts in certificates, matched as RFC 6125 §6.4 and Go have it: the Common Name is never looked at."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.certificates import extension_of, name_of, several

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["check_hostname", "matches"]

_LABEL: Final = re.compile(r"[a-z0-9_][a-z0-9_-]*", re.ASCII)


def check_hostname(certificate: Certificate, wanted: str) -> None:
    """Return when a certificate is for a host.

    Args:
        certificate: The certificate.
        wanted: The name of the host, or its address.

    Raises:
        InvalidSignatureError: It is not.
    """
    from cryptography.x509 import DNSName, IPAddress, SubjectAlternativeName  # noqa: PLC0415 - loaded when first needed

    names = extension_of(certificate, SubjectAlternativeName)
    address = _address(wanted)
    if address is not None:
        addresses = [] if names is None else names.get_values_for_type(IPAddress)
        found, good = [str(one) for one in addresses], address in addresses
    else:
        found = [] if names is None else names.get_values_for_type(DNSName)
        good = any(matches(one, wanted) for one in found)
    if not good:
        raise InvalidSignatureError(
            f"the certificate {name_of(certificate)} is for the hosts {several(found)}; expected {wanted!r}"
        )


def matches(pattern: str, host: str) -> bool:
    """Tell whether a name in a certificate stands for a host.

    Args:
        pattern: The name in the certificate; its first label may be ``*``, for any one label.
        host: The name of the host.
    """
    pattern, host = pattern.lower(), host.lower()
    labels = host.removesuffix(".").split(".")
    if not _valid(labels) or not _valid(pattern.split("."), wildcard=True):
        return pattern == host and host not in {"", "."}  # names of other kinds are names, too, but no patterns
    first, *rest = pattern.split(".")
    return rest == labels[1:] and first in {"*", labels[0]}


def _valid(labels: list[str], *, wildcard: bool = False) -> bool:
    if wildcard and len(labels) > 1 and labels[0] == "*":
        labels = labels[1:]
    return all(_LABEL.fullmatch(one) for one in labels)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return None
