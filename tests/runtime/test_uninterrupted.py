"""Work that an interrupt must not cut in two: interrupted at every single instruction of whoever waits for it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import dis, sys, threading, time
from ocikit.runtime.uninterrupted import uninterrupted

class Interrupter:
    def __init__(self, moment):
        self.left = moment
    def __call__(self, frame, event, argument):
        frame.f_trace_opcodes = True
        # No signal is looked for between the last instruction of a function and its return.
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] != dis.opmap["RETURN_VALUE"]:
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

def interrupt(moment, finish):
    done = []
    def work(cancellation):
        done.append("begun")
        time.sleep(0.002)
        done.append("made")
        return "made"
    interrupter = Interrupter(moment)
    sys.settrace(interrupter)
    try:
        assert uninterrupted(work, None if finish else lambda made: done.append("undone"), finish=finish) == "made"
    except KeyboardInterrupt:
        # It was not begun, or is over: finished or undone.
        last = done[-1] if done else ""
        assert last in ({"", "made"} if finish else {"", "undone"}), (moment, finish, done)
    else:
        assert done == ["begun", "made"], (moment, finish, done)
    finally:
        sys.settrace(None)
    return interrupter.left <= 0

for finish in (False, True):
    moment = 1
    while interrupt(moment, finish):
        moment += 1
    assert moment > 50, moment
    print(moment)
assert threading.active_count() == 1
"""


def test_every_moment_of_an_interrupt() -> None:
    """The work is not begun, or done and undone, or done to its end; nobody waits for ever, and no thread is left."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2


LATE = """
import sys
from ocikit.runtime.uninterrupted import uninterrupted
uninterrupted(lambda cancellation: None)

class Late:
    def __del__(self):
        print(uninterrupted(lambda cancellation: "done"), flush=True)

late = Late()
late.itself = late
"""


def test_work_while_the_interpreter_ends() -> None:
    """What is forgotten last is cleaned up, too, when other threads sleep for ever."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "done\n"
