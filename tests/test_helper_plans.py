"""The helper believes nothing: every damaged plan ends with a message and an exit code, never with a crash.

Plans are damaged at random, the same way in every run (``OCIKIT_FUZZ_ROUNDS`` makes it more of them), and carried out
in a sandbox, because some damage leaves a plan that is well-formed and does something else.
"""

from __future__ import annotations

import errno
import os
import random
import select
import signal
import socket
import struct
from collections import Counter
from typing import NamedTuple

import pytest
from sandbox import in_sandbox

from ocikit import _sys
from ocikit.runtime.plan.steps import ANY, NO_SLOT, PASSED, Op, Plan, Slot, Step, Sync

ROUNDS = int(os.environ.get("OCIKIT_FUZZ_ROUNDS", "2000"))
ROUNDS_OF_ONE_SANDBOX = 250

PLAN_ITSELF = 0xFFFF_FFFF
SAID_PID, SAID_FAILED = 1, 4
P_PIDFD = 3
WALL = 0x4000_0000
SECONDS = 30.0

NAMESPACES = 0x7E02_0080  # CLONE_NEWNS and so on: all of them
HEAD = struct.Struct("=6I")
STEP_HEAD = struct.Struct("=IHH5Q")
INTERESTING = (
    *(0, 1, 2, 3, 7, 8, 31, 32, 33, 34, 35, 36, 47, 48, 49, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000),
    *(0xFFFF_FFFF, 0xFFFF_FFF8, 0xFFFF_FFFC, 64 << 20, (64 << 20) - 1),
)


class End(NamedTuple):
    """How a plan ended."""

    #: The exit code of the helper; a signal is negative.
    helper: int
    #: That of init, when there was one.
    init: int | None
    #: The step and the errno of the message that says what failed, when there was one.
    failed: tuple[int, int] | None


def step(op: Op, *arguments: int, strings: tuple[bytes, ...] = ()) -> Step:
    """Make a step; what it is for does not matter here."""
    return Step(op, op.name, arguments, strings)


def head(steps: int, length: int, *, magic: int = 0x4B49434F, version: int = 3, passed: int = 0) -> bytes:
    """Make the head of a plan."""
    return HEAD.pack(magic, version, steps, length, passed, 0)


ROOT, PROC, MOUNT = Slot.ROOT, Slot.PROC, Slot.MOUNT

#: Every operation, most of them in an order in which they succeed in the sandbox.
EVERYTHING = (
    step(Op.UNSHARE, 0x0E02_0000),
    step(Op.RLIMIT, 7, 1024, 1024),
    step(Op.CLONE, 0x2400_0000, NO_SLOT),
    step(Op.SYNC, Sync.ID_MAPS, NO_SLOT),
    step(Op.HOSTNAME, strings=(b"fuzzed",)),
    step(Op.DOMAINNAME, strings=(b"fuzzed",)),
    step(Op.KEYRING, strings=(b"_ses.fuzzed",)),
    step(Op.ENDABLE),
    step(Op.PROCFS, PROC, 0),
    step(Op.MKDIR, NO_SLOT, 0o755, strings=(b"/root",)),  # below the working directory
    step(Op.ROOT, ROOT, strings=(b"/tmp/root",)),
    step(Op.FILESYSTEM, MOUNT, 0xE, strings=(b"tmpfs", b"tmpfs", b"mode=755", b"size=64k")),
    step(Op.MKDIR, ROOT, 0o755, strings=(b"/a/deep/directory",)),
    step(Op.ATTACH, ROOT, MOUNT, 0, 0, strings=(b"/a/deep",)),
    step(Op.BIND, MOUNT, 1, 1, 0, strings=(b"/usr",)),
    step(Op.ATTACH, ROOT, MOUNT, 1, 0x4_0000, strings=(b"/usr",)),
    step(Op.SETATTR, MOUNT, 1, 1, 0, 0, strings=(b"",)),
    step(Op.NODE, ROOT, 0o010600, 0, 0, 0, strings=(b"/dev/fifo",)),
    step(Op.SYMLINK, ROOT, strings=(b"/proc/self/fd", b"/dev/fd")),
    step(Op.FILESYSTEM, MOUNT, 0, 1, ROOT, strings=(b"tmpfs", b"tmpfs", b"/a", b"size=64k")),
    step(Op.COPYUP, ROOT, MOUNT, 1, strings=(b"/dev",)),
    step(Op.ATTACH, ROOT, MOUNT, 0, strings=(b"/dev",)),
    step(Op.REMOUNT, ROOT, 0x3, 0x4, 0x20_0000, 1, strings=(b"/dev", b"size=32k")),
    step(Op.MASK, ROOT, strings=(b"/a/deep", b"")),
    step(Op.READONLY, ROOT, strings=(b"/usr",)),
    step(Op.PIVOT, ROOT),
    step(Op.CLOSE, ROOT),
    step(Op.UMASK, 0o022),
    step(Op.BOUND, 0x20_0000_0000),
    step(Op.KEEPCAPS, 1),
    step(Op.CWD, 1, strings=(b"/",)),
    step(Op.IDS, 0, 0),
    step(Op.CAPS, 0, 0, 0),
    step(Op.AMBIENT, 0),
    step(Op.NO_NEW_PRIVS),
    step(Op.FIND, strings=(b"/bin/missing", b"/usr/bin/missing")),
    step(Op.READY),
    step(Op.FIFO, PROC, Slot.FIFO),
    step(Op.EXEC, 2, strings=(b"sh", b"-c", b"PATH=/bin", b"")),
)

