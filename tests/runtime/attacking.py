"""What attacks are made with: programs that attack, a piece of the host to aim at, and a look at whether it was hit."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HUNTER", "TREASURE", "Decoy", "add_program", "decoy_at", "mounts_of_host", "racing"]

#: Looks at every process it can see, over and over. Those that are still to become what they are going to be, it tries
#: to look into and to trace; with an argument also to signal, with all kinds of signals (0) or one of them. A line for
#: each thing that it got, once.
HUNTER = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what)
{
	static const char *said[64];
	static int count;

	for (int i = 0; i < count; i++)
		if (!strcmp(said[i], what))
			return;
	said[count++] = what;
	dprintf(1, "%s\n", what);
}

/* The name that the helper has until the program is executed. */
static int is_newcomer(int pid)
{
	char path[64], name[32] = "";
	int fd, length;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY);
	length = fd < 0 ? 0 : (int)read(fd, name, sizeof(name) - 1);
	close(fd);
	return length > 0 && !strncmp(name, "ocikit:", 7);
}

static void reach(int pid, const char *name, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, flags | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && is_newcomer(pid))
		tell(name);
	close(fd);
}

static void trace(int pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		return;
	if (is_newcomer(pid))
		tell("traced");
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	waitpid(pid, NULL, __WALL);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void disturb(int pid, int only)
{
	static const int numbers[] = {SIGTERM, SIGUSR1, SIGPIPE, SIGSTOP, SIGKILL, SIGCHLD, SIGHUP};
	static unsigned next;
	int number = only ? only : numbers[next++ % (sizeof(numbers) / sizeof(*numbers))];

	if (!kill(pid, number))
		tell("signalled");
	if (number == SIGSTOP && !only)
		kill(pid, SIGCONT);
}

int main(int count, char **words)
{
	int own = getpid();

	dprintf(1, "ready\n");
	for (;;) {
		DIR *all = opendir("/proc");

		for (struct dirent *entry; (entry = readdir(all));) {
			int pid = atoi(entry->d_name);

			if (pid <= 0 || pid == own || !is_newcomer(pid))
				continue;
			tell("seen");
			reach(pid, "exe", O_RDONLY);
			reach(pid, "exe", O_WRONLY);
			reach(pid, "root/", O_RDONLY);
			reach(pid, "cwd/", O_RDONLY);
			for (int fd = 0; fd < 20; fd++) {
				char name[20];

				snprintf(name, sizeof(name), "fd/%d", fd);
				reach(pid, strdup(name), O_PATH);
			}
			reach(pid, "mem", O_RDWR);
			reach(pid, "environ", O_RDONLY);
			trace(pid);
			if (count > 1)
				disturb(pid, atoi(words[1]));
		}
		closedir(all);
	}
}
"""

#: Exchanges two names for each other, over and over, until it is killed.
_RACER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **names)
{
	write(1, "ready\n", count == 3 ? 6 : 0);
	for (;;)
		renameat2(AT_FDCWD, names[1], AT_FDCWD, names[2], RENAME_EXCHANGE);
}
"""

#: What must never be read in a container.
TREASURE = "what only the host may read"


@functools.cache
def _compiled(source: str) -> bytes:
    """Compile a program, once for all tests; it needs no library where it runs."""
    with tempfile.TemporaryDirectory() as place:
        file, program = Path(place, "program.c"), Path(place, "program")
        file.write_text(source)
        subprocess.run(["gcc", "-O1", "-static", "-w", "-o", program, file], check=True)
        return program.read_bytes()


def add_program(directory: Path, name: str, source: str) -> Path:
    """Put a program into a directory; return its path."""
    path = directory / name
    path.write_bytes(_compiled(source))
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def racing(one: Path, other: Path, program_at: Path) -> Iterator[None]:
    """Exchange two names for each other as long as the block lasts.

    Args:
        one: A name.
        other: Another one.
        program_at: A directory for the program that does it.
    """
    program = program_at / "racer"
    if not program.exists():
        add_program(program_at, "racer", _RACER)
    with subprocess.Popen([program, one, other], stdout=subprocess.PIPE) as racer:
        try:
            assert racer.stdout is not None
            racer.stdout.readline()
            yield
            assert racer.poll() is None
        finally:
            racer.kill()


class Decoy(NamedTuple):
    """A piece of the host that looks like a part of a root file system, so that what leads there is taken for it."""

    path: Path

    def look(self) -> dict[str, tuple[object, ...]]:
        """Return all that can be changed of it: names, inodes, owners, modes, sizes, times, attributes, content."""
        found: dict[str, tuple[object, ...]] = {}
        for directory, names, files in os.walk(self.path):
            for name in (".", *names, *files):
                key = os.path.join(directory, name)
                found[key] = _look_at(key)
        return found


def _look_at(path: str) -> tuple[object, ...]:
    about = os.lstat(path)
    content: object = None
    if os.path.islink(path):
        content = os.readlink(path)
    elif os.path.isfile(path):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    names = os.listxattr(path, follow_symlinks=False)
    attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
    return (
        about.st_ino, about.st_mode, about.st_uid, about.st_gid, about.st_nlink, about.st_rdev,
        about.st_size, about.st_mtime_ns, about.st_ctime_ns, content, attributes,
    )  # fmt: skip


def decoy_at(path: Path) -> Decoy:
    """Make a decoy: directories and files with the names that runtimes look for, and a secret everywhere."""
    for name in (".", "a/b", "pts", "shm", "net/ipv4", "kernel", "fs/cgroup", "self/attr", "sys/kernel"):
        (path / name).mkdir(parents=True, exist_ok=True)
        (path / name / "secret").write_text(TREASURE)
    for name in ("null", "zero", "console", "tty", "ptmx", "hosts", "passwd", "kcore", "sysrq-trigger", "sys/kernel/x"):
        (path / name).write_text(TREASURE)
    os.mknod(path / "node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    return Decoy(path)


def mounts_of_host(path: Path) -> list[str]:
    """Return what is mounted on this host that has to do with a path: lines of mountinfo."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(path) in line]
