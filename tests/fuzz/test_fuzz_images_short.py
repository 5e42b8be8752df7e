"""A short run of the fuzzing of images: the same cases in every run, and some that nobody has seen before."""

from __future__ import annotations

import os
import secrets

import pytest
from fuzz_images import run_target
from targets import TARGETS

#: For each target, in this run; ``make fuzz`` takes a minute for each.
SECONDS = float(os.environ.get("OCIKIT_FUZZ_SECONDS", "0.6"))


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_crashes_hangs_or_grows(name: str) -> None:
    """Everything is read or refused with a documented error, within time and memory, and nothing stays open."""
    seed = secrets.token_hex(4)
    well, said = run_target(name, f"1,{seed}", SECONDS)
    assert well, f"seeds 1 and {seed}: {said}"
    assert said.endswith(" cases")