#: Those that fail at once, or that are of interest without the rest.
ALONE = (
    step(Op.OPEN, Slot.JOINED, 0, strings=(b"/proc/self/ns/net",)),
    step(Op.JOIN, 0x4000_0000, Slot.JOINED, 0),
    step(Op.DUMPABLE, 0),
    step(Op.RLIMIT, 7, 1024, 2048, 1),
    step(Op.COPY_ROOT, ROOT, strings=(b"/usr",)),
    step(Op.COVER, ROOT),
    step(Op.WRITE, NO_SLOT, 0, strings=(b"/proc/self/oom_score_adj", b"100")),
    step(Op.LOOPBACK),
    step(Op.GROUPS, strings=(struct.pack("=3I", 0, 5, 7),)),
    step(Op.JOIN_PROCESS, Slot.PROCESS, 0x4000_0000),
    step(Op.IDMAP, MOUNT, 1, Slot.USER_NAMESPACES),
    step(Op.COPYUP, ROOT, MOUNT, strings=(b"/etc",)),
    step(Op.NETLINK, Slot.NETLINK),
    step(Op.BIND, MOUNT, 4, 1, 0, strings=(b"/usr",)),
    step(Op.FILESYSTEM, MOUNT, 0xE, 2, strings=(b"cgroup2", b"cgroup", b"/etc")),
    step(Op.UNMOUNT, strings=(b"/sys",)),
    step(Op.CHROOT, ROOT),
    step(Op.BIND, MOUNT, 256 << 32 | 9, strings=(b"/usr",)),
    step(Op.PIVOT, MOUNT, 1),
    step(Op.NODE, ROOT, 0x1_0000_21B6, 1 << 32 | 3, 0, 0, strings=(b"/dev/null",)),
    step(Op.CONSOLE, NO_SLOT, Slot.CONSOLE, 24 << 16 | 80, 0, 1),
    step(Op.CTTY),
    step(Op.ATTEND, NO_SLOT),
    step(Op.MONITOR, Slot.MONITOR, 0, 0, 1 << 20, 2, strings=(b"log", b"t/missing", b"p/missing", b"m/missing", b"x")),
    step(Op.HOOK, 1000, 1, strings=(b'{"pid":', b"}", b"/bin/missing", b"missing")),
    step(Op.LABEL, MOUNT, strings=(b"system_u:object_r:container_file_t:s0",)),
    step(Op.IO_PRIORITY, 2 << 13 | 4),
    step(Op.AFFINITY, strings=(b"\1",)),
    step(Op.PERSONALITY, 0),
    step(Op.MEMORY_POLICY, 0, strings=(b"",)),
    step(Op.SECCOMP, 0, Slot.LISTENER, strings=(struct.pack("=HBBI", 6, 0, 0, 0x7FFF_0000),)),
    step(Op.INHERIT, Slot.PRESERVED, 0),
    step(Op.EXEC, 1, strings=(b"sh",)),
)


def plans() -> list[tuple[Step, ...]]:
    """Return plans that are sound: all steps, parts, each step alone, and none."""
    alone = EVERYTHING[0]  # namespaces of its own, so that a plan does not change what the next one finds
    chosen: list[tuple[Step, ...]] = [
        EVERYTHING,
        (alone, *EVERYTHING[3:]),
        (alone, *EVERYTHING[6:20]),
        ALONE,
        ALONE[::-1],
        (),
    ]
    chosen += [(alone, one) for one in (*EVERYTHING, *ALONE)]
    return chosen


