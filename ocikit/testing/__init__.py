"""A registry for tests: real HTTP on loopback in this process, with faults on demand.

::

    from ocikit.testing import Fault, Registry, Reset

    with Registry() as registry:
        digest = registry.add_blob("team/app", b"0123456789")
        registry.inject(Fault(kind="blob", do=Reset(sent=4)))
        ...  # what is to be tested pulls from registry.address
        assert [request.bytes_out for request in registry.requests if request.kind == "blob"] == [4, 10]

* :class:`Registry` speaks distribution-spec 1.1 in full; :class:`Features` turn parts of it off
* who may do what: :class:`BasicAuth`, :class:`BearerAuth`; over TLS: :class:`TLS`, :class:`TLSFiles`
* what goes wrong, and when: :class:`Fault` and its actions (:mod:`ocikit.testing.faults`)
* what was asked: :class:`RecordedRequest`

It is for tests: it holds what is in it for as long as it runs, and takes no precautions against those who can reach it.
"""

from __future__ import annotations

from ocikit.testing.certificates import TLS
from ocikit.testing.faults import (
    Action,
    Answer,
    ChangeHeaders,
    Chunked,
    Corrupt,
    Delay,
    DropUpload,
    Fault,
    Hang,
    LieAboutLength,
    Redirect,
    Reset,
    Truncate,
    WrongDigest,
)
from ocikit.testing.injection import Injection
from ocikit.testing.options import BasicAuth, BearerAuth, Features, RegistryLimits, TLSFiles
from ocikit.testing.record import RecordedRequest
from ocikit.testing.registry import Registry
from ocikit.testing.routes import RequestKind

__all__ = [
    "TLS",
    "Action",
    "Answer",
    "BasicAuth",
    "BearerAuth",
    "ChangeHeaders",
    "Chunked",
    "Corrupt",
    "Delay",
    "DropUpload",
    "Fault",
    "Features",
    "Hang",
    "Injection",
    "LieAboutLength",
    "RecordedRequest",
    "Redirect",
    "Registry",
    "RegistryLimits",
    "RequestKind",
    "Reset",
    "TLSFiles",
    "Truncate",
    "WrongDigest",
]
