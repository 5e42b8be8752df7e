"""Names that an authority may give certificates for (RFC 5280 §4.2.1.10): those of mail, hosts, addresses and URIs.

A constraint on a kind of name that is not known here is a reason to refuse, whether it is critical or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.certificates import extension_of, name_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.x509 import Certificate, GeneralName, NameConstraints

__all__ = ["MAX_COMPARISONS", "check_names"]

#: How many comparisons of a name with a constraint one chain may cost.
MAX_COMPARISONS: Final = 100_000


def check_names(path: Sequence[Certificate]) -> None:
    """Return when every name in a chain is one that all those above may give certificates for.

    Args:
        path: The chain, from the signer's certificate to the authority's; its signatures hold.

    Raises:
        InvalidSignatureError: Some name is not, or a constraint is of a kind that is not known.
    """
    from cryptography.x509 import NameConstraints  # noqa: PLC0415 - loaded when first needed

    left = MAX_COMPARISONS
    for index, issuer in enumerate(path[1:], 1):
        constraints = extension_of(issuer, NameConstraints)
        if constraints is None:
            continue
        _check_kinds(issuer, constraints)
        names = [name for below in path[:index] for name in _names(below)]
        left -= len(names) * len(_subtrees(constraints))
        if left < 0:
            raise InvalidSignatureError(
                f"the name constraints of a chain take more than {MAX_COMPARISONS:,} comparisons"
            )
        for name in names:
            _check_name(issuer, constraints, name)


def _names(certificate: Certificate) -> list[GeneralName]:
    from cryptography.x509 import SubjectAlternativeName  # noqa: PLC0415 - loaded when first needed

    return [*(extension_of(certificate, SubjectAlternativeName) or ())]


def _subtrees(constraints: NameConstraints) -> list[GeneralName]:
    return [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]


def _check_kinds(issuer: Certificate, constraints: NameConstraints) -> None:
    for one in _subtrees(constraints):
        if type(one).__name__ not in _WITHIN:
            raise InvalidSignatureError(
                f"the certificate {name_of(issuer)} constrains names of the kind {type(one).__name__}, which is not "
                "known here"
            )


def _check_name(issuer: Certificate, constraints: NameConstraints, name: GeneralName) -> None:
    kind = type(name)
    permitted = [one.value for one in constraints.permitted_subtrees or () if type(one) is kind]
    excluded = [one.value for one in constraints.excluded_subtrees or () if type(one) is kind]
    if not permitted and not excluded:
        return
    within = _WITHIN[kind.__name__]
    if any(within(name.value, one, True) for one in excluded):
        reason = "excludes"
    elif permitted and not any(within(name.value, one, False) for one in permitted):
        reason = "does not permit"
    else:
        return
    raise InvalidSignatureError(f"the certificate {name_of(issuer)} {reason} the name {shown(str(name.value))}")


def _host_within(host: str, constraint: str, excludes: bool) -> bool:  # noqa: FBT001 - one of a table of functions
    host, constraint = host.lower(), constraint.lower()
    if not constraint:
        return True
    if excludes and host.startswith("*.") and constraint.lstrip(".").endswith(host[1:]):
        return True  # the wildcard stands for what is excluded, too
    if constraint.startswith("."):
        return host.endswith(constraint)
    return host == constraint or host.endswith(f".{constraint}")


def _mail_within(address: str, constraint: str, excludes: bool) -> bool:  # noqa: FBT001
    mailbox, at, domain = address.rpartition("@")
    if not at:
        return excludes  # no address: it is within everything that is excluded, and nothing that is permitted
    wanted_mailbox, wanted_at, wanted_domain = constraint.rpartition("@")
    if wanted_at:
        return mailbox == wanted_mailbox and domain.lower() == wanted_domain.lower()
    return _exactly_within(domain, constraint)


def _uri_within(uri: str, constraint: str, excludes: bool) -> bool:  # noqa: FBT001
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        host = None
    if not host or ":" in host or host.replace(".", "").isdigit():
        return excludes  # a constraint is one of names
    return _exactly_within(host, constraint)


def _exactly_within(host: str, constraint: str) -> bool:
    """Match a host as mail addresses and URIs do: a constraint without a dot before it is one host."""
    host, constraint = host.lower(), constraint.lower()
    return not constraint or (host.endswith(constraint) if constraint.startswith(".") else host == constraint)


def _address_within(address: Any, network: Any, _: bool) -> bool:  # noqa: FBT001, ANN401 - of ipaddress, of either version
    return address in network


_WITHIN: Final[dict[str, Callable[[Any, Any, bool], bool]]] = {
    "DNSName": _host_within,
    "RFC822Name": _mail_within,
    "UniformResourceIdentifier": _uri_within,
    "IPAddress": _address_within,
}