def is_well_formed(data: bytes) -> bool:
    """Say what the helper has to say about the form of a plan; written from the description in wire.h."""
    if not HEAD.size <= len(data) <= 64 << 20:
        return False
    magic, version, steps, length, passed, _ = HEAD.unpack_from(data)
    if (magic, version, length) != (0x4B49434F, 3, len(data)) or passed > PASSED:
        return False
    offset = HEAD.size
    for _ in range(steps):
        if len(data) - offset < STEP_HEAD.size:
            return False
        size, op, strings = STEP_HEAD.unpack_from(data, offset)[:3]
        if size < STEP_HEAD.size or size % 8 or size > len(data) - offset or not step_is_well_formed(
            op, strings, data[offset + STEP_HEAD.size : offset + size]
        ):  # fmt: skip
            return False
        offset += size
    return True


TAKES = dict(enumerate(strings for _, strings in _sys.wire_operations()))


def step_is_well_formed(op: int, count: int, rest: bytes) -> bool:
    """Look at one step: a known operation with the strings it takes, each whole and with its NUL."""
    if op not in TAKES or (count == 0 if TAKES[op] == ANY else count != TAKES[op]):
        return False
    at = 0
    for _ in range(count):
        if len(rest) - at < 4:
            return False
        length = int.from_bytes(rest[at : at + 4], "little")
        at += 4
        padded = (length + 4) & ~3
        if len(rest) - at < padded or rest[at + length]:
            return False
        at += padded
    return True


def damaged_form(steps: tuple[Step, ...], source: random.Random) -> bytes:
    """Damage the bytes of a plan, in one to four ways; often so that the total length still agrees."""
    changed = bytearray(Plan(steps).encode())
    for _ in range(source.randint(1, 4)):
        source.choice(WAYS)(changed, source)
    if source.random() < 0.7 and len(changed) >= HEAD.size:
        changed[12:16] = struct.pack("=I", len(changed))
    return bytes(changed)


def damaged_meaning(steps: tuple[Step, ...], source: random.Random) -> bytes:
    """Change what a plan says, and leave its form as it is: other numbers, other strings, another order."""
    changed = [*steps] or [EVERYTHING[1]]
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(changed))
        one = changed[at]
        match source.randrange(5):
            case 0:
                changed.insert(source.randrange(len(changed) + 1), source.choice((*EVERYTHING, *ALONE)))
            case 1:
                changed[at], changed[0] = changed[0], changed[at]
            case 2 if one.strings:
                strings = (source.choice((b"", b"/", b"..", b"x" * 5000, source.randbytes(9))), *one.strings[1:])
                changed[at] = one._replace(strings=strings)
            case _:
                numbers = [*one.arguments, *[0] * (5 - len(one.arguments))]
                numbers[source.randrange(5)] = source.choice((*INTERESTING, NO_SLOT, source.getrandbits(64)))
                changed[at] = one._replace(arguments=tuple(numbers))
    return Plan(tuple(changed)).encode()


def noise(_: tuple[Step, ...], source: random.Random) -> bytes:
    """Return no plan at all, now and then one that begins like one."""
    begin = source.choice((b"", head(source.randrange(4), 300)))
    return (begin + source.randbytes(300))[: source.choice((15, 16, 63, 64, 300))]


def flip_a_bit(data: bytearray, source: random.Random) -> None:
    """Turn one bit."""
    if data:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def write_a_number(data: bytearray, source: random.Random) -> None:
    """Put a number that often means trouble where a number may stand."""
    size = source.choice((2, 4, 8))
    at = source.randrange(0, max(1, len(data) - size), 2)
    number = source.choice(INTERESTING) if source.random() < 0.8 else source.getrandbits(64)
    data[at : at + size] = (number & (1 << 8 * size) - 1).to_bytes(size, "little")


def cut_out(data: bytearray, source: random.Random) -> None:
    """Take a piece away."""
    at = source.randrange(len(data) + 1)
    del data[at : at + source.choice((1, 4, 8, 48, 1000))]


def truncate(data: bytearray, source: random.Random) -> None:
    """Take the end away."""
    del data[source.randrange(len(data) + 1) :]


