"""Random schedules of faults: some at random requests, each of which a copy has to survive.

A schedule is what goes wrong on the way of an image to a registry and back; the same seed gives the same one. Nothing
in it lasts, so that in the end all is whole; what never ends is in the table of :mod:`docker_faults`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocikit.testing import (
    Answer,
    ChangeHeaders,
    Chunked,
    Delay,
    DropUpload,
    Fault,
    Features,
    LieAboutLength,
    Redirect,
    Reset,
    Truncate,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from ocikit.testing import Action, RequestKind

__all__ = ["features", "schedule"]

#: What may happen to which requests; a number is a place in a body.
_ANY: Final[tuple[Callable[[random.Random], Action], ...]] = (
    lambda dice: Answer(status=dice.choice([408, 429, 500, 502, 503, 504])),
    lambda _: Answer(status=429, retry_after=0),
    lambda _: Reset(),
    lambda _: Truncate(),
    lambda _: Reset(done=True),
    lambda _: Answer(status=504, done=True),
    lambda _: Delay(seconds=0.001),
    lambda _: Redirect(to="http://127.0.0.1:1"),
)
_BODY: Final[tuple[Callable[[random.Random], Action], ...]] = (
    lambda dice: Reset(sent=dice.randrange(60_000)),
    lambda dice: Truncate(sent=dice.randrange(60_000)),
    lambda _: Chunked(),
    lambda dice: LieAboutLength(by=dice.randrange(1, 500)),
)
_UPLOAD: Final[tuple[Callable[[random.Random], Action], ...]] = (
    lambda dice: Reset(received=dice.randrange(60_000)),
    lambda dice: Truncate(received=dice.randrange(60_000)),
    lambda dice: Answer(status=500, received=dice.randrange(60_000)),
    lambda _: DropUpload(),
    lambda _: ChangeHeaders(values={"Range": None}),
)
_KINDS: Final[dict[RequestKind, tuple[Callable[[random.Random], Action], ...]]] = {
    "ping": _ANY[:4],
    "token": _ANY[:4],
    "manifest": _ANY,
    "blob": (*_ANY, *_BODY, *_BODY),
    "upload_start": _ANY,
    "upload_patch": (*_ANY, *_UPLOAD, *_UPLOAD),
    "upload_put": (*_ANY, lambda _: DropUpload()),
    "upload_status": _ANY,
}


def schedule(dice: random.Random, most: int = 12) -> list[Fault]:
    """Return the faults of a schedule.

    Args:
        dice: What decides.
        most: How many there are at most.
    """
    faults = []
    for _ in range(dice.randrange(1, most + 1)):
        kind = dice.choice([*_KINDS])
        action = dice.choice(_KINDS[kind])(dice)
        faults.append(Fault(kind=kind, do=action, skip=dice.randrange(4), times=dice.randrange(1, 3)))
    return faults


def features(dice: random.Random) -> Features:
    """Return what a registry can do, and what it cannot."""
    habits: dict[str, Any] = {
        name: dice.random() < 0.7
        for name in ("ranges", "mount", "chunks", "keep_partial_chunks", "location_state", "referrers")
    }
    return Features(**habits, relative_locations=dice.random() < 0.3, digest_headers=dice.random() < 0.8)
