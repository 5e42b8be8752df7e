"""Registries: the client for distribution-spec 1.1, and what is asked of them beside images.

Images themselves go by the transport ``docker:`` (:mod:`ocikit.image.transports`), as ``docker://host/app:1``.

* asked: :func:`resolve_digest`, :func:`list_tags`, :func:`list_repositories`
* credentials: :func:`login`, :func:`logout`, :func:`verify_login`; found and stored by :mod:`ocikit.image.credentials`
* :func:`close_connections` gives back what is kept open for the next request
* one request: :mod:`.client`, on :mod:`.connection`, :mod:`.challenges`, :mod:`.tokens`, :mod:`.retrying`,
  :mod:`.refusals`
* what is requested: :mod:`.manifests`, :mod:`.blobs`, :mod:`.uploads`, :mod:`.lists`, :mod:`.attaching`
* images: :mod:`.places` says who is asked, :mod:`.source` and :mod:`.destination` read and write
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.docker.asking import (
        list_repositories,
        list_tags,
        login,
        logout,
        resolve_digest,
        verify_login,
    )
    from ocikit.image.docker.connection import close_connections

__all__ = ["close_connections", "list_repositories", "list_tags", "login", "logout", "resolve_digest", "verify_login"]

# Each public name and the module of this room that holds it.
_HOMES = dict.fromkeys(__all__, "asking") | {"close_connections": "connection"}

__getattr__, __dir__ = face(__name__, _HOMES)
