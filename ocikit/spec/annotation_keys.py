"""Annotation keys that the image specification defines (annotations.md, conversion.md)."""

from __future__ import annotations

from typing import Final

#: When the image was built (RFC 3339).
CREATED: Final = "org.opencontainers.image.created"
#: Contact details of the people responsible for the image.
AUTHORS: Final = "org.opencontainers.image.authors"
#: Where to find more information on the image.
URL: Final = "org.opencontainers.image.url"
#: Where to get documentation on the image.
DOCUMENTATION: Final = "org.opencontainers.image.documentation"
#: Where to get the source code that the image was built from.
SOURCE: Final = "org.opencontainers.image.source"
#: Version of the packaged software.
VERSION: Final = "org.opencontainers.image.version"
#: Source control revision of the packaged software.
REVISION: Final = "org.opencontainers.image.revision"
#: Who distributes the image.
VENDOR: Final = "org.opencontainers.image.vendor"
#: Licences of the packaged software, as an SPDX expression.
LICENSES: Final = "org.opencontainers.image.licenses"
#: Name of the target; means something only on descriptors in the index.json of a layout.
REF_NAME: Final = "org.opencontainers.image.ref.name"
#: Title of the image, for people.
TITLE: Final = "org.opencontainers.image.title"
#: Description of the packaged software, for people.
DESCRIPTION: Final = "org.opencontainers.image.description"
#: Digest of the image that this one is based on.
BASE_IMAGE_DIGEST: Final = "org.opencontainers.image.base.digest"
#: Reference of the image that this one is based on.
BASE_IMAGE_NAME: Final = "org.opencontainers.image.base.name"

# The following are set by the conversion of an image configuration to a runtime configuration.

#: Operating system that the image is for.
OS: Final = "org.opencontainers.image.os"
#: Version of that operating system.
OS_VERSION: Final = "org.opencontainers.image.os.version"
#: Features that the operating system must have.
OS_FEATURES: Final = "org.opencontainers.image.os.features"
#: CPU architecture that the image is for.
ARCHITECTURE: Final = "org.opencontainers.image.architecture"
#: Variant of that architecture.
VARIANT: Final = "org.opencontainers.image.variant"
#: Author of the image, from its configuration (``authors`` is another key).
AUTHOR: Final = "org.opencontainers.image.author"
#: Signal that asks the container to end.
STOP_SIGNAL: Final = "org.opencontainers.image.stopSignal"
#: Ports that the image says it listens on, separated by commas.
EXPOSED_PORTS: Final = "org.opencontainers.image.exposedPorts"
