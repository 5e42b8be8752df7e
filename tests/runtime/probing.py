"""A program for containers that makes the system calls it is told to, and says what came of them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["add_probe"]

#: Each argument is a call: ``how:number:argument:argument…``, and gives a line: the result, or the errno negated.
#: How: ``n`` natively, ``i`` as a 32-bit program (x86 only), ``t`` in a thread of its own.
_SOURCE = r"""
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

static volatile int trapped;

static void on_trap(int signal, siginfo_t *about, void *context)
{
	(void)signal;
	(void)context;
	trapped = about->si_syscall;
}

static long native(unsigned long number, unsigned long *a)
{
	long result = syscall((long)number, a[0], a[1], a[2], a[3], a[4], a[5]);

	return result == -1 ? -errno : result;
}

static long as_32_bit(unsigned long number, unsigned long *a)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("int $0x80"
		: "=a"(result)
		: "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2])
		: "memory", "r8", "r9", "r10", "r11");
	return (int)result;
#else
	return native(number, a);
#endif
}

struct call {
	unsigned long number, arguments[6];
	long result;
};

static void *in_thread(void *data)
{
	struct call *call = data;

	call->result = native(call->number, call->arguments);
	return NULL;
}

int main(int count, char **words)
{
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 1; i < count; i++) {
		struct call call = {0};
		char *word = words[i], how = *word++;

		if (how == 'h') { /* handle SIGSYS from here on */
			sigaction(SIGSYS, &action, NULL);
			continue;
		}
		call.number = strtoul(word + 1, &word, 0);
		for (int n = 0; n < 6 && *word == ':'; n++)
			call.arguments[n] = strtoul(word + 1, &word, 0);
		if (how == 't') {
			pthread_t thread;

			call.result = 1000;
			pthread_create(&thread, NULL, in_thread, &call);
			/* A thread that the kernel ended is joined like any other. */
			pthread_join(thread, NULL);
		} else
			call.result = how == 'i' ? as_32_bit(call.number, call.arguments) : native(call.number, call.arguments);
		if (trapped)
			printf("trapped %d\n", trapped);
		else
			printf("%ld\n", call.result);
		trapped = 0;
	}
	return 0;
}
"""


def add_probe(rootfs: Path, at: Path) -> Path:
    """Copy a root file system and add the program to it, as ``/bin/probe``; return the copy."""
    shutil.copytree(rootfs, at, symlinks=True)
    at.chmod(0o755)
    source = at / "probe.c"
    source.write_text(_SOURCE)
    program = at / "bin/probe"
    subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", program, source], check=True)
    source.unlink()
    return at
