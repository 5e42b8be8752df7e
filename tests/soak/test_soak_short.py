"""A short soak: ``make soak`` is the long one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("soak.py")
PULLS = Path(__file__).with_name("soak_pulls.py")


@pytest.mark.parametrize("seed", [1, 2])
def test_many_containers_at_once(seed: int) -> None:
    """Containers of all lifetimes, hunted and owned, end as they have to, and nothing of them is left."""
    command = [sys.executable, str(PROGRAM), "--count", "120", "--threads", "8", "--seed", str(seed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 containers" in done.stdout
    # It is no soak when nobody was killed.
    assert re.search(r"kill -9: init [1-9]\d*, monitor [1-9]", done.stdout), done.stdout


def test_a_pull_that_is_killed() -> None:
    """Killed at four moments, a pull downloads what is missing, and nothing else."""
    command = [sys.executable, str(PULLS), "--kills", "4", "--mib", "32", "--seed", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 times kill -9" in done.stdout
