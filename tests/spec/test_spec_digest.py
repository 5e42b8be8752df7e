"""Digests and timestamps: strings that are checked when they are made."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import digests

from ocikit.errors import DigestMismatchError, InvalidDigestError, NotSupportedError, ParseError
from ocikit.spec import Digest, Timestamp

HEX64 = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"

VALID = [
    f"sha256:{HEX64}",
    f"sha512:{HEX64}{HEX64}",
    f"blake3:{HEX64}",
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    "a.b_c-d+e:x",
    "7:=",
]

INVALID = [
    "",
    ":",
    "sha256",
    "sha256:",
    f":{HEX64}",
    HEX64,
    f"sha256:{HEX64[:-1]}",
    f"sha256:{HEX64}0",
    f"sha256:{HEX64.upper()}",
    f"sha256:{HEX64[:-1]}g",
    f"sha512:{HEX64}",
    f"sha256:{HEX64}\n",
    f" sha256:{HEX64}",
    f"SHA256:{HEX64}",
    f"sha256:{HEX64}:{HEX64}",
    "sha256:../../../../../../../../../../../../../../../../../../../../etc/ssh",
    "a..b:x",
    "a+:x",
    "+a:x",
    "..:x",
    "a:.",
    "a:b/c",
    "a/b:c",
    "a:b\0",
    "\u00e4:x",
    "a:\u0661",
]


@pytest.mark.parametrize("text", VALID)
def test_digests_of_the_grammar_are_accepted(text: str) -> None:
    """A digest is what the grammar allows, of registered algorithms or not; its parts make it up."""
    digest = Digest.parse(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.hex}" == text


@pytest.mark.parametrize("text", INVALID)
def test_everything_else_is_refused(text: str) -> None:
    """Nothing outside the grammar is a digest, least of all what would be a path."""
    with pytest.raises(InvalidDigestError, match=r"expected a digest|lower-case"):
        Digest(text)


@given(st.text(max_size=200))
def test_a_digest_is_always_safe_as_a_file_name(text: str) -> None:
    """No text that is accepted leads out of the directory that it names a file in."""
    try:
        digest = Digest(text)
    except InvalidDigestError:
        return
    for part in (digest.algorithm, digest.hex):
        assert part not in {"", ".", ".."}
        assert "/" not in part
        assert "\0" not in part


@given(st.binary())
def test_digests_are_computed(data: bytes) -> None:
    """Digests of bytes are those of hashlib, at once or piece by piece."""
    for algorithm in ("sha256", "sha512"):
        digest = Digest.from_bytes(data, algorithm)
        assert digest == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        hasher = digest.hasher()
        hasher.update(data[:3])
        hasher.update(data[3:])
        assert Digest.from_hasher(hasher) == digest
        digest.verify(data)


def test_other_bytes_have_another_digest() -> None:
    """Verification raises, with both digests and what was verified."""
    digest = Digest.from_bytes(b"a")
    with pytest.raises(DigestMismatchError) as caught:
        digest.verify(b"b", what="layer 2")
    assert (caught.value.what, caught.value.expected) == ("layer 2", digest)
    assert caught.value.actual == Digest.from_bytes(b"b")


@pytest.mark.parametrize("algorithm", ["blake3", "md5", "sha1", "sha384", "shake_128"])
def test_unregistered_algorithms_are_not_computed(algorithm: str) -> None:
    """Weak or unregistered algorithms verify nothing, even where hashlib has them."""
    with pytest.raises(NotSupportedError, match=algorithm):
        Digest(f"{algorithm}:00").hasher()
    with pytest.raises(NotSupportedError):
        Digest.from_bytes(b"", algorithm)


@given(digests)
def test_a_digest_is_a_string(digest: Digest) -> None:
    """It compares, hashes, copies and pickles as one, and stays a digest."""
    assert {str(digest): 1}[digest] == 1
    for other in (copy.deepcopy(digest), pickle.loads(pickle.dumps(digest))):  # noqa: S301 - our own bytes
        assert other == digest
        assert type(other) is Digest
    assert repr(digest) == f"Digest({str(digest)!r})"


TIMES = {
    "2015-10-31T22:22:56.015925234Z": dt.datetime(2015, 10, 31, 22, 22, 56, 15925, tzinfo=dt.UTC),
    "2024-09-26T21:31:42Z": dt.datetime(2024, 9, 26, 21, 31, 42, tzinfo=dt.UTC),
    "2024-02-29t00:00:00.5z": dt.datetime(2024, 2, 29, 0, 0, 0, 500000, tzinfo=dt.UTC),
    "0001-01-01T00:00:00Z": dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    "2024-09-26T21:31:42+05:30": dt.datetime(
        2024, 9, 26, 21, 31, 42, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))
    ),
}


@pytest.mark.parametrize("text", TIMES)
def test_times_are_kept_as_written_and_understood(text: str) -> None:
    """A timestamp is the text itself, nanoseconds and all, and a datetime on demand."""
    stamp = Timestamp(text)
    assert stamp == text
    assert stamp.datetime == TIMES[text]
    assert pickle.loads(pickle.dumps(stamp)) == stamp  # noqa: S301 - our own bytes
    assert repr(stamp) == f"Timestamp({text!r})"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-09-26",
        "2024-09-26T21:31:42",
        "2024-09-26 21:31:42Z",
        "2023-02-29T00:00:00Z",
        "2024-09-26T24:00:00Z",
        "2024-09-26T21:31:42+24:00",
        "2024-09-26T21:31:42,5Z",
        "2024-09-26T21:31:42Z\n",
        "20240926T213142Z",
        "2024-09-26T21:31:42.Z",
        "\u0662024-09-26T21:31:42Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Only RFC 3339 with a zone and an existing day and hour is a time."""
    with pytest.raises(ParseError, match="RFC 3339"):
        Timestamp(text)


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_datetimes_become_timestamps(moment: dt.datetime) -> None:
    """A datetime is written so that it reads back the same."""
    stamp = Timestamp.from_datetime(moment)
    assert stamp.endswith("Z")
    assert stamp.datetime == moment


def test_a_time_without_a_zone_is_no_moment() -> None:
    """Which moment a naive datetime means is not guessed."""
    with pytest.raises(ValueError, match="time zone"):
        Timestamp.from_datetime(dt.datetime(2024, 1, 1))  # noqa: DTZ001 - the point of the test
