"""What is kept of a configuration for further processes: written when the container is made, read by each of them.

Pure. Nobody can count on the ``config.json`` that a container was made from: it may never have been written, and may
say something else by now. What is needed is kept beside the state of the container (``process.json``), with the filter
for system calls compiled, so that a further process cannot have another one.
"""

from __future__ import annotations

import binascii
import functools
import json
from typing import TYPE_CHECKING, Any

from ocikit.errors import StateError
from ocikit.runtime.once import Once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.runtime.seccomp import Filter
    from ocikit.runtime.state.template import Template
    from ocikit.spec import Process

__all__ = ["note", "read_note"]


def note(
    process: Process,
    *,
    keyring: bool,
    personality: int | None,
    memory_policy: tuple[int, bytes] | None,
    seccomp: Filter | None,
) -> bytes:
    """Return what is to be kept of a configuration, as JSON."""
    found: dict[str, Any] = {"keyring": keyring}
    if personality is not None:
        found["personality"] = personality
    if memory_policy is not None:
        found["memory_policy"] = memory_policy[0], memory_policy[1].hex()
    filtering = b', "seccomp": ' + _filter_text(seccomp) if seccomp is not None else b""
    return b'{"process":' + _text_of(process) + b"," + json.dumps(found).encode()[1:-1] + filtering + b"}"


@functools.lru_cache(maxsize=32)
def _filter_text(seccomp: Filter) -> bytes:
    program = binascii.b2a_base64(seccomp.program, newline=False).decode()
    return json.dumps({"program": program, "flags": seccomp.flags, "listener": seccomp.listener}).encode()


_text_of: Once[Process, bytes] = Once(lambda process: process.to_json())


def read_note(data: Mapping[str, Any], where: str) -> Template:
    """Read what :func:`note` returned.

    Args:
        data: The plain data.
        where: What it was read from, for the error.

    Raises:
        StateError: It is something else.
    """
    from ocikit.runtime.state.template import Template  # noqa: PLC0415 - whoever writes has no use for it
    from ocikit.spec import Process  # noqa: PLC0415 - the classes of the specification are many

    try:
        process = Process.from_dict(data["process"])
        keyring, personality = bool(data["keyring"]), data.get("personality")
        personality = None if personality is None else _word(personality)
        seccomp = _filter(data["seccomp"]) if "seccomp" in data else None
        mode, nodes = data.get("memory_policy") or (None, "")
        memory_policy = None if mode is None else (_word(mode), bytes.fromhex(nodes))
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{where}: damaged: what is kept for further processes cannot be read ({error})") from error
    return Template(
        process=process,
        defaults=process,
        keyring=keyring,
        personality=personality,
        seccomp=seccomp,
        memory_policy=memory_policy,
    )


def _filter(data: Mapping[str, Any]) -> Filter:
    from ocikit.runtime.seccomp.compile import Filter, Listener  # noqa: PLC0415 - only where there is one
    from ocikit.runtime.seccomp.profile import HandOver  # noqa: PLC0415

    listener = None
    if data["listener"] is not None:
        path, metadata, how = data["listener"]
        listener = Listener(path, metadata, HandOver(how))
    program = binascii.a2b_base64(data["program"], strict_mode=True)
    if not program or len(program) % 8:
        raise ValueError("the filter")
    return Filter(program, _word(data["flags"]), listener)


def _word(value: Any) -> int:  # noqa: ANN401 - whatever the file holds
    if not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError(f"expected 32 bits, found {value!r}")
    return value
