/*
 * The step that keeps somebody to wait for the program.
 *
 * The first process of a pid namespace does not end before everybody in it was waited for. A further process of a
 * container must not wait for a launcher that has other things to do: its parent is a process that has nothing else to
 * do, outside of the container, without a descriptor to its name.
 */
#include "steps.h"

#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/wait.h>

/* End in the same way, so that whoever waits for this process learns how the other one ended. */
static _Noreturn void end_like(int status)
{
	int signal = status & 0x7f;

	if (signal == 0)
		sys_exit(status >> 8 & 0xff);
	/* One core of it is enough. */
	SYS5(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	SYS2(kill, SYS1(getpid, 0), signal);
	sys_exit(128 + signal);
}

static _Noreturn void attend(long helper)
{
	int last = 255 << 8;

	/* Pipes end when the program has ended, not when this process has; nor is a file system kept busy. */
	SYS3(close_range, 0, ~0U, 0);
	SYS1(chdir, "/");
	SYS2(prctl, PR_SET_NAME, "ocikit:exec");
	for (;;) {
		int status = 0;
		long pid = SYS4(wait4, -1, &status, __WALL, 0);

		if (pid == -E_INTR)
			continue;
		if (pid < 0)
			end_like(last);
		if (pid != helper)
			last = status;
	}
}

long step_ATTEND(struct step *step)
{
	struct clone_args how = {.exit_signal = SIGCHLD};
	long pid;

	if (step->arg[0] != WIRE_NO_SLOT) {
		how.flags |= CLONE_INTO_CGROUP;
		how.cgroup = (uint32_t)slot_get(step->arg[0]);
	}
	pid = SYS2(clone3, &how, sizeof(how));
	if (pid > 0)
		attend(pid);
	if (pid == 0)
		slot_close(step->arg[0]);
	return pid;
}