def put_in(data: bytearray, source: random.Random) -> None:
    """Put a piece in: noise, zeros, or a piece of the plan itself."""
    at = source.randrange(0, len(data) + 1, 4)
    begin = source.randrange(len(data) + 1)
    data[at:at] = source.choice((source.randbytes(8), bytes(48), bytes(data[begin : begin + 56]), b"\xff" * 16))


def change_the_head(data: bytearray, source: random.Random) -> None:
    """Say another number of steps."""
    data[8:12] = struct.pack("=I", source.choice((0, 1, 2, 5, 30, 33, 34, 1000, 0xFFFF_FFFF)))


KINDS = (damaged_form, damaged_meaning, damaged_form, damaged_meaning, noise)
WAYS = (flip_a_bit, flip_a_bit, write_a_number, write_a_number, cut_out, truncate, put_in, change_the_head)


def tame(data: bytes) -> bytes:
    """Let a well-formed plan clone with flags for namespaces only: others share memory, and prove nothing."""
    changed = bytearray(data)
    offset = HEAD.size
    for _ in range(HEAD.unpack_from(data)[2]):
        size, op = STEP_HEAD.unpack_from(changed, offset)[:2]
        if op == Op.CLONE:
            at = offset + 8
            flags = int.from_bytes(changed[at : at + 8], "little") & NAMESPACES
            changed[at : at + 8] = flags.to_bytes(8, "little")
        if op == Op.SECCOMP:  # a filter that was damaged may end the process, as filters do: none is loaded
            changed[offset + 8 : offset + 16] = b"\xff" * 8
        offset += size
    return bytes(changed)


