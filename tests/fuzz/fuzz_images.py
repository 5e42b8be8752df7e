"""Fuzzing of everything that reads an image: ``fuzz_images.py [--seconds N] [--seed S] [--case N] [TARGET …]``.

Each target runs in a process of its own for some seconds, case after case. A case that raises anything but the errors
that are documented, takes longer than :data:`CASE_SECONDS`, needs more memory than :data:`MEMORY`, or leaves a
descriptor, a thread or a temporary file behind, ends the process; what is printed then makes it again: the seed and the
number of the case.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import targets

CASE_SECONDS = 20
MEMORY = 1 << 30
# Loading takes its time, too, on a machine that others use.
STARTING_SECONDS = 60


def run_cases(name: str, seed: str, seconds: float, only: int | None) -> int:
    """Run cases of a target in this process until its time is over; return how many there were."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    target, number = targets.TARGETS[name], only or 0
    end = time.monotonic() + seconds
    descriptors = -1
    scratch = Path(tempfile.mkdtemp(prefix="ocikit-fuzz-"))
    while number == (only or 0) or (only is None and time.monotonic() < end):
        faulthandler.dump_traceback_later(CASE_SECONDS, exit=True)
        try:
            target(Random(f"{seed}/{name}/{number}"), scratch)  # noqa: S311 - a seed makes the same case again
            leftovers = [str(one) for one in scratch.rglob(".ocikit-tmp-*")]
            assert not leftovers, leftovers
        except BaseException:
            sys.stderr.write(f"\n{name}: case {number} of seed {seed} failed\n")
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
            for one in scratch.iterdir():
                shutil.rmtree(one, ignore_errors=True) if one.is_dir() else one.unlink()
        if number % 50 == 1:
            # The first cases load what is needed; from then on nothing is to stay open.
            gc.collect()
            now = len(os.listdir("/proc/self/fd"))
            more = f"{name}: {now - descriptors} descriptors more after case {number} of {seed}"
            assert descriptors in {-1, now}, more
            assert threading.active_count() == 1, threading.enumerate()
            descriptors = now
        number += 1
    return number - (only or 0)


def run_target(name: str, seed: str, seconds: float, only: int | None = None) -> tuple[bool, str]:
    """Run a target in a process of its own; return whether all went well, and what it said."""
    command = [sys.executable, __file__, "--child", "--seed", seed, "--seconds", str(seconds), name]
    command += ["--case", str(only)] if only is not None else []
    with tempfile.TemporaryDirectory(prefix="ocikit-fuzz-") as directory:
        environment = os.environ | {"TMPDIR": directory, "PYTHONFAULTHANDLER": "1"}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True)
        try:
            said, _ = child.communicate(timeout=seconds + CASE_SECONDS + STARTING_SECONDS)
        except subprocess.TimeoutExpired:
            said = f"{name}: seed {seed}: it hangs, and its watchdog, too"
            child.kill()
            child.wait()
            return False, said
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
    return child.returncode == 0, said.strip()


def main() -> int:
    """Run what is asked for; return 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="*", help=", ".join(targets.TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", default="", help="or several, with commas between, which share the time")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    seed = asked.seed or secrets.token_hex(4)
    names = asked.target or [*targets.TARGETS]
    unknown = set(names) - set(targets.TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if asked.child:
        seeds = seed.split(",")
        count = sum(run_cases(names[0], one, asked.seconds / len(seeds), asked.case) for one in seeds)
        sys.stdout.write(f"{count} cases\n")
        return 0
    failed = 0
    for name in names:
        well, said = run_target(name, seed, asked.seconds, asked.case)
        sys.stdout.write(f"{name:<16} seed {seed}: {said}\n")
        sys.stdout.flush()
        failed += not well
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
