"""From words to a verb, and from what it raises to a message and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.runtime.cli.arguments import Options, UsageError, parse
from ocikit.runtime.cli.messages import FORMATS, Messages, answer
from ocikit.runtime.cli.verbs import GLOBAL_OPTIONS, HELP, VERBS, Verb
from ocikit.runtime.late_log import log

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Call", "CommandError", "main"]

_NO_SUCH_VERB = 3
_SIGINT = 2


class CommandError(Exception):
    """What was said cannot be done; the message is for whoever said it."""


class Call(NamedTuple):
    """One use of a verb."""

    #: The state root, absolute; None for the default one.
    root: str | None
    #: What is no option: usually the id of a container.
    arguments: tuple[str, ...]
    #: The options of the verb.
    options: Options
    #: The options of the command.
    command: Options
    #: Where warnings go.
    messages: Messages

    @property
    def id(self) -> str:
        """The id of the container.

        Raises:
            CommandError: It is empty.
        """
        if not self.arguments[0]:
            raise CommandError("container id cannot be empty")
        return self.arguments[0]


def main(words: Sequence[str] | None = None) -> int:
    """Carry out one command.

    Args:
        words: What follows the name of the command; None for those that this process was started with.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if words is None else words
    messages = Messages()
    try:
        options, rest = parse(GLOBAL_OPTIONS, words, stop_after=1)
        if options.flag("version"):
            return _say_version()
        if options.flag("help") or not rest or rest[0] in {"help", "h"}:
            return _say_help("" if options.flag("help") else "".join(rest[1:2]))
        root = _root(options)
        messages = _messages(options)
    except UsageError as error:
        return _misused("", error, messages)
    except (CommandError, OSError) as error:
        messages.failed(str(error))
        return 1
    return _carry_out(rest[0], rest[1:], root, options, messages)


def _messages(options: Options) -> Messages:
    form = options.text("log-format") or FORMATS[0]
    if form not in FORMATS:
        raise CommandError(f"invalid log-format: {form}")
    return Messages(options.text("log"), form, debug=options.flag("debug"))


def _root(options: Options) -> str | None:
    if not options.given("root"):
        return None
    root = os.path.abspath(options.text("root"))
    if root == "/":
        raise CommandError("Option --root argument should not be set to /")
    return root


def _carry_out(name: str, words: Sequence[str], root: str | None, command: Options, messages: Messages) -> int:
    verb = VERBS.get(name)
    if verb is None:
        messages.failed(f"No help topic for '{name}'")
        return _NO_SUCH_VERB
    try:
        options, arguments = parse((*verb.options, HELP), words, stop_after=verb.stop_after)
        if options.flag("help"):
            return _say_help(name)
        _count(name, verb, len(arguments))
    except UsageError as error:
        return _misused(name, error, messages)
    return _call(verb, Call(root, tuple(arguments), options, command, messages))


def _call(verb: Verb, call: Call) -> int:
    from ocikit.errors import OCIKitError  # noqa: PLC0415 - help and version need none of it

    module, _, function = verb.home.partition(":")
    try:
        carry_out = getattr(import_module(f"ocikit.runtime.cli.{module}"), function)
        if call.command.flag("debug"):
            call.messages.carry_log()
            call.messages.say("debug", f"{verb.home} {' '.join(call.arguments)}")
        else:
            log.before_first(call.messages.carry_log)
        return int(carry_out(call) or 0)
    except (OCIKitError, CommandError, OSError, ValueError) as error:
        # What begins with the path of a field was found in a configuration.
        blamed = "invalid configuration: " if str(error).startswith("$.") else ""
        call.messages.failed(f"{verb.prefix}{blamed}{error}")
        return verb.failure
    except Exception as error:
        # A fault of ours: callers that read nothing but the log learn of it, too.
        call.messages.say("error", f"{verb.prefix}{type(error).__name__}: {error}")
        raise
    except KeyboardInterrupt:
        return 128 + _SIGINT  # whatever was under way has been undone


def _count(name: str, verb: Verb, found: int) -> None:
    if verb.at_least == verb.at_most != found:
        wrong = f"exactly {verb.at_least}"
    elif found < verb.at_least:
        wrong = f"a minimum of {verb.at_least}"
    elif found > verb.at_most:
        wrong = f"a maximum of {verb.at_most}"
    else:
        return
    raise UsageError(f'ocikit-runtime: "{name}" requires {wrong} argument(s)')


def _misused(name: str, error: UsageError, messages: Messages) -> int:
    answer(f"Incorrect Usage: {error}\n\n")
    _say_help(name)
    messages.failed(str(error))
    return 1


def _say_help(name: str) -> int:
    from ocikit.runtime.cli.manual import manual  # noqa: PLC0415 - asked for rarely

    answer(manual(name))
    return 0


def _say_version() -> int:
    from ocikit import __version__  # noqa: PLC0415

    answer(f"ocikit-runtime version {__version__}\nspec: 1.3.0\n")
    return 0
