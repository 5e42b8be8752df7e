"""Users without a home: what platforms run services as that give them a number, and no entry in passwd."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from unprivileged import in_child

from ocikit.errors import LayoutError, PolicyNotFoundError
from ocikit.image import Policy, SystemContext, parse_image_name, registries_d
from ocikit.image.credentials import places as credentials
from ocikit.image.home import home
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries import places as registries
from ocikit.image.registries_d import reading  # noqa: F401 - the child may not be able to read the source
from ocikit.image.storage import conf, store  # noqa: F401 - likewise
from ocikit.image.transports import containers_storage  # noqa: F401 - likewise

if TYPE_CHECKING:
    from pathlib import Path

#: A user that no passwd of a machine for tests has.
NUMBER = 1_987_654_321
NAMED = parse_normalized_named("registry.example.com/team/app:1")


def homeless() -> str:
    """Be somebody without a home, and ask for everything that is looked for in one."""
    os.environ.pop("HOME", None)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CONTAINERS_STORAGE_CONF"):
        os.environ.pop(name, None)
    # Nothing is there; files of this machine are left out of it.
    nowhere = SystemContext(root_for_implicit_absolute_paths="/nowhere")
    with pytest.raises(PolicyNotFoundError, match=r"there is no /nowhere/etc/containers/policy\.json\. Pass"):
        Policy.default(nowhere)
    assert not registries_d.use_sigstore_attachments(NAMED, nowhere)
    remedy = (
        r"store of signatures would be in the home directory, and user 1987654321 has none: set HOME, or name a loo"
    )
    with pytest.raises(LayoutError, match=remedy):
        registries_d.signature_storage_base_url(NAMED, nowhere, write=True)
    # An image is pulled without signatures, and without credentials, by whoever has no place for them.
    assert registries_d.signature_storage_base_url(NAMED, nowhere).startswith("file:///nonexistent/")
    assert not any(os.path.exists(one.path) for one in credentials.files_to_read(nowhere))
    assert registries.configuration_paths(nowhere).file == "/nowhere/etc/containers/registries.conf"
    with pytest.raises(LayoutError, match="and user 1987654321 has none: set HOME, or name graphroot in storage"):
        parse_image_name("containers-storage:app:1").new_image_source(nowhere)
    return "asked"


def test_without_a_home_the_system_counts() -> None:
    """What is looked for in the home first is then looked for in the system; what can only be there says so."""
    assert in_child(homeless, user=NUMBER) == "asked"


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``HOME=`` names no directory, and not the root of the file system: passwd has the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.setenv("HOME", "")
    import pwd  # noqa: PLC0415 - the same that is asked

    assert str(home()) == pwd.getpwuid(os.geteuid()).pw_dir
