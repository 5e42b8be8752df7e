"""The MUSTs of the runtime specification 1.3.0 about the state of a container and the features of a runtime.

Those who create containers need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.spec._checks import SEMANTIC_VERSION, Finding, Rule, absolute, annotation_keys, required, semantic_version
from ocikit.spec.features import Features
from ocikit.spec.state import CREATED, RUNNING, ContainerProcessState, State

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]


def _state(state: State) -> Iterator[Finding]:
    yield from required(state.oci_version, "ociVersion")
    yield from required(state.id, "id")
    yield from required(state.status, "status")
    if state.status in {CREATED, RUNNING} and state.pid <= 0:
        yield ["pid"], f"is REQUIRED while the container is {state.status}"
    yield from absolute(state.bundle, "bundle")


def _process_state(state: ContainerProcessState) -> Iterator[Finding]:
    yield from required(state.oci_version, "ociVersion")


def _features(features: Features) -> Iterator[Finding]:
    yield from semantic_version(features.oci_version_min, "ociVersionMin")
    yield from semantic_version(features.oci_version_max, "ociVersionMax")
    oldest = SEMANTIC_VERSION.fullmatch(features.oci_version_min)
    newest = SEMANTIC_VERSION.fullmatch(features.oci_version_max)
    if oldest and newest and _precedence(newest) < _precedence(oldest):
        yield ["ociVersionMax"], f"must not be less than ociVersionMin, which is {features.oci_version_min}"
    yield from annotation_keys(features.annotations or {})


def _precedence(version: re.Match[str]) -> tuple[object, ...]:
    """What Semantic Versioning compares: numbers before words, a pre-release before its release."""
    numbers = tuple(int(version[group]) for group in (1, 2, 3))
    if version[4] is None:
        return (*numbers, 1)
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in version[4].split("."))
    return (*numbers, 0, parts)


#: What is checked in an object of each class.
RULES: Final[Mapping[type, Rule]] = {
    ContainerProcessState: _process_state,
    Features: _features,
    State: _state,
}
