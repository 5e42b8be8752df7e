"""What can go wrong at each stage of an image's way from and to a registry, and what has to come of it: one table.

``test_docker_faults`` tests each cell, and ``docs/docker-faults.md`` shows the table. Run as a program it writes the
page anew.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ocikit.testing import (
    Answer,
    Chunked,
    Corrupt,
    DropUpload,
    Fault,
    Hang,
    LieAboutLength,
    Redirect,
    Reset,
    Truncate,
    WrongDigest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.testing import Action, RequestKind

#: A place where nobody listens: port 1 of loopback.
NOBODY: Final = "http://127.0.0.1:1"
#: Bytes of a body after which a fault happens in the middle of it; no body of the image is shorter. What never ends
#: happens before the first of them: as long as something comes, it goes on.
SOME: Final = 60


class Stage(NamedTuple):
    """A request on the way.

    Attributes:
        name: Its name in the table.
        way: Whether an image is resolved, pulled or pushed.
        kind: What the request is about.
        method: Its method.
        is_middle: Whether it is about the rest of a blob.
    """

    name: str
    way: str
    kind: RequestKind
    method: str | None = None
    is_middle: bool = False


STAGES: Final = (
    Stage("resolve", "resolve", "manifest", "HEAD"),
    Stage("token", "pull", "token"),
    Stage("manifest", "pull", "manifest", "GET"),
    Stage("blob", "pull", "blob", "GET"),
    Stage("rest of a blob", "pull", "blob", "GET", is_middle=True),
    Stage("upload", "push", "upload_start"),
    Stage("pieces", "push", "upload_patch", is_middle=True),
    Stage("end of upload", "push", "upload_put"),
    Stage("tag", "push", "manifest", "PUT"),
)

#: What a word of the table means: when the fault happens (twice), and when it happens ever again.
WORDS: Final = {
    "again": "asked again, and whole in the end; an error when it never ends",
    "rest": "the rest is asked for, or sent, and whole in the end; an error when it never ends",
    "anew": "the upload begins anew, and whole in the end; an error when it never ends",
    "token": "another token is asked for, and whole in the end; an error about access when it never ends",
    "whole": "whole, however often it happens",
    "found": "looked up, found to be there, and whole, however often it happens",
    "believed": "taken for true; what is pulled by it is verified then",
    "access": "`RegistryAccessError`, at once",
    "missing": "`ImageNotFoundError` or `BlobNotFoundError`, at once",
    "refused": "`RegistryError`, at once",
    "mismatch": "`DigestMismatchError` or `SizeMismatchError`; nothing becomes visible",
    "-": "does not happen there",
}

_TABLE: Final = """
fault              | resolve  | token   | manifest | blob     | rest     | upload  | pieces  | end     | tag
401                | access   | access  | access   | access   | access   | access  | access  | access  | access
403                | access   | access  | access   | access   | access   | access  | access  | access  | access
404                | missing  | refused | missing  | missing  | missing  | refused | anew    | anew    | refused
405                | whole    | refused | refused  | refused  | refused  | refused | whole   | refused | refused
409                | refused  | refused | refused  | refused  | refused  | refused | refused | refused | refused
413                | -        | -       | -        | -        | -        | -       | refused | refused | refused
416                | -        | -       | -        | -        | whole    | -       | whole   | anew    | -
429                | again    | again   | again    | again    | again    | again   | rest    | again   | again
429 until a date   | again    | again   | again    | again    | again    | again   | rest    | again   | again
429 for an hour    | refused  | refused | refused  | refused  | refused  | refused | refused | refused | refused
408                | again    | again   | again    | again    | again    | again   | rest    | again   | again
500                | again    | again   | again    | again    | again    | again   | rest    | again   | again
502                | again    | again   | again    | again    | again    | again   | rest    | again   | again
503                | again    | again   | again    | again    | again    | again   | rest    | again   | again
504                | again    | again   | again    | again    | again    | again   | rest    | again   | again
504, yet done      | again    | again   | again    | again    | again    | again   | found   | found   | found
reset              | again    | again   | again    | again    | rest     | again   | rest    | again   | again
closed             | again    | again   | again    | again    | rest     | again   | rest    | again   | again
answer lost        | again    | again   | again    | again    | again    | again   | found   | found   | found
answer cut         | -        | again   | again    | rest     | rest     | -       | -       | -       | -
silence            | again    | again   | again    | again    | rest     | again   | rest    | again   | again
silence, yet done  | again    | again   | again    | again    | again    | again   | found   | found   | found
wrong digest       | believed | -       | mismatch | whole    | whole    | -       | -       | whole   | mismatch
changed byte       | -        | refused | mismatch | mismatch | mismatch | -       | -       | -       | -
length too large   | -        | again   | again    | whole    | whole    | -       | -       | -       | -
length too small   | -        | refused | mismatch | rest     | rest     | -       | -       | -       | -
no length          | -        | whole   | whole    | whole    | whole    | -       | -       | -       | -
HTML page          | whole    | refused | refused  | refused  | refused  | refused | anew    | refused | refused
redirect elsewhere | whole    | -       | whole    | whole    | whole    | whole   | whole   | whole   | whole
redirect to nobody | again    | again   | again    | again    | rest     | again   | rest    | again   | again
expired token      | token    | -       | token    | token    | token    | token   | token   | token   | token
insufficient scope | token    | -       | token    | token    | token    | token   | token   | token   | token
upload forgotten   | -        | -       | -        | -        | -        | -       | anew    | anew    | -
"""

ROWS: Final = [[word.strip() for word in line.split("|")] for line in _TABLE.strip().splitlines()[1:]]
#: Every cell that is one: fault, stage, word.
CELLS: Final = [
    (row[0], stage, word) for row in ROWS for stage, word in zip(STAGES, row[1:], strict=True) if word != "-"
]


def _challenge(error: str) -> Callable[[Stage, int], Action]:
    """Return a refusal of the token; the realm is put in by the test, who knows the address."""
    value = f'Bearer realm="{{realm}}",service="registry",scope="repository:{{repository}}:pull,push",error="{error}"'
    return lambda _, __: Answer(status=401, headers={"WWW-Authenticate": value})


def _answer(status: int, retry_after: float | None = None) -> Callable[[Stage, int], Action]:
    # Of a piece a part has come in.
    return lambda stage, some: Answer(
        status=status, retry_after=retry_after, received=some if stage.kind == "upload_patch" else None
    )


def _cut(kind: type[Reset | Truncate | Hang]) -> Callable[[Stage, int], Action]:
    def make(stage: Stage, some: int) -> Action:
        if stage.is_middle:
            return kind(received=some) if stage.kind == "upload_patch" else kind(sent=some)
        return kind()

    return make


#: What each fault is, at a stage and after so many bytes.
FAULTS: Final[dict[str, Callable[[Stage, int], Action]]] = {
    **{str(status): _answer(status) for status in (401, 403, 404, 405, 408, 409, 413, 416, 500, 502, 503, 504)},
    "429": _answer(429, 0),
    "429 until a date": lambda _, __: Answer(status=429, retry_after=dt.datetime.now(dt.UTC)),
    "429 for an hour": _answer(429, 3600),
    "504, yet done": lambda _, __: Answer(status=504, done=True),
    "reset": _cut(Reset),
    "closed": _cut(Truncate),
    "answer lost": lambda _, __: Reset(done=True),
    "answer cut": lambda _, some: Truncate(sent=some),
    "silence": _cut(Hang),
    "silence, yet done": lambda _, __: Hang(done=True),
    "wrong digest": lambda _, __: WrongDigest(),
    "changed byte": lambda _, __: Corrupt(at=0),
    "length too large": lambda _, __: LieAboutLength(by=SOME),
    "length too small": lambda _, __: LieAboutLength(by=-SOME),
    "no length": lambda _, __: Chunked(),
    "HTML page": lambda _, __: Answer.html_page(),
    "redirect elsewhere": lambda _, __: Redirect(to="{other}"),
    "redirect to nobody": lambda _, __: Redirect(to=NOBODY),
    "expired token": _challenge("invalid_token"),
    "insufficient scope": _challenge("insufficient_scope"),
    "upload forgotten": lambda _, __: DropUpload(),
}


def faults_of(stage: Stage, action: Action, repository: str, layer: str, times: int | None) -> list[Fault]:
    """Return what a registry is told.

    Args:
        stage: Which requests it happens to.
        action: What happens.
        repository: The repository that it happens to.
        layer: The blob that it happens to.
        times: How often; None for ever.
    """
    about: dict[str, Any] = {"kind": stage.kind, "method": stage.method}
    if stage.kind != "token":
        about["repository"] = repository
    if stage.kind in {"blob", "manifest"}:
        about["reference"] = layer if stage.kind == "blob" else "1"
    if stage.kind == "blob" and stage.is_middle:
        return [
            Fault(**about, do=Reset(sent=1000), where=lambda request: "range" not in request.headers),
            Fault(**about, do=action, where=lambda request: "range" in request.headers, times=times),
        ]
    return [Fault(**about, do=action, times=times)]


def page() -> str:
    """Return the page about the table."""
    names = [stage.name for stage in STAGES]
    lines = [
        "# What goes wrong with registries, and what comes of it",
        "",
        "A row is what goes wrong, a column the request that it happens to: while a name is resolved, while an image",
        "is pulled, while one is pushed. Each cell is a test (`tests/image/test_docker_faults.py`) in which it",
        "happens twice, or never ends. Whatever comes of it, an image is whole or not visible, what a copy leaves in a",
        "layout is whole, no upload stays open that the client knows of, and no blob in a registry is half written.",
        "",
        "| word | what is done |",
        "|---|---|",
        *(f"| {word} | {meaning} |" for word, meaning in WORDS.items() if word != "-"),
        "",
        "What is done in general is in [docker.md](docker.md). How often, and when, something is tried again is",
        "said by `SystemContext(docker_retry=…)`.",
        "",
        f"| what goes wrong | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {' | '.join('' if word == '-' else word for word in row)} |" for row in ROWS),
        "",
        "The table is kept in `tests/image/docker_faults.py`, which writes this page.",
    ]
    return "\n".join(lines) + "\n"


PAGE: Final = Path(__file__).parents[2] / "docs/docker-faults.md"

if __name__ == "__main__":
    PAGE.write_text(page())
