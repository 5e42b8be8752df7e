"""``spec`` and ``features``: documents that are about no container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.cli.messages import answer

if TYPE_CHECKING:
    from ocikit.runtime.cli.dispatch import Call

__all__ = ["features", "spec"]

_CONFIG = "config.json"


def spec(call: Call) -> None:
    """Write a configuration to start from."""
    from ocikit.spec import Spec  # noqa: PLC0415 - features needs none

    bundle = call.options.text("bundle")
    made = Spec.default(rootless=call.options.flag("rootless"), cgroup_namespace=_v2_only())
    try:
        with open(os.path.join(bundle, _CONFIG), "xb") as file:
            file.write(_indented(made.to_json(), "\t"))
    except FileExistsError:
        raise CommandError(f"File {_CONFIG} exists. Remove it first") from None


def _v2_only() -> bool:
    """Tell whether a cgroup namespace is worth having: with cgroup v1 it would be in the way of the mounts."""
    from ocikit.runtime.cgroups import hierarchies as cgroups  # noqa: PLC0415

    return cgroups.detect().v2_only


def features(call: Call) -> None:
    """Print what this runtime can do."""
    from ocikit.runtime.abilities import features as found  # noqa: PLC0415 - spec needs none

    del call
    answer(_indented(found().to_json(), "    ").decode())


def _indented(document: bytes, by: str) -> bytes:
    import json  # noqa: PLC0415

    return f"{json.dumps(json.loads(document), indent=by, ensure_ascii=False)}\n".encode()