def carry_out(data: bytes, *, answer: bool) -> End:
    """Hand a plan to a helper and talk to it until it is gone, or refuse to."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan = os.memfd_create("plan")
    process = _sys.Spawned()
    os.write(plan, data)
    # The plan is its standard input, too: nothing here needs a file, which a plan may have taken away.
    _sys.start_helper(process, [plan, plan, plan, plan, theirs.fileno()])
    theirs.close()
    os.close(plan)
    init = -1
    failed = None
    inbox = _sys.Inbox()
    with ours:
        while answer or init < 0:
            if not select.select([ours], [], [], SECONDS)[0]:
                break
            try:
                if not inbox.receive(ours.fileno()):
                    break
                if inbox.said == SAID_PID and inbox.fd >= 0:
                    init = inbox.take_fd()
                elif inbox.said == SAID_FAILED:
                    failed = (inbox.step, inbox.answer)
                else:
                    ours.send(b"g")
            except OSError:
                break
    code = wait(process.pidfd)
    process.close()
    return End(code, wait(init, close=True) if init >= 0 else None, failed)


def wait(pidfd: int, *, close: bool = False) -> int:
    """Wait for a process; one that does not end is killed, which is as good as a crash."""
    if not select.select([pidfd], [], [], SECONDS)[0]:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    try:
        ended = os.waitid(P_PIDFD, pidfd, os.WEXITED | WALL)
    except ChildProcessError:
        # The child of an attendant, who has seen how it ended; it is gone, which is all that is known here.
        return 0
    finally:
        if close:
            os.close(pidfd)
    if ended is None:
        return -1
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def verdict(data: bytes, end: End) -> str | None:
    """Say what is wrong with the end of a plan."""
    if end.helper < 0 or (end.init or 0) < 0:
        return f"ended by a signal: {end}"
    if end.helper not in {0, 255} or end.init not in {None, 0, 255}:
        return f"an exit code of nobody: {end}"
    refused = end.failed == (PLAN_ITSELF, errno.EPROTO)
    if refused == is_well_formed(data):
        return f"{'refused' if refused else 'carried out'} in spite of its form: {end}"
    if refused and (end.helper, end.init) != (255, None):
        return f"refused, and gone on: {end}"
    return None


def fuzz(seed: int, rounds: int) -> dict[str, object]:
    """Carry out damaged plans; return what went wrong, and how the others ended."""
    source = random.Random(seed)  # noqa: S311 - every run is to be the same
    whole = plans()
    ends: Counter[str] = Counter()
    wrong = []
    for number in range(rounds):
        data = KINDS[number % len(KINDS)](source.choice(whole), source)
        if is_well_formed(data):
            data = tame(data)
        end = carry_out(data, answer=source.random() < 0.8)
        ends[outcome(end)] += 1
        if problem := verdict(data, end):
            wrong.append(f"seed {seed}, round {number}: {problem}: {data.hex()}")
    return {"wrong": wrong, "ends": ends}


def outcome(end: End) -> str:
    """Return the kind of an end."""
    if end.failed is None:
        return "done"
    return "refused" if end.failed[0] == PLAN_ITSELF else "failed"


def test_damaged_plans_are_refused_or_end_in_order() -> None:
    """The helper refuses exactly the plans that are malformed, and ends by itself in every case."""
    ends: Counter[str] = Counter()
    for seed in range(0, ROUNDS, ROUNDS_OF_ONE_SANDBOX):
        found = in_sandbox(lambda seed=seed: fuzz(seed, ROUNDS_OF_ONE_SANDBOX))  # type: ignore[misc]
        if found["wrong"]:
            pytest.fail("\n".join(found["wrong"][:10]), pytrace=False)
        ends.update(found["ends"])
    # The damage is of the right strength: enough plans are refused, and enough get past the check.
    assert min(ends["refused"], ends["failed"], ends["done"]) > sum(ends.values()) // 50, ends


def test_whole_plans_are_carried_out() -> None:
    """Undamaged, the plan with every operation gets as far as it can here, and all the others pass the check."""

    def run() -> list[End]:
        return [carry_out(Plan(steps).encode(), answer=True) for steps in plans()]

    ends = in_sandbox(run)
    _, init, failed = ends[0]
    assert init == 255
    assert failed == [[one.op for one in EVERYTHING].index(Op.FIND), errno.ENOENT]
    assert all(helper in {0, 255} and (failed is None or failed[0] != PLAN_ITSELF) for helper, _, failed in ends)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("nothing", b""),
        ("a head cut short", head(0, 24)[:23]),
        ("more descriptors than can be passed", head(0, 24, passed=PASSED + 1)),
        ("another magic", head(0, 24, magic=0x4B49434E)),
        ("another version", head(0, 24, version=4)),
        ("a length too short", head(0, 23)),
        ("a length too long", head(0, 25)),
        ("a step that is missing", head(1, 24)),
        ("more steps than there can be", head(0xFFFF_FFFF, 72) + bytes(48)),
        ("a step without length", head(1, 72) + STEP_HEAD.pack(0, Op.LOOPBACK, 0, *[0] * 5)),
        ("an odd length", head(1, 76) + STEP_HEAD.pack(52, Op.LOOPBACK, 0, *[0] * 5) + bytes(4)),
        ("an unknown operation", head(1, 72) + STEP_HEAD.pack(48, len(Op), 0, *[0] * 5)),
        ("too many strings", head(1, 80) + STEP_HEAD.pack(56, Op.LOOPBACK, 1, *[0] * 5) + bytes(8)),
        ("no string", head(1, 72) + STEP_HEAD.pack(48, Op.EXEC, 0, *[0] * 5)),
        ("no NUL", head(1, 80) + STEP_HEAD.pack(56, Op.HOSTNAME, 1, *[0] * 5) + b"\3\0\0\0abcd"),
        (
            "a string too long",
            head(1, 80) + STEP_HEAD.pack(56, Op.HOSTNAME, 1, *[0] * 5) + b"\4\0\0\0abc\0",
        ),
        ("a huge string", head(1, 80) + STEP_HEAD.pack(56, Op.HOSTNAME, 1, *[0] * 5) + b"\xff" * 8),
    ],
)
def test_malformed_plans_are_refused(text: str, data: bytes) -> None:
    """Each fault of form is found before the first step is carried out."""
    assert not is_well_formed(data), text
    assert carry_out(data, answer=True) == End(255, None, (PLAN_ITSELF, errno.EPROTO))


def test_a_plan_may_be_large_and_not_endless() -> None:
    """A plan of many megabytes is read; one of more than 64 MiB is refused."""
    large = Plan(tuple(step(Op.NO_NEW_PRIVS) for _ in range(100_000))).encode()
    assert carry_out(large, answer=True) == End(0, None, None)
    assert carry_out(large.ljust((64 << 20) + 8, b"\0"), answer=True).failed == (PLAN_ITSELF, errno.EPROTO)


def test_a_helper_without_a_plan_says_so() -> None:
    """A descriptor that is no file with a plan is an error of the plan."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = _sys.Spawned()
    with ours, theirs:
        _sys.start_helper(process, [0, 1, 2, ours.fileno(), theirs.fileno()])
        theirs.close()
        inbox = _sys.Inbox()
        assert wait(process.pidfd) == 255
        assert inbox.receive(ours.fileno())
    process.close()
    assert (inbox.said, inbox.step) == (SAID_FAILED, PLAN_ITSELF)
