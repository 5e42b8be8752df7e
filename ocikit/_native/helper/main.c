/*
 * The helper: a small static program that makes namespaces and becomes a container's init.
 *
 * The launcher starts it from a sealed memory file with a plan on descriptor 3 and a channel on descriptor 4. It does
 * what the plan says, one step after the other, in two processes: the helper itself up to the step CLONE, and from
 * there on its child, which ends by executing the container's program. Who fails says which step it was and why, and
 * the launcher, which knows what the step was for, makes an error of it.
 */
#include "steps.h"

#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/signal.h>

void *memset(void *to, int byte, size_t length)
{
	char *at = to;

	while (length--)
		*at++ = (char)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
	char *target = to;
	const char *source = from;

	while (length--)
		*target++ = *source++;
	return to;
}

/* Moves things down in memory, which is all that is asked of it here. */
void *memmove(void *to, const void *from, size_t length)
{
	char *target = to;
	const char *source = from;

	while (length--)
		*target++ = *source++;
	return to;
}

typedef long (*step_function)(struct step *step);

static const step_function functions[WIRE_OP_COUNT] = {
#define FUNCTION(name, strings) [WIRE_OP_##name] = step_##name,
	WIRE_OPS(FUNCTION)
#undef FUNCTION
};

/* Signals that the host ignores or blocks are the host's affair; a container starts with none of it. */
static void reset_signals(void)
{
	uint64_t none = 0;

	for (int signal = 1; signal <= 64; signal++) {
		/* The kernel's sigaction: handler (SIG_DFL is 0), flags, restorer, mask. */
		uint64_t action[4] = {0, 0, 0, 0};

		SYS4(rt_sigaction, signal, action, 0, sizeof(uint64_t));
	}
	SYS4(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
}

#define CALLED_WITH_RESTORER 0x04000000 /* SA_RESTORER, without which x86_64 calls no handler */

static void end_by(int signal)
{
	sys_exit(128 + signal);
}

/* The kernel keeps signals without a handler from the first process of a pid namespace: a created container could be
 * ended by SIGKILL only. The program gets its signals back with the execve, as do hooks. */
long step_ENDABLE(struct step *step)
{
	static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2};

	(void)step;
	for (unsigned i = 0; i < sizeof(ending) / sizeof(*ending); i++) {
		/* The handler does not return; what it would return to is never called. */
		uint64_t to = (uint64_t)(uintptr_t)end_by;
		uint64_t action[4] = {to, CALLED_WITH_RESTORER, to, 0};

		SYS4(rt_sigaction, ending[i], action, 0, sizeof(uint64_t));
	}
	return 0;
}

static void adopt_descriptors(int passed)
{
	for (int slot = 0; slot < passed; slot++) {
		int fd = WIRE_FD_FIRST_SLOT + slot;

		if (SYS2(fcntl, fd, F_GETFD) >= 0)
			slot_set((unsigned)slot, fd);
	}
	/* Nothing of ours outlives the execve; a descriptor that the container inherits is a way out of it. */
	SYS3(close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int run(void)
{
	uint32_t offset = 0;
	long steps = plan_open(WIRE_FD_PLAN);

	if (steps < 0) {
		failure_tell(0xffffffffU, 0, (int)-steps);
		return 1;
	}
	sys_close(WIRE_FD_PLAN);
	adopt_descriptors(plan_passed());
	for (uint32_t index = 0; index < (uint32_t)steps; index++) {
		struct step step = plan_step(index, &offset);
		long result = functions[step.op](&step);

		if (result < 0) {
			failure_tell(index, step.op, (int)-result);
			return 1;
		}
	}
	return 0;
}

__attribute__((used)) static _Noreturn void begin(void)
{
	/* From before the first namespace is joined until execve, nobody inside may trace us or look through our
	 * descriptors in /proc. */
	SYS5(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* What ps shows until the program is executed. */
	SYS2(prctl, PR_SET_NAME, "ocikit:init");
	reset_signals();
	/* Away from the host's terminal: what is typed there is not meant for the container. */
	SYS1(setsid, 0);
	SYS1(umask, 0);
	sys_exit(run() == 0 ? 0 : 255);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall begin\n\thlt\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tb begin\n");
#endif
