"""What the command line has: its verbs, each with its options and the function that carries it out.

Data only; reading it loads nothing of the runtime.
"""

from __future__ import annotations

from typing import Final

from ocikit._tuples import NamedTuple
from ocikit.runtime.cli.arguments import Option

__all__ = ["GLOBAL_OPTIONS", "HELP", "VERBS", "Verb"]

_ANY: Final = 1_000_000


class Verb(NamedTuple):
    """A verb."""

    #: What it does, in a line.
    summary: str
    #: Its arguments, as the help text shows them.
    usage: str
    #: The function that carries it out: a module of this room, and a name in it.
    home: str
    #: Its options, beside ``--help``.
    options: tuple[Option, ...] = ()
    #: How many arguments it takes at least.
    at_least: int = 1
    #: How many arguments it takes at most.
    at_most: int = 1
    #: After how many arguments everything else is an argument, whatever it looks like; None for never.
    stop_after: int | None = None
    #: What stands before the message when it fails.
    prefix: str = ""
    #: The exit code when it fails.
    failure: int = 1


#: Every verb has it, and so has the command.
HELP: Final = Option(("help", "h"), "show this text", "flag")

GLOBAL_OPTIONS: Final = (
    Option(("debug",), "log more", "flag"),
    Option(("log",), "append messages to this file, beside standard error"),
    Option(("log-format",), "form of the messages in that file: text or json", "text", "text"),
    Option(("root",), "the state root (default /run/runc; for other users than root $XDG_RUNTIME_DIR/runc)"),
    Option(("systemd-cgroup",), "let systemd make cgroups; cgroupsPath is then slice:prefix:name", "flag"),
    Option(("cgroup-manager",), "who makes cgroups: cgroupfs or systemd; the same choice, as crun has it"),
    Option(("systemd-properties",), "let annotations set properties of systemd's unit (trusted bundles only)", "flag"),
    Option(("rootless",), "ignore that cgroups cannot be changed: true, false or auto", "text", "auto"),
    Option(("criu",), "", "text"),
    HELP,
    Option(("version", "v"), "show the version", "flag"),
)

_BUNDLE = Option(("bundle", "b"), "directory of the bundle (default: the current one)")
_CONSOLE = Option(("console-socket",), "socket that is sent the descriptor of the terminal")
_PID_FILE = Option(("pid-file",), "file that the process id is written to")
_PIDFD_SOCKET = Option(("pidfd-socket",), "socket that is sent a pidfd of the process")
_PRESERVE = Option(("preserve-fds",), "pass on so many descriptors beside the standard streams", "number")
_DETACH = Option(("detach", "d"), "do not wait for the process", "flag")
_FORMAT = Option(("format", "f"), "table or json", "text", "table")

_CREATION = (
    _BUNDLE,
    Option(("config", "f"), "file with the configuration, below the bundle (default: config.json)"),
    _CONSOLE,
    _PID_FILE,
    _PIDFD_SOCKET,
    _PRESERVE,
    Option(("no-pivot",), "change the root by moving mounts, for root file systems on a ramdisk", "flag"),
    Option(("no-new-keyring",), "keep the session keyring of the caller", "flag"),
    Option(("no-subreaper",), "", "flag"),
)

_EXECUTION = (
    Option(("process", "p"), "file that describes the process whole, as JSON; no command is given then"),
    Option(("cwd",), "working directory"),
    Option(("env", "e"), "set a variable: NAME=value; may be repeated", "texts"),
    Option(("tty", "t"), "give it a terminal", "flag"),
    Option(("user", "u"), "user and group by number: uid[:gid]"),
    Option(("additional-gids", "g"), "further group, by number; may be repeated", "numbers"),
    Option(("cap", "c"), "add a capability, such as CAP_NET_ADMIN; may be repeated", "texts"),
    Option(("apparmor",), "AppArmor profile"),
    Option(("process-label",), "SELinux label"),
    Option(("no-new-privs",), "let it gain no privileges by executing programs", "flag"),
    _DETACH,
    _PID_FILE,
    _CONSOLE,
    _PIDFD_SOCKET,
    _PRESERVE,
    Option(("cgroup",), "existing cgroup below the container's: [controller,...:]path; may be repeated", "texts"),
    Option(("ignore-paused",), "also in a paused container", "flag"),
    Option(("no-subreaper",), "", "flag"),
)

