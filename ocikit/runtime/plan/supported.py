"""What the configuration may ask for: a table of the fields that ocikit does not act on.

A field that is set and not acted on is an error that names it. What the specification lets a runtime ignore (the
sections of other systems, properties it does not know) is not in here. Limits have a table of their own, beside what is
done with the others (:mod:`ocikit.runtime.limits`), and so have the options of mounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import UnsupportedFieldError

if TYPE_CHECKING:
    from ocikit.spec import Spec

__all__ = ["acts_on", "refuse_unsupported"]

#: Section → JSON key of the field → its attribute, and why it is refused.
_REFUSED: Final[dict[str, dict[str, tuple[str, str]]]] = {}


def acts_on(section: str, key: str) -> bool:
    """Tell whether a field is acted on.

    Args:
        section: ``process``, ``linux`` or ``hooks``.
        key: The JSON key of the field in it.
    """
    return key not in _REFUSED.get(section, {})


def refuse_unsupported(spec: Spec) -> None:
    """Refuse a configuration that asks for something ocikit would have to ignore.

    Raises:
        UnsupportedFieldError: The first such field.
    """
    for name, fields in _REFUSED.items():
        section = getattr(spec, name)
        for key, (attribute, reason) in fields.items():
            if section is not None and getattr(section, attribute):
                raise UnsupportedFieldError(f"$.{name}.{key}", reason)
