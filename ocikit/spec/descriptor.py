"""Descriptors: what refers to content by type, digest and size (image specification, descriptor.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import SizeMismatchError
from ocikit.spec import mediatypes
from ocikit.spec._document import Document, key
from ocikit.spec._kinds import BASE64, DIGEST, INT64, STRING, array, mapping
from ocikit.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DESCRIPTOR_EMPTY_JSON", "Descriptor", "Platform"]


@frozen(kw_only=True, repr=False, eq=False)
class Platform(Document):
    """What the content behind a descriptor needs to run (image-index.md)."""

    #: CPU architecture by its Go name, such as ``amd64``; REQUIRED.
    architecture: str = field(metadata=key("architecture", STRING, absent=""))
    #: Operating system by its Go name, such as ``linux``; REQUIRED.
    os: str = field(metadata=key("os", STRING, absent=""))
    #: Version of the operating system, such as ``10.0.14393.1066`` on Windows.
    os_version: str = field(default="", metadata=key("os.version", STRING))
    #: Features that the operating system must have, such as ``win32k``.
    os_features: tuple[str, ...] = field(default=(), metadata=key("os.features", array(STRING)))
    #: Variant of the architecture, such as ``v7`` for ``arm``.
    variant: str = field(default="", metadata=key("variant", STRING))


@frozen(kw_only=True, repr=False, eq=False)
class Descriptor(Document):
    """Points at content: what it is, which bytes, how many of them."""

    #: Media type of the content (RFC 6838); REQUIRED.
    media_type: str = field(metadata=key("mediaType", STRING))
    #: Digest of the content; REQUIRED.
    digest: Digest = field(metadata=key("digest", DIGEST))
    #: Size of the content in bytes; REQUIRED.
    size: int = field(metadata=key("size", INT64))
    #: Where else the content may be downloaded.
    urls: tuple[str, ...] = field(default=(), metadata=key("urls", array(STRING)))
    #: Arbitrary metadata about the content.
    annotations: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("annotations", mapping(STRING)))
    #: The content itself, decoded; None when it is not embedded. Not verified: see :meth:`embedded_content`.
    data: bytes | None = field(default=None, metadata=key("data", BASE64))
    #: What the content needs to run, on descriptors of manifests.
    platform: Platform | None = field(default=None, metadata=key("platform", Platform))
    #: Type of the artifact that the content is.
    artifact_type: str = field(default="", metadata=key("artifactType", STRING))

    @classmethod
    def from_content(cls, media_type: str, content: bytes, *, algorithm: str = "sha256") -> Descriptor:
        """The descriptor of some content.

        Args:
            media_type: What the content is.
            content: All of it.
            algorithm: Of the digest.

        Raises:
            NotSupportedError: The algorithm is not sha256 or sha512.
        """
        return cls(media_type=media_type, digest=Digest.from_bytes(content, algorithm), size=len(content))

    def verify(self, content: bytes, *, what: str = "content") -> None:
        """Check that some bytes are the content.

        Args:
            content: The bytes.
            what: What they are, for the message.

        Raises:
            SizeMismatchError: There are more or fewer of them than the descriptor says.
            DigestMismatchError: They have another digest.
            NotSupportedError: The digest's algorithm is not sha256 or sha512.
        """
        if len(content) != self.size:
            raise SizeMismatchError(what, self.size, len(content))
        self.digest.verify(content, what=what)

    def embedded_content(self) -> bytes | None:
        """The content that is embedded in the descriptor, verified; None when there is none.

        Raises:
            VerificationError: The embedded bytes are not the content.
            NotSupportedError: The digest's algorithm is not sha256 or sha512.
        """
        if self.data is not None:
            self.verify(self.data, what=f"data embedded in the descriptor of {self.digest}")
        return self.data


#: The descriptor of the blob ``{}``, for manifests that need a blob where an artifact has none.
DESCRIPTOR_EMPTY_JSON: Final = Descriptor(
    media_type=mediatypes.EMPTY_JSON,
    digest=Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    size=2,
    data=b"{}",
)
