"""The hooks of a configuration as commands: from the configuration, and to and from the ``state.json`` of runc.

Pure. A command that is no path, or that the kernel would read as another one, is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import StateError, ValidationError
from ocikit.runtime.plan.steps import MAX_STRINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.spec import Hooks

__all__ = ["KINDS", "HookCommand", "check_hooks", "commands", "hooks_document", "parse_hooks"]

#: Kind of hook, in the order in which they run → its attribute in the configuration.
KINDS: Final = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}

_NANOSECONDS: Final = 1_000_000_000
#: What a duration of Go holds: 292 years. Whoever allows a hook more than that means no limit.
_LONGEST: Final = (1 << 63) - 1

_FEW: Final = MAX_STRINGS - 8  # the step that runs a hook has some strings of its own


class HookCommand(NamedTuple):
    """One hook: a program, and how it is run."""

    #: The JSON path of the hook in the configuration (``$.hooks.poststop[0]``).
    path: str
    #: What is executed, an absolute path.
    program: str
    #: Its arguments, from its own name on; never empty.
    arguments: tuple[str, ...]
    #: Its environment.
    environment: tuple[str, ...] = ()
    #: How long it may take, in nanoseconds; None is as long as it takes.
    timeout: int | None = None


def commands(hooks: Hooks | None, *kinds: str) -> tuple[HookCommand, ...]:
    """Return the hooks of some kinds of a configuration, in their order."""
    if hooks is None:
        return ()
    return tuple(
        HookCommand(
            f"$.hooks.{kind}[{number}]",
            hook.path,
            hook.args or (hook.path,),
            hook.env,
            None if hook.timeout is None else min(hook.timeout * _NANOSECONDS, _LONGEST),
        )
        for kind in kinds
        for number, hook in enumerate(getattr(hooks, KINDS[kind]))
    )


def check_hooks(hooks: Hooks | None) -> None:
    """Refuse hooks that could not be run as they stand, before anything is made.

    Raises:
        ValidationError: With everything that is wrong.
    """
    wrong = tuple(violation for command in commands(hooks, *KINDS) for violation in _violations(command))
    if wrong:
        raise ValidationError(wrong)


def _violations(command: HookCommand) -> Iterator[str]:
    strings = (command.program, *command.arguments, *command.environment)
    if not command.program.startswith("/"):
        yield f"{command.path}.path: expected an absolute path, found {command.program!r}"
    if any("\0" in string for string in strings):
        yield f"{command.path}: a string with a NUL byte in it"
    if len(strings) > _FEW:
        yield f"{command.path}: {len(strings):,} arguments and variables; expected at most {_FEW:,}"
    if command.timeout is not None and command.timeout <= 0:
        yield f"{command.path}.timeout: expected more than zero"


def hooks_document(hooks: Hooks | None) -> dict[str, Any]:
    """Return ``config.Hooks`` of a ``state.json``."""
    found: dict[str, Any] = dict.fromkeys(sorted(KINDS))
    for kind in KINDS:
        found[kind] = [
            {
                "path": command.program,
                "args": list(command.arguments),
                "env": list(command.environment),
                "dir": "",
                "timeout": command.timeout,
            }
            for command in commands(hooks, kind)
        ] or None
    return found


def parse_hooks(document: Mapping[str, Any], kind: str, where: str) -> tuple[HookCommand, ...]:
    """Read the hooks of one kind from ``config.Hooks`` of a ``state.json``.

    Args:
        document: The object, as it was read.
        kind: The kind.
        where: What it was read from, for errors.

    Raises:
        StateError: One of them is none.
    """
    entries = document.get(kind) or ()
    if not isinstance(entries, (list, tuple)):
        raise StateError(f"{where}: config.Hooks.{kind}: expected an array")
    found = []
    for number, entry in enumerate(entries):
        command = _command(entry, f"$.hooks.{kind}[{number}]")
        if command is None or any(_violations(command)):
            raise StateError(f"{where}: config.Hooks.{kind}[{number}]: expected a hook, found {str(entry)[:200]}")
        found.append(command)
    return tuple(found)


def _command(entry: object, path: str) -> HookCommand | None:
    if not isinstance(entry, dict):
        return None
    program, timeout = entry.get("path"), entry.get("timeout")
    arguments, environment = entry.get("args") or [], entry.get("env") or []
    if not isinstance(program, str) or not _is_strings(arguments) or not _is_strings(environment):
        return None
    if timeout is not None and (not isinstance(timeout, int) or isinstance(timeout, bool)):
        return None
    return HookCommand(path, program, tuple(arguments) or (program,), tuple(environment), timeout)


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
