"""What the interfaces of transports promise by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from builders import digest_of

from ocikit import bundle, image
from ocikit.errors import NotSupportedError
from ocikit.image import BlobInfo, LayerCompression, SystemContext, parse_image_name
from ocikit.image.signature import PolicyRules
from ocikit.spec import Descriptor, Digest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def test_nothing_is_known_of_a_blob_by_default() -> None:
    """A blob without digest and size is one of which neither is known."""
    assert (BlobInfo().digest, BlobInfo().size) == (None, -1)


def test_what_a_descriptor_says() -> None:
    """What a manifest says of a blob is what is known of it."""
    descriptor = Descriptor(
        media_type="x/y", digest=Digest(digest_of(b"x")), size=1, urls=("http://here/",), annotations={"a": "b"}
    )
    assert BlobInfo.from_descriptor(descriptor) == BlobInfo(
        media_type="x/y", digest=descriptor.digest, size=1, urls=("http://here/",), annotations={"a": "b"}
    )


@pytest.mark.parametrize("room", [image, image.copy, bundle])
def test_help_says_what_every_attribute_is(room: ModuleType) -> None:
    """What ``help`` shows of a class has every attribute in it: nobody has to read the source."""
    classes = [
        one for name in room.__all__ if attrs.has(one := getattr(room, name)) and not issubclass(one, PolicyRules)
    ]
    missing = [
        f"{cls.__name__}.{attribute.name}"
        for cls in classes
        for attribute in attrs.fields(cls)
        if f"\n        {attribute.name}: " not in str(cls.__doc__)
        and f"\n    {attribute.name}: " not in str(cls.__doc__)
    ]
    assert classes
    assert missing == []


def test_values_are_frozen() -> None:
    """Nobody changes what somebody else was given."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        SystemContext().os_choice = "linux"  # type: ignore[misc]


def test_signatures_are_refused_where_they_would_be_lost(tmp_path: Path) -> None:
    """A place that keeps no signatures takes none of them, and no signature is no problem."""
    with parse_image_name(f"docker-archive:{tmp_path}/new.tar:new:1").new_image_destination() as destination:
        assert not destination.supports_signatures
        destination.put_signatures(())
        with pytest.raises(NotSupportedError, match="signatures cannot be stored"):
            destination.put_signatures((b"\x89",))


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_compression_is_changed_only_on_request(tmp_path: Path, transport: str) -> None:
    """Layers keep their digests unless a format is asked for."""
    reference = parse_image_name(f"{transport}:{tmp_path}/new")
    with reference.new_image_destination() as destination:
        assert destination.desired_layer_compression is LayerCompression.PRESERVE
    with reference.new_image_destination(SystemContext(compression_format="zstd")) as destination:
        assert destination.desired_layer_compression is LayerCompression.COMPRESS


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_an_abandoned_destination_leaves_no_image(tmp_path: Path, transport: str) -> None:
    """Closing without commit leaves nothing that could be opened, and closing twice is nothing."""
    reference = parse_image_name(f"{transport}:{tmp_path}/new")
    destination = reference.new_image_destination()
    destination.put_manifest(b'{"schemaVersion":2,"config":{},"layers":[]}')
    destination.close()
    destination.close()
    with pytest.raises((LookupError, OSError, ValueError)):
        reference.new_image_source()
