"""A process that makes containers, forks children that live on, and waits to be killed: ``soak_owner.py ROOT BUNDLE``.

It reads what to make as one line of JSON from its standard input, and says on a line each what it has made.
Its children end with that input.
"""

from __future__ import annotations

import json
import os
import sys
import time

from ocikit import runtime
from ocikit.spec import Spec


def main(root: str, bundle: str) -> None:
    """Make what is asked for, and say so."""
    kept = []
    for number, (name, lifetime, document, forks) in enumerate(json.loads(sys.stdin.readline())):
        spec = Spec.from_json(document.encode())
        container = runtime.create(root, name, bundle, spec=spec, lifetime=lifetime)
        kept.append(container)
        monitor = container._find_monitor()
        if number % 4 != 3:
            container.start()
        print("made", name, container.pid, monitor.pid if monitor is not None else 0, flush=True)  # noqa: T201
        if forks:
            child = os.fork()
            if child == 0:
                os.read(0, 1)  # lives on until whoever started the owner lets go
                os._exit(0)
            print("forked", child, flush=True)  # noqa: T201
    print("ready", flush=True)  # noqa: T201
    time.sleep(1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
