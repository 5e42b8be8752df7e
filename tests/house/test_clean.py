"""Nothing in the repository depends on one machine, or gives away where it was written."""

from __future__ import annotations

import re

from house_source import ROOT, expect_none, repository_files

# Each is written in pieces, so that this file keeps its own rule.
PLACES = "|".join(
    (
        re.escape(f"{ROOT}/"),  # wherever this is
        r"/ro" + r"ot/\.\w",
        r"/ho" + r"me/\w+/\.\w",
        "/Us" + "ers/",
        "/wo" + "rk/(ma" + "in|ve" + "nv|sha" + "red)",
        "/bui" + "lds/",
        "/work" + "space/",
    )
)
HOSTS = "|".join(
    name.replace(" ", r"\.")
    for name in (
        "py" + "pi org",
        "python" + "hosted org",
        "deb debian" + " org",
        "snap" + "shot debian org",
        "anaconda" + " org",
        "artifact" + "ory",
        "proxy golang" + " org",
        "registry npm" + "js org",
    )
)
FORBIDDEN = re.compile(
    rf"""
    (?<![\w.}}$-]) ({PLACES})              # what one machine has
    | (?i: {HOSTS})                        # whoever builds says where packages come from
    | \b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{{1,3}}){{2,3}}:\d   # a service of one network
    | -----BEGIN[ ]([A-Z]+[ ])?PRIVATE[ ]KEY
    | \b(gh[pousr]_\w{{20,}} | AKIA[0-9A-Z]{{16}})
    """,
    re.VERBOSE,
)

LARGEST = 256 * 1024


def test_no_file_knows_a_machine() -> None:
    """No path of a person or a build host, no package index, no key stands in any file."""
    wrong = []
    for name in sorted(repository_files()):
        text = (ROOT / name).read_text(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if found := FORBIDDEN.search(line):
                wrong.append(f"{name}:{number}: {found.group()}")
    expect_none(wrong)


def test_the_root_is_as_drawn() -> None:
    """At the top there is what docs/architecture.md draws, and nothing beside it."""
    drawn = set(
        """
        pyproject.toml setup.py MANIFEST.in ocikit tests examples docs CHANGELOG.md README.md LICENSE CONTRIBUTING.md
        Makefile .ci .gitignore
        """.split()
    )
    expect_none({name.partition("/")[0] for name in repository_files()} - drawn)


def test_nothing_large_and_nothing_binary_is_kept() -> None:
    """What tests need they make; the repository holds text that people read."""
    wrong = []
    for name in sorted(repository_files()):
        data = (ROOT / name).read_bytes()
        if len(data) > LARGEST:
            wrong.append(f"{name}: {len(data):,} bytes, {LARGEST:,} allowed")
        if b"\0" in data:
            wrong.append(f"{name}: binary")
    expect_none(wrong)


def test_lines_end_as_they_should() -> None:
    """No carriage returns, no blanks at the end of a line, one newline at the end of a file."""
    wrong = []
    for name in sorted(repository_files()):
        text = (ROOT / name).read_bytes().decode(errors="replace")
        wrong += [
            f"{name}:{number}: ends with a blank or a carriage return"
            for number, line in enumerate(text.split("\n"), 1)
            if line != line.rstrip()
        ]
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            wrong.append(f"{name}: expected one newline at its end")
    expect_none(wrong)
