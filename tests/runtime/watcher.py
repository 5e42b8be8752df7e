"""A hostile program for containers: it waits for whoever comes in, and grabs what it can of them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["add_watcher"]

#: Writes a line for everything that it must not get, and one with the number of processes that it saw, until it gets
#: SIGTERM. What is in /proc and not its own is looked at over and over: programs to overwrite, descriptors, working
#: directories and roots that lead somewhere else, memory, and processes that can be traced, with what they may do.
_SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stop;
static struct stat root;
static unsigned long long allowed;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

/* A descriptor that is not a standard stream, or leads out of the root. */
static void look_at_descriptors(const char *pid)
{
	char path[300], link[4096];
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	fds = opendir(path);
	for (struct dirent *one; fds && (one = readdir(fds));) {
		long length;
		int fd;

		if (one->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, one->d_name);
		length = readlink(path, link, sizeof(link) - 1);
		link[length > 0 ? length : 0] = 0;
		fd = open(path, O_PATH | O_DIRECTORY);
		if (fd >= 0)
			printf("directory %s %s\n", one->d_name, link);
		else if (length > 0 && atoi(one->d_name) > 2 && strncmp(link, "socket:", 7))
			printf("descriptor %s %s\n", one->d_name, link);
		close(fd);
	}
	if (fds)
		closedir(fds);
}

static void look_at_place(const char *pid, const char *name)
{
	char path[300], outside[320];
	struct stat found;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	if (!strcmp(name, "root") && stat(path, &found) == 0 && found.st_dev != root.st_dev)
		printf("%s %s\n", name, pid);
	snprintf(outside, sizeof(outside), "%s/etc/hostname", path);
	if (access(outside, F_OK) == 0)
		printf("file of the host by %s %s\n", name, pid);
}

static void look_at_program(const char *pid)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	fd = open(path, O_WRONLY);
	if (fd >= 0 && write(fd, "x", 1) >= 0)
		printf("program %s\n", pid);
	close(fd);
	fd = open(path, O_RDWR | O_TRUNC);
	if (fd >= 0)
		printf("program %s\n", pid);
	close(fd);
}

/* Who is traced must have no more rights than this process could have. */
static void trace(const char *pid)
{
	char path[300], line[300];
	FILE *status;
	int number = atoi(pid);

	if (ptrace(PTRACE_SEIZE, number, 0, 0) < 0)
		return;
	ptrace(PTRACE_INTERRUPT, number, 0, 0);
	waitpid(number, NULL, __WALL);
	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "CapPrm:", 7) && strtoull(line + 7, NULL, 16) & ~allowed)
			printf("rights %s", line);
	if (status)
		fclose(status);
	look_at_descriptors(pid);
	look_at_place(pid, "cwd");
	look_at_place(pid, "root");
	ptrace(PTRACE_DETACH, number, 0, 0);
}

int main(int count, char **words)
{
	struct sigaction action = {.sa_handler = on_term};
	int own = getpid(), seen = 0, last = own;

	sigaction(SIGTERM, &action, NULL);
	allowed = count > 1 ? strtoull(words[1], NULL, 16) : 0;
	stat("/", &root);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("watching\n");
	while (!stop) {
		DIR *proc = opendir("/proc");

		for (struct dirent *one; (one = readdir(proc));) {
			int pid = atoi(one->d_name);

			if (pid <= 0 || pid == own)
				continue;
			if (pid > last) {
				seen++;
				last = pid;
			}
			look_at_program(one->d_name);
			look_at_descriptors(one->d_name);
			look_at_place(one->d_name, "cwd");
			look_at_place(one->d_name, "root");
			trace(one->d_name);
		}
		closedir(proc);
	}
	printf("seen %d\n", seen);
	return 0;
}
"""


def add_watcher(rootfs: Path, at: Path) -> Path:
    """Copy a root file system and add the program to it, as ``/bin/watcher``; return the copy."""
    # Without its devices, if it should have some: to copy one is to read it.
    shutil.copytree(rootfs, at, symlinks=True, ignore=shutil.ignore_patterns("dev"))
    (at / "dev").mkdir()
    at.chmod(0o755)
    source = at / "watcher.c"
    source.write_text(_SOURCE)
    subprocess.run(["gcc", "-O1", "-static", "-o", at / "bin/watcher", source], check=True)
    source.unlink()
    return at
