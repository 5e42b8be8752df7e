"""How the extension is made: cffi in API mode over launcher.h, for every Python from 3.11 on (abi3)."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)

ffibuilder = FFI()
ffibuilder.cdef(_COMMENT.sub("", (_HERE / "launcher.h").read_text()))
ffibuilder.set_source(
    "ocikit._native._launcher",
    '#include "launcher.h"',
    sources=[f"ocikit/_native/{name}.c" for name in ("launcher", "memory", "namespaces", "rights")],
    include_dirs=["ocikit/_native"],
    depends=["ocikit/_native/launcher.h", "ocikit/_native/wire.h"],
)
