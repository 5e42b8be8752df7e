"""Policies as users meet them: one class that knows where policies are kept and which transports there are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from attrs import frozen

from ocikit.errors import InvalidPolicyError, PolicyNotFoundError
from ocikit.image import transports
from ocikit.image.home import home
from ocikit.image.signature.context import PolicyContext
from ocikit.image.signature.explanation import explain
from ocikit.image.signature.rules import PolicyRules
from ocikit.spec._json import MAX_BYTES, json_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from ocikit.image.signature.document import ScopeValidator
    from ocikit.image.signature.explanation import PolicyExplanation
    from ocikit.image.types import ImageReference, SystemContext

__all__ = ["Policy", "policy_context"]

_USER_FILE: Final = ".config/containers/policy.json"
_SYSTEM_FILE: Final = "/etc/containers/policy.json"


def _scope_validators() -> Mapping[str, ScopeValidator]:
    found = {name: transports.get(name) for name in transports.list_names()}
    return {
        name: transport.validate_policy_configuration_scope
        for name, transport in found.items()
        if transport is not None
    }


@frozen(kw_only=True)
class Policy(PolicyRules):
    """Which images may be used: the requirements of a policy.json, by transport and scope.

    Made from a file, or in Python from the requirements of :mod:`ocikit.image.signature`; the same rules hold for both.
    There is no implied policy. One that allows everything has to be asked for:
    :meth:`insecure_accept_anything`.
    """

    def __attrs_post_init__(self) -> None:
        # What is made in Python is held to the rules of the file: a scope that never matches protects nothing.
        if not self.transports:
            return
        validators = _scope_validators()
        for name, scopes in self.transports.items():
            for scope in filter(None, scopes if name in validators else ()):
                try:
                    validators[name](scope)
                except ValueError as error:
                    raise InvalidPolicyError(
                        json_path(["transports", name, scope]), f"not a scope of this transport: {error}"
                    ) from error

    @classmethod
    def from_bytes(cls, data: bytes | str) -> Self:
        """Read a policy from the content of a policy.json (containers-policy.json(5)), strictly.

        Args:
            data: The document; bytes are UTF-8. Relative names of files in it are looked for in the working directory.

        Raises:
            InvalidPolicyError: The document is malformed: unknown or duplicate keys, wrong types, empty lists,
                scopes outside the grammar of their transport. The error has the JSON path.
        """
        return cls.parse(data, _scope_validators())

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a policy from a file, as :meth:`from_bytes`.

        Args:
            path: The file.

        Raises:
            InvalidPolicyError: The document is malformed; the error has the file and the JSON path.
            PolicyNotFoundError: There is no such file.
            OSError: The file cannot be read.
        """
        name = os.fspath(path)
        try:
            with Path(name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError as error:
            raise PolicyNotFoundError(f"{name}: there is no such policy file") from error
        try:
            return cls.from_bytes(data)
        except InvalidPolicyError as error:
            raise InvalidPolicyError(error.path, error.reason, source=name) from error

    @classmethod
    def default(cls, sys: SystemContext | None = None) -> Self:
        """Read the policy of the system.

        The first of these that is there: the file that ``sys`` names, ``~/.config/containers/policy.json`` for a user
        who has a home, ``/etc/containers/policy.json``.

        Args:
            sys: ``signature_policy_path`` names the file; ``root_for_implicit_absolute_paths`` is put before the
                path in ``/etc``.

        Raises:
            PolicyNotFoundError: There is none; the message says how to give one.
            InvalidPolicyError: It is malformed.
            OSError: It cannot be read.
        """
        if sys is not None and sys.signature_policy_path is not None:
            return cls.from_file(sys.signature_policy_path)
        root = sys.root_for_implicit_absolute_paths if sys is not None else None
        own = home()
        files = [*([own / _USER_FILE] if own is not None else []), Path(f"{root or ''}{_SYSTEM_FILE}")]
        for file in files:
            if os.path.lexists(file):
                return cls.from_file(file)
        raise PolicyNotFoundError(
            f"no signature policy: none was given, and there is no {' and no '.join(map(str, files))}. Pass "
            "Policy.from_file(path), or, to accept images whoever made them, Policy.insecure_accept_anything()"
        )

    def explain(self, reference: str | ImageReference) -> PolicyExplanation:
        """Explain what the policy asks of an image: which scope counts, and what has to be signed by whom.

        Nothing is opened: the image need not be there, nor the keys.

        Args:
            reference: The image, a reference or an image name.

        Raises:
            InvalidReferenceError: It is not an image name.
        """
        return explain(self, transports.as_reference(reference))


def policy_context(
    policy: PolicyRules | PolicyContext | None, sys: SystemContext | None = None, *, require_signatures: bool = False
) -> AbstractContextManager[PolicyContext]:
    """Return the context for whatever a call takes as a policy, for the length of a ``with`` block.

    Args:
        policy: A policy; a context, which is left open; None for the policy of the system.
        sys: As for :meth:`Policy.default`.
        require_signatures: As for :class:`PolicyContext`; a context that is given has its own.

    Raises:
        PolicyNotFoundError: None was given and the system has none.
        InvalidPolicyError: The policy of the system is malformed.
        OSError: It cannot be read.
        TypeError: Something else was given.
    """
    if isinstance(policy, PolicyContext):
        return contextlib.nullcontext(policy)
    chosen = policy if policy is not None else Policy.default(sys)
    if not isinstance(chosen, PolicyRules):
        raise TypeError(f"{chosen!r}: expected a policy, such as Policy.from_file(path), found {type(chosen).__name__}")
    return PolicyContext(chosen, require_signatures=require_signatures)
