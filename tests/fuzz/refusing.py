"""What a target may be refused with, and files made wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mutations

from ocikit.errors import OCIKitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

#: What a call may raise for bad input. Every other ValueError is nobody's decision.
REFUSALS = (OCIKitError, OSError)


def refused(call: Callable[[], object]) -> bool:
    """Make a call; tell whether it was refused with an error that bad input may be refused with."""
    try:
        call()
    except REFUSALS:
        return True
    return False


def damage_files(random: Random, path: Path, *, most: int = 2) -> None:
    """Make some files of a directory wrong, or something else than files."""
    for _ in range(min(most, random.choice([0, 0, 0, 1, 2]))):
        # Never a link: what is written through one is somebody else's.
        files = [one for one in sorted(path.rglob("*")) if one.is_file() and not one.is_symlink()]
        if not files:
            return
        file = random.choice(files)
        match random.randrange(6):
            case 0:
                file.unlink()
            case 1:
                file.unlink()
                file.symlink_to(random.choice(["/dev/zero", file.name, "none"]))
            case 2:
                file.unlink()
                file.mkdir()
            case _:
                file.write_bytes(mutations.damaged(random, file.read_bytes()))
