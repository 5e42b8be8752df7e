"""What an image in a layout may be called: the grammar of ``org.opencontainers.image.ref.name``. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["NAME_GRAMMAR", "is_name"]

# Image specification, annotations.md; "@" and "+" are what containers/image takes beside it.
_ALNUM: Final = r"[A-Za-z0-9]+"
_COMPONENT: Final = rf"{_ALNUM}(?:(?:--|[-._:@+]){_ALNUM})*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")

#: The grammar in words, for messages.
NAME_GRAMMAR: Final = (
    "letters and digits in runs, separated by one of - . _ : @ + or by --, in components separated by /"
)


def is_name(name: str) -> bool:
    """Tell whether an image can be asked for by this name; other tools write names that are outside the grammar."""
    return _NAME.fullmatch(name) is not None
