"""Everything that is measured, in one table: ``tests/bench/run_all.py [ROUNDS]``. As root."""

from __future__ import annotations

import run_commands
import run_copies
import run_lifecycle
import run_memory
import run_registry
from measuring import main

if __name__ == "__main__":
    main(__doc__, run_lifecycle.lines, run_memory.lines, run_commands.lines, run_copies.lines, run_registry.lines)
