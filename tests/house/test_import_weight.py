"""What an import costs, and what works without the compiled part or Linux: each in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from house_source import expect_none, modules, room_of

HERE = Path(__file__).parent

#: Modules that take long to load, or bring something along that a program may not want.
HEAVY = """
    attr attrs cryptography urllib3 magic cffi _cffi_backend backports.zstd compression.zstd zstandard ssl http.client
    email.parser asyncio sqlite3 multiprocessing ocikit._native._launcher
""".split()
ATTRS = {"attr", "attrs"}

WITHOUT_C = "import sys; sys.modules['ocikit._native._launcher'] = None\n"
ELSEWHERE = f"import sys; sys.path.insert(0, {str(HERE)!r}); import elsewhere; sys.path.pop(0)\n"


def run(script: str, *, cwd: Path | None = None) -> str:
    """Run a script in a fresh interpreter with warnings as errors; return what it prints."""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        pytest.fail(f"{script}\n{done.stderr}", pytrace=False)
    return done.stdout


def loaded(script: str) -> set[str]:
    """Return the heavy modules, and rooms of ours, that a script loads."""
    names = json.loads(run(f"{script}\nimport json, sys; print(json.dumps([*sys.modules]))"))
    return {name for name in names if name in HEAVY or name.startswith("ocikit")}


@pytest.mark.parametrize(
    "script",
    [
        "import ocikit",
        "import ocikit; dir(ocikit); ocikit.__version__",
        "import ocikit.errors",
        "import ocikit.spec",
        "import ocikit.image",
        "import ocikit; ocikit.image; ocikit.runtime; ocikit.spec; ocikit.errors",
        "import ocikit.runtime",
        "import ocikit.runtime; ocikit.runtime.load",
        "import ocikit.runtime; ocikit.runtime.list_containers; ocikit.runtime.stop_and_remove",
        "import ocikit._fs, ocikit._sys",
    ],
)
def test_looking_around_loads_nothing_heavy(script: str) -> None:
    """Importing the rooms, and finding and destroying containers, needs no class of the specifications and no C."""
    expect_none(loaded(script) & {*HEAVY, "ocikit.spec._document"})


@pytest.mark.parametrize(
    "script",
    [
        "import ocikit.spec; ocikit.spec.Spec.default().to_json()",
        "import ocikit.image; ocikit.image.Policy.insecure_accept_anything(); ocikit.image.copy.image",
        "import ocikit.image; ocikit.image.parse_image_name('oci:/layout:name')",
        "import ocikit.bundle; ocikit.bundle.create",
        "import ocikit.testing; ocikit.testing.Registry().close()",
        "import ocikit.runtime; ocikit.runtime.create; ocikit.runtime.run",
    ],
)
def test_what_is_not_used_is_not_loaded(script: str) -> None:
    """Classes need attrs; network, cryptography, compression and C wait for the call that needs them."""
    expect_none(loaded(script) & set(HEAVY) - ATTRS)


#: What few containers have: it waits for one of them.
FEW = """
    spec.hooks spec.linux_special spec.process_special spec.linux_limits spec.violation
    runtime.console runtime.netdevices runtime.user_maps runtime.hooks runtime.teardown runtime.listing
    runtime.cgroups.rdt runtime.cgroups.delegation runtime.cgroups.device_filter
    runtime.limits.cpu runtime.limits.memory runtime.limits.blkio runtime.seccomp.compile runtime.launch
""".split()


def test_creating_waits_for_what_few_containers_have() -> None:
    """A first create is mostly loading, so nobody loads what only others need."""
    found = loaded("import ocikit.runtime, ocikit.spec; ocikit.runtime.create; ocikit.spec.Spec")
    assert {"ocikit.runtime.creation", "ocikit.spec.runtime"} <= found
    expect_none(found & {f"ocikit.{name}" for name in FEW})


def test_import_does_not_load_rooms() -> None:
    """The signpost and the errors are all that is loaded at first."""
    assert loaded("import ocikit") == {"ocikit"}
    assert {name.partition("._")[0] for name in loaded("import ocikit.errors")} == {"ocikit", "ocikit.errors"}


def test_a_missing_compiled_part_is_one_clear_error() -> None:
    """The call that needs the C says what is missing and how to get it."""
    script = f"""{WITHOUT_C}
import ocikit
from ocikit import _sys
try:
    _sys.openat2(-1, ".", 0, 0, 0)
except ocikit.errors.NotSupportedError as error:
    print(error)
"""
    assert "gcc" in run(script)


LAYOUTS = """
import json, os
from ocikit import image, spec
from ocikit.image.reference import parse_normalized_named

spec.Spec.from_json(spec.Spec.default().to_json()).validate()
assert str(parse_normalized_named("busybox")) == "docker.io/library/busybox"
policy = image.Policy.from_bytes('{"default": [{"type": "insecureAcceptAnything"}]}')

def write(path, data):
    with open(path, "wb") as file:
        file.write(data)

config, manifest_type = b"{}", "application/vnd.oci.image.manifest.v1+json"
empty = spec.Digest.from_bytes(config)
manifest = json.dumps({
    "schemaVersion": 2, "mediaType": manifest_type, "layers": [],
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(empty), "size": len(config)},
}).encode()
os.mkdir("source")
write("source/version", b"Directory Transport Version: 1.1\\n")
write("source/manifest.json", manifest)
write("source/" + str(empty).partition(":")[2], config)
image.copy.image(policy, dest="oci:layout:a", src="dir:source")
image.copy.image(policy, dest="oci-archive:archive.tar:a", src="oci:layout:a")
result = image.copy.image(policy, dest="dir:back", src="oci-archive:archive.tar:a")
assert result.manifest == manifest
"""


@pytest.mark.parametrize("where", [WITHOUT_C, ELSEWHERE], ids=["without C", "elsewhere"])
def test_images_are_copied_anywhere(where: str, tmp_path: Path) -> None:
    """Specifications, references, policies, layouts and copies need neither the C nor Linux."""
    run(where + LAYOUTS, cwd=tmp_path)


def test_every_module_is_imported_elsewhere() -> None:
    """No module of the house fails to be imported off Linux; what needs Linux says so when it is called."""
    names = [name for name in modules() if room_of(name) != "_native" and not name.endswith("__main__")]
    script = f"""{ELSEWHERE}
import importlib, traceback
for name in {names!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        last = [frame for frame in traceback.extract_tb(error.__traceback__) if "ocikit" in frame.filename][-1]
        print(f"{{name}}: {{error!r}} ({{last.filename}}:{{last.lineno}})")
"""
    expect_none(run(script).splitlines())


def test_stopping_containers_elsewhere_is_an_empty_report(tmp_path: Path) -> None:
    """An application that removes its containers at the end has none to remove off Linux."""
    script = "from ocikit import runtime; assert runtime.stop_and_remove('root', prefix='app_') == runtime.Report()"
    run(ELSEWHERE + script, cwd=tmp_path)
