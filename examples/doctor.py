"""Find out what this host can and cannot do for containers, and what to do about it.

``python examples/doctor.py``, as any user: what is possible depends on who asks. It exits with 1 when no container can
be made. In a notebook, ``runtime.doctor()`` at the end of a cell is a table.
"""

from __future__ import annotations

import sys

from ocikit import runtime


def main() -> int:
    """Print everything; then, for those who only want to get going, what keeps all containers from being made."""
    diagnosis = runtime.doctor()
    print(diagnosis)
    for finding in diagnosis.problems:
        if finding.needed:
            print(f"first: {finding.remedy}")
    if diagnosis["cgroups.memory"].status != "yes":
        print("containers cannot have memory limits here")
    return 0 if diagnosis.ok else 1


if __name__ == "__main__":
    sys.exit(main())
