"""One plan for all containers of a configuration: compiled once, for a stand-in of their ids.

What differs between two containers that are made from one configuration in one place is the id, wherever that is
written. A word of the same length that occurs nowhere else stands in for it, and gives way to the id in the plan as it
is packed: its layout stays.

Pure.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Final

from ocikit.runtime.once import Once
from ocikit.runtime.plan.compiler import Surroundings, compile_plan

if TYPE_CHECKING:
    from ocikit.runtime.plan.steps import Plan
    from ocikit.spec import Spec

__all__ = ["plan_for"]

# A shorter word might occur by chance.
_SHORTEST: Final = 8

# How many places are remembered of one configuration.
_KEPT: Final = 8

_plans: Once[Spec, dict[Surroundings, Plan]] = Once(lambda _: {})


@functools.cache
def _word(length: int) -> str:
    """Return a word that nobody knows before."""
    return os.urandom(length).hex()[:length]


def plan_for(spec: Spec, around: Surroundings) -> Plan:
    """Turn a configuration into the plan that makes its container, or take one from an earlier time.

    Args:
        spec: The configuration.
        around: The place it is made in.

    Raises:
        OCIKitError: As :func:`~ocikit.runtime.plan.compiler.compile_plan` raises it.
    """
    if len(around.id) < _SHORTEST:
        return compile_plan(spec, around)
    word = _word(len(around.id))
    anybody = around._replace(
        id=word,
        cgroup_join=_put(around.cgroup_join, around.id, word),
        cgroup_mounts=_put(around.cgroup_mounts, around.id, word),
    )
    known = _plans(spec)
    plan = known.get(anybody)
    if plan is None:
        compile_plan(spec, around)  # whose errors are about this container, and about no stand-in
        plan = compile_plan(spec, anybody).packed()
        if len(known) >= _KEPT:
            known.clear()
        known[anybody] = plan
    return plan.named(word, around.id)


def _put(value: Any, old: str, new: str) -> Any:  # noqa: ANN401 - strings and what holds them
    """Return a value with one word in the place of another, in every string of it."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, tuple):
        parts = (_put(one, old, new) for one in value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
