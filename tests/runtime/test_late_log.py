"""The logger of the runtime, whose module is loaded with the first record that somebody may get."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit.runtime.late_log import LateLogger

if TYPE_CHECKING:
    import pytest

FRESH = """
import sys
from ocikit.runtime.late_log import log
log.debug("a detail: %s", 1)
log.info("a note")
assert "logging" not in sys.modules
log.warning("%s went wrong", "this")
assert "logging" in sys.modules
"""


def test_records_are_those_of_whoever_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Each level has its name, its message with arguments, and the place that it was logged from."""
    log = LateLogger("ocikit.test")
    with caplog.at_level(logging.DEBUG, "ocikit.test"):
        log.debug("%s", 1)
        log.info("%s of %s", 1, 2)
        log.warning("3")
        log.error("4 %%")
    found = [
        (record.levelname, record.getMessage(), Path(record.pathname).name, record.funcName)
        for record in caplog.records
    ]
    here = (Path(__file__).name, "test_records_are_those_of_whoever_logs")
    said = [("DEBUG", "1"), ("INFO", "1 of 2"), ("WARNING", "3"), ("ERROR", "4 %%")]
    assert found == [(*one, *here) for one in said]


def test_nothing_is_loaded_for_what_nobody_can_have_asked_for() -> None:
    """Where logging was never loaded, only warnings load it; they are seen as those of any logger are."""
    done = subprocess.run([sys.executable, "-c", FRESH], check=True, capture_output=True, text=True)
    assert done.stderr == "this went wrong\n"


def test_handlers_can_be_added_with_the_first_record(caplog: pytest.LogCaptureFixture) -> None:
    """What is to be done before the first record is done then, and once."""
    log, done = LateLogger("ocikit.test"), []
    log.before_first(lambda: done.append(len(caplog.records)))
    assert done == []
    log.warning("first")
    log.warning("second")
    assert done == [0]
