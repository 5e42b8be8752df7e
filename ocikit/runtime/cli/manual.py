"""The help texts, made from the table of verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.runtime.cli.verbs import GLOBAL_OPTIONS, VERBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.cli.arguments import Option

__all__ = ["manual"]

_NAME = "ocikit-runtime"


def manual(verb: str) -> str:
    """Return the help text of a verb; that of the whole command for any other name."""
    found = VERBS.get(verb)
    if found is None:
        width = max(map(len, VERBS))
        verbs = "".join(f"   {name.ljust(width)}  {one.summary}\n" for name, one in VERBS.items())
        usage = f"   {_NAME} [global options] verb [options] [arguments...]\n"
        return (
            f"NAME:\n   {_NAME} - create, start and end OCI containers\n\nUSAGE:\n{usage}\n"
            f"VERBS:\n{verbs}\nGLOBAL OPTIONS:\n{_list(GLOBAL_OPTIONS)}"
        )
    options = f"\nOPTIONS:\n{_list(found.options)}" if found.options else ""
    between = " [options]" if found.options else ""
    usage = f"   {_NAME} {verb}{between} {found.usage}".rstrip()
    return f"NAME:\n   {_NAME} {verb} - {found.summary}\n\nUSAGE:\n{usage}\n{options}"


def _list(options: Sequence[Option]) -> str:
    lines = [(_names(option), option.help) for option in options if option.help]
    width = max(len(names) for names, _ in lines)
    return "".join(f"   {names.ljust(width)}  {text}\n" for names, text in lines)


def _names(option: Option) -> str:
    value = "" if option.kind == "flag" else " value"
    return ", ".join(f"{'-' * min(len(name), 2)}{name}{value}" for name in option.names)
