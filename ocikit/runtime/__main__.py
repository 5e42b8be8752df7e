"""The OCI command line: ``python -m ocikit.runtime``, installed as ``ocikit-runtime``."""

from __future__ import annotations

import sys

from ocikit.runtime.cli.dispatch import main

if __name__ == "__main__":
    sys.exit(main())