_LIMITS = (
    Option(("resources", "r"), "file with linux.resources as JSON, - for standard input; no other option counts then"),
    Option(("blkio-weight",), "weight for block devices, 10 to 1000"),
    Option(("cpu-burst",), "CPU time beyond the quota that can be saved up, in microseconds"),
    Option(("cpu-idle",), "1 for SCHED_IDLE, 0 for not"),
    Option(("cpu-period",), "length of a period, in microseconds"),
    Option(("cpu-quota",), "CPU time per period, in microseconds"),
    Option(("cpu-rt-period",), "length of a realtime period, in microseconds"),
    Option(("cpu-rt-runtime",), "realtime CPU time per period, in microseconds"),
    Option(("cpu-share",), "weight relative to other containers"),
    Option(("cpuset-cpus",), "CPUs to run on, such as 0-3,7"),
    Option(("cpuset-mems",), "memory nodes to use, such as 0-1"),
    Option(("memory",), "limit of memory in bytes, also as 64m or 1g; -1 for none"),
    Option(("memory-reservation",), "soft limit of memory"),
    Option(("memory-swap",), "limit of memory and swap together; -1 for none"),
    Option(("pids-limit",), "how many tasks there may be"),
    Option(("kernel-memory",), ""),
    Option(("kernel-memory-tcp",), ""),
    Option(("l3-cache-schema",), "Intel RDT: schema of the L3 cache"),
    Option(("mem-bw-schema",), "Intel RDT: schema of the memory bandwidth"),
)

VERBS: Final = {
    "create": Verb("create a container, whose program waits for start", "<id>", "creating:create", _CREATION),
    "run": Verb(
        "create and start a container, wait for its end and delete it",
        "<id>",
        "creating:run",
        (*_CREATION, _DETACH, Option(("keep",), "do not delete the container when it has ended", "flag")),
    ),
    "exec": Verb(
        "run a further program in a container",
        "<id> <command> [arguments...]",
        "executing:execute_in",
        _EXECUTION,
        at_most=_ANY,
        stop_after=1,
        prefix="exec failed: ",
        failure=255,
    ),
    "start": Verb("let the program of a created container run", "<id>", "living:start"),
    "state": Verb("print the state of a container as JSON", "<id>", "looking:state"),
    "list": Verb(
        "list the containers of the state root",
        "",
        "looking:list_all",
        (_FORMAT, Option(("quiet", "q"), "ids only", "flag")),
        at_least=0,
        at_most=0,
    ),
    "ps": Verb(
        "list the processes of a container",
        "<id> [ps options]",
        "looking:processes",
        (_FORMAT,),
        at_most=_ANY,
        stop_after=1,
    ),
    "kill": Verb(
        "send a signal (SIGTERM unless another is named) to the first process of a container",
        "<id> [signal]",
        "living:kill",
        (Option(("all", "a"), "to every process of the container", "flag"),),
        at_most=2,
    ),
    "delete": Verb(
        "remove what a container leaves behind",
        "<id>",
        "living:delete",
        (Option(("force", "f"), "kill it if it runs; nothing to remove is no error", "flag"),),
    ),
    "pause": Verb("freeze every process of a container", "<id>", "living:pause"),
    "resume": Verb("let the processes of a paused container go on", "<id>", "living:resume"),
    "update": Verb("change limits of a container", "<id>", "limiting:update", _LIMITS),
    "events": Verb(
        "tell what a container uses, and when memory runs out, as lines of JSON",
        "<id>",
        "watching:events",
        (
            Option(("interval",), "how often (default: 5s)", "duration", 5.0),
            Option(("stats",), "once, at once", "flag"),
        ),
    ),
    "spec": Verb(
        "write a config.json to start from",
        "",
        "documents:spec",
        (_BUNDLE, Option(("rootless",), "for a user without privileges", "flag")),
        at_least=0,
        at_most=0,
    ),
    "features": Verb("print what this runtime can do as JSON", "", "documents:features", at_least=0, at_most=0),
}
