"""What is configured about registries, and stored credentials, damaged: answered, or refused as is documented."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import mutations

from ocikit.errors import OCIKitError
from ocikit.image import DockerAuthConfig, SystemContext, registries
from ocikit.image.credentials import get_all_credentials, get_credentials, remove_credentials, set_credentials
from ocikit.image.reference import parse_normalized_named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

# What is ignored is said in the log, and of no interest here.
logging.getLogger("ocikit").addHandler(logging.NullHandler())

CONF = b"""unqualified-search-registries = ["a.example", "localhost:5000"]
credential-helpers = ["containers-auth.json"]
short-name-mode = "permissive"
[[registry]]
prefix = "*.example"
location = "m.example:5000/a"
insecure = true
[[registry.mirror]]
location = "n.example"
pull-from-mirror = "digest-only"
[[registry]]
location = "docker.io/library"
mirror-by-digest-only = true
blocked = false
[aliases]
app = "a.example/team/app"
"""
OLD = b"[registries.search]\nregistries = ['a.example']\n[registries.block]\nregistries = ['b.example']\n"
AUTH = {
    "auths": {"a.example/x": {"auth": "dTpw", "identitytoken": "t"}, "https://index.docker.io/v1/": {"auth": "dTpw"}},
    "credHelpers": {"b.example": "none"},
    "credsStore": "none",
}
KEYS = ("auths", "credHelpers", "credsStore", "auth", "identitytoken", "a.example", "docker.io", "b.example")
NAMES = ("app", "app:1", "a.example/x:1", "x.y.example:1/z", "busybox", "a.example/x@sha256:" + "0" * 64)
PIECES = ("a.example", "docker.io", "localhost", "/", ":", "@", "x", "5000", "https://", "..", "[::1]", "sha256:", "*.")


def configurations(random: Random, scratch: Path) -> None:
    """Files about registries are read, together and one by one, and asked about names of all kinds."""
    files = [scratch / "registries.conf", scratch / "conf.d/a.conf", scratch / "aliases.conf", scratch / "certs/x.crt"]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        data = random.choice([CONF, CONF, OLD, CONF[CONF.index(b"[aliases]") :]])
        path.write_bytes(mutations.damaged(random, data) if random.random() < 0.6 else data)
    context = SystemContext(
        system_registries_conf_path=str(files[0]),
        system_registries_conf_dir_path=str(files[1].parent),
        user_short_name_alias_conf_path=str(files[2]),
        docker_cert_path=str(files[3].parent),
    )
    name = mutations.text(random, PIECES) if random.random() < 0.4 else random.choice(NAMES)
    calls: list[Callable[[], object]] = [
        lambda: registries.find_registry(name, context),
        lambda: registries.resolve_short_name(name, context).description,
        lambda: [
            registries.pull_sources(one, context) for one in registries.resolve_short_name(name, context).candidates
        ],
        lambda: registries.push_endpoint(parse_normalized_named(name), context),
        lambda: registries.record_alias(name, "a.example/b", context),
        lambda: registries.ssl_context(registries.find_certificates(name, context)),
    ]
    _call(random, calls)


def credentials(random: Random, scratch: Path) -> None:
    """Files with credentials are looked into, and written where they are whole."""
    path = scratch / "auth.json"
    document = mutations.tree(random, json.loads(json.dumps(AUTH)), KEYS)
    data = mutations.written(random, document)
    path.write_bytes(mutations.damaged(random, data) if random.random() < 0.3 else data)
    context = SystemContext(
        system_registries_conf_path="/dev/null",
        system_registries_conf_dir_path="/dev/null",
        docker_use_creds_store=random.random() < 0.5,
        **{
            random.choice(["auth_file_path", "legacy_format_auth_file_path", "docker_compat_auth_file_path"]): str(path)
        },  # type: ignore[arg-type]
    )
    key = mutations.text(random, PIECES) if random.random() < 0.5 else random.choice(["a.example/x/y", "docker.io"])
    auth = DockerAuthConfig(username=mutations.text(random, PIECES), password=mutations.text(random, PIECES))
    calls: list[Callable[[], object]] = [
        lambda: get_credentials(key, context),
        lambda: get_all_credentials(context),
        lambda: set_credentials(key, auth, context),
        lambda: get_credentials(key, context),
        lambda: remove_credentials(key, context),
    ]
    _call(random, calls)


def _call(random: Random, calls: list[Callable[[], object]]) -> None:
    for call in random.sample(calls, len(calls)):
        try:
            str(call())
        except (OCIKitError, OSError) as error:
            str(error)


#: The targets by name.
TARGETS = {"configurations": configurations, "credentials": credentials}
