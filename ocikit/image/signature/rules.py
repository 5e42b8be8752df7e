"""Which requirements hold for which image: the data of a policy, and the lookup in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, get_args

from attrs import field, frozen

from ocikit.errors import InvalidPolicyError
from ocikit.image.signature.document import Document, read_document, write_document
from ocikit.image.signature.requirements import InsecureAcceptAnything, Reject, Requirement

if TYPE_CHECKING:
    from attrs import Attribute

    from ocikit.image.signature.document import ScopeValidator
    from ocikit.image.types import ImageReference

__all__ = ["Match", "PolicyRules"]

_REQUIREMENT: Final = get_args(Requirement)


@frozen(kw_only=True)
class Match:
    """What the lookup of an image in a policy found.

    Attributes:
        scope: Where: ``"default"``, or the transport and the scope as ``"oci:/var/images"``; the transport's own
            default is ``"oci:"``.
        requirements: What must hold, all of it.
    """

    scope: str
    requirements: tuple[Requirement, ...]


def _list(path: str, value: tuple[object, ...]) -> None:
    if not value:
        raise InvalidPolicyError(path, "must not be empty")
    for number, one in enumerate(value):
        if not isinstance(one, _REQUIREMENT):
            raise InvalidPolicyError(f"{path}[{number}]", f"expected a requirement, such as Reject(), found {one!r}")


def _default(_: object, attribute: Attribute[Any], value: tuple[Requirement, ...]) -> None:
    _list(f"$.{attribute.name}", value)


def _scopes(_: object, __: object, value: Mapping[str, Mapping[str, tuple[object, ...]]]) -> None:
    for transport, scopes in value.items():
        for scope, requirements in scopes.items():
            _list(f"$.transports.{transport}[{scope!r}]", requirements)


def _requirements(value: Iterable[Requirement]) -> tuple[Requirement, ...]:
    return _tuple("$.requirements", value)


def _tuple(path: str, value: Iterable[Requirement]) -> tuple[Requirement, ...]:
    # Text is a sequence, too; what is in it is looked at afterwards.
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidPolicyError(path, f"expected a list of requirements, found {type(value).__name__}")
    return tuple(value)


def _copied(value: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, tuple[Requirement, ...]]]:
    # What the caller does to its own mapping afterwards must not change a policy that is in use.
    return {
        transport: {
            scope: _tuple(f"$.transports.{transport}[{scope!r}]", found)
            for scope, found in _items(f"$.transports.{transport}", "scopes and their requirements", scopes)
        }
        for transport, scopes in _items("$.transports", "transports and their scopes", value)
    }


def _items(path: str, what: str, value: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise InvalidPolicyError(path, f"expected a mapping of {what}, found {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise InvalidPolicyError(
                path, f"expected text as the names of {what.partition(' ')[0]}, found {type(key).__name__}"
            )
    return value.items()


@frozen(kw_only=True)
class PolicyRules:
    """The requirements of a policy, by transport and scope.

    Attributes:
        requirements: What holds where no scope fits; the ``default`` of policy.json.
        transports: By the name of a transport, by scope, what holds there instead. The most specific scope
            alone counts, nothing is merged. The scope ``""`` is the transport's own default.
    """

    requirements: tuple[Requirement, ...] = field(validator=_default, converter=_requirements)
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]] = field(
        factory=dict, converter=_copied, validator=_scopes
    )

    @classmethod
    def insecure_accept_anything(cls) -> Self:
        """Make a policy that allows every image, whoever made it."""
        return cls(requirements=(InsecureAcceptAnything(),))

    @classmethod
    def reject(cls) -> Self:
        """Make a policy that allows no image."""
        return cls(requirements=(Reject(),))

    @classmethod
    def parse(cls, data: bytes | str, scope_validators: Mapping[str, ScopeValidator]) -> Self:
        """Read a policy.json (containers-policy.json(5)), strictly.

        Args:
            data: The document.
            scope_validators: By the name of a transport, what checks its scopes.

        Raises:
            InvalidPolicyError: The document is malformed; the error has the JSON path.
        """
        document = read_document(data, scope_validators)
        return cls(requirements=document.default, transports=document.transports)

    def to_json(self) -> bytes:
        """Write the policy as policy.json, UTF-8; reading it gives an equal policy."""
        transports = {name: dict(scopes) for name, scopes in self.transports.items()}
        return write_document(Document(default=self.requirements, transports=transports))

    def requirements_for(self, reference: ImageReference) -> Match:
        """Find what holds for an image: its identity, then each namespace, the transport's and the policy's default.

        Args:
            reference: The image.
        """
        name = reference.transport.name
        scopes = self.transports.get(name)
        if scopes:
            identity, namespaces = reference.policy_configuration_identity, reference.policy_configuration_namespaces
            for scope in (identity, *namespaces, ""):
                if scope in scopes:
                    return Match(scope=f"{name}:{scope}", requirements=scopes[scope])
        return Match(scope="default", requirements=self.requirements)
