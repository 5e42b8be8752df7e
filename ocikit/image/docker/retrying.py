"""When a request is made again, and after what time: rules as data, and the clock. Nothing here knows HTTP's wires."""

from __future__ import annotations

import datetime as dt
import email.utils
import random
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ocikit.image.context import RetryPolicy

__all__ = ["RETRIED", "delay_before", "seconds_of"]

#: Answers that say nothing about the request: another try may be answered otherwise.
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def seconds_of(retry_after: str | None, now: dt.datetime) -> float | None:
    """Return how long a registry wants to be left alone (``Retry-After``, RFC 9110 §10.2.3).

    Args:
        retry_after: The header: seconds, or a date.
        now: The present, with its time zone.

    Returns:
        Seconds, at least 0; None where it says nothing that can be understood.
    """
    if retry_after is None:
        return None
    if _SECONDS.fullmatch(retry_after.strip()):
        return float(retry_after)
    try:
        when = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, (when - now).total_seconds())


def delay_before(attempt: int, policy: RetryPolicy, retry_after: float | None = None) -> float | None:
    """Return how long to wait before another try; None when there is none.

    Twice as long each time, and a part of that by chance, so that those who were refused together do not come back
    together. What the registry asks for counts when it is longer; what is longer than anybody would wait ends it.

    Args:
        attempt: How many tries there were.
        policy: The rules.
        retry_after: What the registry asks for, in seconds.
    """
    if attempt >= policy.attempts or (retry_after is not None and retry_after > policy.longest_delay):
        return None
    delay = min(policy.longest_delay, policy.delay * 2.0 ** (attempt - 1))
    delay *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return max(delay, retry_after or 0.0)
