"""What a copy may be told: choices, and which of them exclude each other. Only data."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.image.signature.signing import check_signers, named_by
from ocikit.spec import Platform, mediatypes

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable

    from attrs import Attribute

    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.encryption import DecryptConfig, EncryptConfig
    from ocikit.image.reference import Named
    from ocikit.image.signature.signer import Signer
    from ocikit.image.types import SystemContext
    from ocikit.spec import Digest

__all__ = ["CompressionVariant", "CopyOptions", "ImageListSelection", "SparseManifestListAction"]

#: The types of manifests that an image can be converted to, each with the type of the index for it.
FORCIBLE: Final = {
    mediatypes.IMAGE_MANIFEST: mediatypes.IMAGE_INDEX,
    mediatypes.DOCKER_MANIFEST: mediatypes.DOCKER_MANIFEST_LIST,
}


class ImageListSelection(enum.Enum):
    """What to copy of an index; an image that is none is copied whatever is selected."""

    #: The image for the running platform, or for the one that ``source_ctx`` chooses; the index itself is not copied.
    SYSTEM = "system"
    #: The index and everything it lists, indexes within it included.
    ALL = "all"
    #: The index, and of what it lists only ``instances`` and what is for ``instance_platforms``.
    SPECIFIC = "specific"


class SparseManifestListAction(enum.Enum):
    """What becomes of an index of which not everything is copied."""

    #: It stays as it is, digest and all, and lists manifests that are not there.
    KEEP_SPARSE = "keep"
    #: It lists only what was copied, and has another digest.
    STRIP_SPARSE = "strip"


def _variant(_: object, attribute: Attribute[str], value: str) -> None:
    if value.lower() not in {"gzip", "zstd"}:
        raise ValueError(f"CompressionVariant.{attribute.name}: expected 'gzip' or 'zstd', found {value!r}")


@frozen(kw_only=True)
class CompressionVariant:
    """A compression in which every platform of an index is to be there.

    Attributes:
        compression: The format: ``gzip`` or ``zstd``.
        level: The level for it; None for the format's default.
    """

    compression: str = field(validator=_variant)
    level: int | None = None


def _at_least_one(_: object, attribute: Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"CopyOptions.{attribute.name} must be a number, at least 1, not {value!r}")


def _boolean(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"CopyOptions.{attribute.name}: expected True or False, found {value!r}")


def _tuple_of(kind: type) -> Callable[[object, Attribute[Any], object], None]:
    # A single one is easily given in its place, and text is a sequence of text.
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, tuple) or not all(isinstance(one, kind) for one in value):
            raise TypeError(f"CopyOptions.{attribute.name}: expected a tuple of {kind.__name__}, found {value!r}")

    return check


def _referrers(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        _tuple_of(str)(_, attribute, value)


def _having(method: str) -> Callable[[object, Attribute[Any], object], None]:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and not callable(getattr(value, method, None)):
            raise TypeError(f"CopyOptions.{attribute.name}: expected something with {method}(), found {value!r}")

    return check


def _encrypting(_: object, attribute: Attribute[Any], value: object) -> None:
    # What decrypts is easily given for what encrypts, and would silently do nothing where nothing is encrypted.
    if value is None:
        return
    from ocikit.image.encryption import DecryptConfig, EncryptConfig  # noqa: PLC0415 - whoever has one has loaded it

    wanted = DecryptConfig if "decrypt" in attribute.name else EncryptConfig
    if not isinstance(value, wanted):
        raise TypeError(f"CopyOptions.{attribute.name}: expected {wanted.__name__}, found {type(value).__name__}")


def _signers(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"CopyOptions.{attribute.name}: expected a tuple of signers, found {type(value).__name__}")
    check_signers(value)


def _identity(_: object, attribute: Attribute[Any], value: str | Named | None) -> None:
    if value is None:
        return
    named = named_by(value)
    if named.is_name_only:
        raise ValueError(f"CopyOptions.{attribute.name}: {str(named)!r} has neither a tag nor a digest; add one")


def _layer_numbers(_: object, attribute: Attribute[Any], value: object) -> None:
    # A boolean is a number, and no number of a layer.
    is_right = isinstance(value, tuple) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    if value is not None and not is_right:
        raise TypeError(f"CopyOptions.{attribute.name}: expected a tuple of numbers of layers, found {value!r}")


def _flag() -> bool:
    result: bool = field(default=False, validator=_boolean)
    return result


def _member_of(kind: type[enum.Enum]) -> Callable[[object, Attribute[Any], object], None]:
    # Anything else would be taken for none of them: the copy would be an index without any of its images.
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value not in tuple(kind):
            known = ", ".join(map(str, kind))
            raise ValueError(f"CopyOptions.{attribute.name}: expected one of {known}, found {value!r}")

    return check


def _forcible(_: object, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and value not in FORCIBLE:
        known = " or ".join(FORCIBLE)
        raise ValueError(f"CopyOptions.{attribute.name}: expected {known}, found {value!r}")


@frozen(kw_only=True)
class CopyOptions:
    """How to copy an image (copy.Options of containers/image).

    Attributes:
        image_list_selection: What to copy of an index.
        instances: The digests of the manifests to copy with :attr:`ImageListSelection.SPECIFIC`.
        instance_platforms: The platforms to copy with :attr:`ImageListSelection.SPECIFIC`: every entry with this
            operating system and architecture, and with this variant when there is one.
        sparse_manifest_list_action: What becomes of the index when not everything in it is copied.
        prefer_gzip_instances: Where an index has the same image compressed by gzip and by zstd, take the former with
            :attr:`ImageListSelection.SYSTEM`.
        source_ctx: The circumstances at the source; chooses the platform, and names the policy file when no policy is
            given.
        destination_ctx: The circumstances at the destination; its ``compression_format`` and ``compression_level`` say
            how layers are to be compressed there.
        preserve_digests: Fail rather than change a byte of a manifest.
        force_manifest_mime_type: The type of manifest to write, Docker's schema 2 or that of the image specification;
            None for that of the source, or one that the destination takes. An index becomes one of the same family.
        force_compression_format: Insist that ``destination_ctx.compression_format`` is given. A layer that is at the
            destination in another compression is never taken for one in the format that was asked for, with or
            without this.
        ensure_compression_variants_exist: Compressions in which each platform of an index is to be there; those that
            are missing are made. With :attr:`ImageListSelection.ALL` only.
        download_foreign_layers: Fetch nondistributable layers from their URLs, and make ordinary layers of them.
        verify_diff_ids: Decompress every layer and hold it against the diffID that the configuration states. Layers
            whose compression changes are held against it in any case.
        link_blobs: Give files of blobs a second name instead of copying them, where both sides are layouts on one file
            system. A blob is verified the first time and believed as long as its file is untouched. The two layouts
            share files then: who overwrites one in place damages both.
        optimize_destination_image_already_exists: Look first whether the destination has the very same manifest
            and signatures, and then copy nothing.
        referrers: Copy what refers to the copied images too: signatures, SBOMs, attestations, and what refers to them.
            True for all, or the types of artifacts.
        remove_signatures: Leave the signatures of the source behind, those among its referrers too, unless
            :attr:`referrers` names their type. The destination keeps what it has where it keeps an image that is there.
        remove_list_signatures: Leave the signatures of the index behind, likewise, and keep those of the images in it.
        signers: Who signs what is written: every image, and the index that is copied. The signatures are added to those
            that are kept.
        sign_by: The fingerprint of an OpenPGP key that gpg has, to sign with as well.
        sign_passphrase: The passphrase of that key; None where an agent has it, or there is none.
        sign_by_sigstore_private_key_file: A private key of cosign's or sigstore's form, to sign with as well.
        sign_sigstore_private_key_passphrase: Its passphrase.
        sign_identity: What signatures call the image, with a tag or a digest; None for the name that the destination
            gives it. Needed where places give no names (``oci``, ``dir``).
        oci_encrypt_config: For whom layers are encrypted (ocicrypt); None for nobody.
        oci_encrypt_layers: Which layers are encrypted: their numbers from 0 on, negative ones counted from the last;
            ``()`` for all, None for none. Layers that are encrypted already stay so, see
            :attr:`EncryptConfig.decrypt_config`.
        oci_decrypt_config: What decrypts the layers that are encrypted; None to copy them as they are. With
            ``oci_encrypt_config`` besides, the chosen layers are encrypted anew.
        progress: Called with every event of the copy, in the thread that copies (:func:`progress_lines` makes such a
            callable, :func:`progress_tqdm` and :func:`progress_rich` do). What it raises ends the copy, with
            nothing visible at the destination, and reaches the caller unchanged.
        progress_interval: The least time between two events about the reading of one blob, in seconds; 0 for one with
            every chunk.
        max_parallel: How many blobs are copied at the same time, where source and destination allow that; else one
            after another.
        concurrent_blob_copies_semaphore: Bounds the blobs that several copies copy at the same time, beside
            ``max_parallel``.
    """

    image_list_selection: ImageListSelection = field(
        default=ImageListSelection.SYSTEM, validator=_member_of(ImageListSelection)
    )
    instances: tuple[Digest, ...] = field(default=(), validator=_tuple_of(str))
    instance_platforms: tuple[Platform, ...] = field(default=(), validator=_tuple_of(Platform))
    sparse_manifest_list_action: SparseManifestListAction = field(
        default=SparseManifestListAction.KEEP_SPARSE, validator=_member_of(SparseManifestListAction)
    )
    prefer_gzip_instances: bool = _flag()
    source_ctx: SystemContext | None = None
    destination_ctx: SystemContext | None = None
    preserve_digests: bool = _flag()
    force_manifest_mime_type: str | None = field(default=None, validator=_forcible)
    force_compression_format: bool = _flag()
    ensure_compression_variants_exist: tuple[CompressionVariant, ...] = field(
        default=(), validator=_tuple_of(CompressionVariant)
    )
    download_foreign_layers: bool = _flag()
    verify_diff_ids: bool = _flag()
    link_blobs: bool = _flag()
    optimize_destination_image_already_exists: bool = _flag()
    referrers: bool | tuple[str, ...] = field(default=False, validator=_referrers)
    remove_signatures: bool = _flag()
    remove_list_signatures: bool = _flag()
    signers: tuple[Signer, ...] = field(default=(), validator=_signers)
    sign_by: str | None = None
    sign_passphrase: bytes | str | None = field(default=None, repr=False)
    sign_by_sigstore_private_key_file: str | os.PathLike[str] | None = None
    sign_sigstore_private_key_passphrase: str | bytes | None = field(default=None, repr=False)
    sign_identity: str | Named | None = field(default=None, validator=_identity)
    oci_encrypt_config: EncryptConfig | None = field(default=None, validator=_encrypting)
    oci_encrypt_layers: tuple[int, ...] | None = field(default=None, validator=_layer_numbers)
    oci_decrypt_config: DecryptConfig | None = field(default=None, validator=_encrypting)
    progress: Callable[[ProgressEvent], object] | None = field(default=None, validator=_having("__call__"))
    progress_interval: float = 0.1
    max_parallel: int = field(default=6, validator=_at_least_one)
    concurrent_blob_copies_semaphore: threading.Semaphore | None = field(default=None, validator=_having("acquire"))

    @property
    def signs(self) -> bool:
        """Whether what is written is to be signed."""
        return bool(self.signers) or self.sign_by is not None or self.sign_by_sigstore_private_key_file is not None

    def __attrs_post_init__(self) -> None:
        for is_wrong, message in _CONTRADICTIONS:
            if is_wrong(self):
                raise ValueError(message)


_SPECIFIC: Final = ImageListSelection.SPECIFIC

# Each combination that would do something else than it says, and what to tell whoever asked for it.
_CONTRADICTIONS: Final[tuple[tuple[Callable[[CopyOptions], bool], str], ...]] = (
    (
        lambda o: o.image_list_selection is _SPECIFIC and not (o.instances or o.instance_platforms),
        "ImageListSelection.SPECIFIC needs instances, the digests of the manifests to copy, or instance_platforms",
    ),
    (
        lambda o: o.image_list_selection is not _SPECIFIC and bool(o.instances or o.instance_platforms),
        "instances and instance_platforms are only for ImageListSelection.SPECIFIC",
    ),
    (
        lambda o: o.sparse_manifest_list_action is SparseManifestListAction.STRIP_SPARSE and o.preserve_digests,
        "STRIP_SPARSE changes the index, which preserve_digests forbids",
    ),
    (
        lambda o: (
            o.force_compression_format and (o.destination_ctx is None or not o.destination_ctx.compression_format)
        ),
        "force_compression_format needs destination_ctx.compression_format",
    ),
    (
        lambda o: bool(o.ensure_compression_variants_exist) and o.image_list_selection is not ImageListSelection.ALL,
        "ensure_compression_variants_exist needs ImageListSelection.ALL: it adds to what the whole index lists",
    ),
    (
        lambda o: bool(o.ensure_compression_variants_exist) and o.preserve_digests,
        "ensure_compression_variants_exist adds to the index, which preserve_digests forbids",
    ),
    (
        lambda o: o.sign_identity is not None and not o.signs,
        "sign_identity is what signatures call the image, and nobody is to sign it: give signers, or a key",
    ),
    (
        lambda o: o.sign_passphrase is not None and o.sign_by is None,
        "sign_passphrase is that of the key that sign_by names",
    ),
    (
        lambda o: o.sign_sigstore_private_key_passphrase is not None and o.sign_by_sigstore_private_key_file is None,
        "sign_sigstore_private_key_passphrase is that of sign_by_sigstore_private_key_file",
    ),
    (
        lambda o: o.oci_encrypt_config is not None and o.oci_encrypt_layers is None,
        "oci_encrypt_config encrypts nothing without oci_encrypt_layers: () for all layers, or their numbers",
    ),
    (
        lambda o: o.oci_encrypt_layers is not None and o.oci_encrypt_config is None,
        "oci_encrypt_layers needs oci_encrypt_config: for whom the layers are encrypted",
    ),
)
