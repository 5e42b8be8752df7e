"""Validation: which MUSTs of its specification a document violates, and where.

This module applies rules; the rules themselves are tables of functions by class, in
``rules_image``, ``rules_runtime`` and the like, loaded when first needed. A rule looks at one
object and not into the objects below it, which have rules of their own, except where the
specification relates the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from ocikit.spec._document import Document, fault_of, table_of
from ocikit.spec._json import json_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec._checks import Finding, Rule
    from ocikit.spec.violation import Violation

__all__ = ["violations"]

_MODULES: Final = {
    "ocikit.spec.descriptor": "ocikit.spec.rules_image",
    "ocikit.spec.docker": "ocikit.spec.rules_image",
    "ocikit.spec.features": "ocikit.spec.rules_state",
    "ocikit.spec.hooks": "ocikit.spec.rules_special",
    "ocikit.spec.image": "ocikit.spec.rules_image",
    "ocikit.spec.linux": "ocikit.spec.rules_linux",
    "ocikit.spec.linux_limits": "ocikit.spec.rules_limits",
    "ocikit.spec.linux_resources": "ocikit.spec.rules_linux",
    "ocikit.spec.linux_special": "ocikit.spec.rules_special",
    "ocikit.spec.process_special": "ocikit.spec.rules_special",
    "ocikit.spec.runtime": "ocikit.spec.rules_runtime",
    "ocikit.spec.seccomp": "ocikit.spec.rules_linux",
    "ocikit.spec.state": "ocikit.spec.rules_state",
}


def violations(document: Document) -> tuple[Violation, ...]:
    """Everything that is wrong with a document and the objects in it, from the outside in.

    A value of the wrong type is reported alone: the rules count on the types.
    """
    fault = fault_of(document)
    if fault is not None:
        return (_violation(fault.path, fault.reason),)
    return tuple(_violation(json_path(steps), reason) for steps, reason in _walk(document, ()))


def _violation(path: str, reason: str) -> Violation:
    from ocikit.spec.violation import Violation  # noqa: PLC0415 - most documents have none

    return Violation(path=path, reason=reason)


def _walk(document: Document, steps: tuple[str | int, ...]) -> Iterator[Finding]:
    module = _MODULES.get(type(document).__module__)
    rules: Mapping[type, Rule] = import_module(module).RULES if module else {}
    rule = rules.get(type(document))
    if rule is not None:
        for more, reason in rule(document):
            yield (*steps, *more), reason
    for entry in table_of(type(document)).entries:
        value = getattr(document, entry.attribute)
        for step, item in _items(value):
            if isinstance(item, Document):
                yield from _walk(item, (*steps, entry.name, *step))


def _items(value: object) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield (index,), item
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield (name,), item
    else:
        yield (), value
