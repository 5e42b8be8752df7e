"""What the files in ``registries.d`` say, as data, and which of it holds for an image. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import LayoutError
from ocikit.image.registries_d.scopes import docker_scopes
from ocikit.spec._json import describe, json_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Self

    from ocikit.image.reference import Named

__all__ = ["RegistriesConfiguration", "RegistryNamespace"]

#: How many scopes all files have together.
_MOST_SCOPES: Final = 10_000


@frozen(kw_only=True)
class RegistryNamespace:
    """What is configured for one scope; None where nothing is said.

    Attributes:
        lookaside: The URL of the store that signatures are read from, and written to when there is no other.
        lookaside_staging: The URL of the store that they are written to.
        use_sigstore_attachments: Whether cosign's signatures in the registry itself are read and written.
    """

    lookaside: str | None = None
    lookaside_staging: str | None = None
    use_sigstore_attachments: bool | None = None

    @classmethod
    def from_document(cls, document: object, path: str) -> Self:
        """Read a section.

        Args:
            document: The section, as YAML has it.
            path: The file, and the place in it, for messages.

        Raises:
            LayoutError: It is malformed, or has a key that is not known.
        """
        found = _mapping(document, path)
        for key in found:
            if key not in _KEYS:
                raise LayoutError(f"{json_path([str(key)], path)}: unknown; expected one of {', '.join(_KEYS)}")
        # What a key was called first counts where it is not there by the newer name.
        texts = {
            name: next((text for key in keys if (text := _text(found.get(key), f"{path}.{key}"))), None)
            for name, keys in _TEXTS.items()
        }
        return cls(**texts, use_sigstore_attachments=_flag(found.get(_ATTACHMENTS), f"{path}.{_ATTACHMENTS}"))


_ATTACHMENTS: Final = "use-sigstore-attachments"
_TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "lookaside": ("lookaside", "sigstore"),
    "lookaside_staging": ("lookaside-staging", "sigstore-staging"),
}
_KEYS: Final = (*(key for keys in _TEXTS.values() for key in keys), _ATTACHMENTS)
_TOP: Final = ("default-docker", "docker")


def _mapping(document: object, path: str) -> Mapping[object, object]:
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise LayoutError(f"{path}: expected a mapping, found {describe(document)}")
    return document


def _text(value: object, path: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise LayoutError(f"{path}: expected a string, found {describe(value)}")


def _flag(value: object, path: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise LayoutError(f"{path}: expected true or false, found {describe(value)}")


@frozen(kw_only=True)
class RegistriesConfiguration:
    """What all files say together.

    Attributes:
        default: What holds for every image.
        docker: What holds for the images of a scope.
    """

    default: RegistryNamespace = field(factory=RegistryNamespace)
    docker: Mapping[str, RegistryNamespace] = field(factory=dict)

    @classmethod
    def from_documents(cls, documents: Iterable[tuple[str, object]]) -> Self:
        """Read the files; each scope may be in one of them only.

        Args:
            documents: Each file, and its content as YAML has it.

        Raises:
            LayoutError: One is malformed, or says something of a scope that another one has.
        """
        found: dict[str | None, RegistryNamespace] = {}
        origins: dict[str | None, str] = {}
        for file, document in documents:
            for scope, section, path in _sections(document, file):
                if scope in found:
                    what = "default-docker is" if scope is None else f"the scope {scope!r} is"
                    raise LayoutError(f"{file}: {what} configured in {origins[scope]}, too; put it into one file")
                if len(found) >= _MOST_SCOPES:
                    raise LayoutError(f"{file}: more than {_MOST_SCOPES:,} scopes are configured")
                found[scope], origins[scope] = RegistryNamespace.from_document(section, path), file
        default = found.pop(None, RegistryNamespace())
        return cls(default=default, docker={scope: one for scope, one in found.items() if scope is not None})

    def lookaside(self, named: Named, *, write: bool = False) -> str | None:
        """Return the URL of the store for an image, as it is configured; None where none is.

        The most specific scope that has one counts: unlike what containers-registries.d(5) says, and as
        containers/image does it, a scope that says nothing of it leaves the question to the next one.

        Args:
            named: The image.
            write: Whether signatures are to be written.
        """
        for one in self._sections_for(named):
            url = (one.lookaside_staging if write else None) or one.lookaside
            if url is not None:
                return url
        return None

    def use_sigstore_attachments(self, named: Named) -> bool:
        """Return whether cosign's signatures in the registry itself are read and written; not unless configured.

        Args:
            named: The image.
        """
        flags = (one.use_sigstore_attachments for one in self._sections_for(named))
        return next((flag for flag in flags if flag is not None), False)

    def _sections_for(self, named: Named) -> Iterator[RegistryNamespace]:
        yield from (self.docker[scope] for scope in docker_scopes(named) if scope in self.docker)
        yield self.default


def _sections(document: object, file: str) -> Iterator[tuple[str | None, object, str]]:
    found = _mapping(document, file)
    for key in found:
        if key not in _TOP:
            raise LayoutError(f"{json_path([str(key)], f'{file}: $')}: unknown; expected {' and '.join(_TOP)}")
    if found.get("default-docker") is not None:
        yield None, found["default-docker"], f"{file}: $.default-docker"
    scopes = f"{file}: $.docker"
    for scope, section in _mapping(found.get("docker"), scopes).items():
        if not isinstance(scope, str) or not scope:
            raise LayoutError(f"{scopes}: expected a registry, or a name in one, found {describe(scope)}")
        yield scope, section, json_path([scope], scopes)
