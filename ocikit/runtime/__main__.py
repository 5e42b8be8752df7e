"""The OCI command line: ``python -m ocikit.runtime``, installed as ``ocikit-runtime``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ocikit.runtime.cli import dispatch


def main() -> NoReturn:
    """Carry out the command that this process was started with, and end the process."""
    code = dispatch.main()
    # Everything is written and nothing is held any more: to take the interpreter apart takes longer than most commands.
    os._exit(code)


if __name__ == "__main__":
    # "python -m" looks for modules in the working directory first, which may be a bundle that somebody else wrote.
    if sys.path[:1] == [os.getcwd()]:
        del sys.path[0]
    main()
