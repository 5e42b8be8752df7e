/*
 * The step that runs a hook: a program beside that of the container, which reads the state of the container.
 *
 * Its parent is whoever carries out the step, so that nobody else can take its exit status away. It leads a session
 * and a process group of its own: what it started and left in its group is killed with it.
 */
#include "steps.h"

#include <linux/poll.h>
#include <linux/signal.h>
#include <linux/wait.h>

/* How much of what the hook writes is kept: the end of it. */
#define TAIL 2048

#define PARTS 3      /* of the state: up to the pid, the pid, after it */
#define NAMED 4      /* strings before the arguments */
#define DEATH 10     /* seconds that a killed process has to end */
#define LAST_READS 64 /* of what is left in the pipe: somebody may go on writing */

struct hook {
	long pid;
	int process; /* a pidfd */
	int input;   /* our ends of its pipes */
	int output;
	int report; /* says why the program could not be executed, and nothing when it could */
	struct text state[PARTS];
	unsigned part;
	uint32_t fed;
};

/* The other ends. */
struct ends {
	int input;
	int output;
	int report;
};

static char tail[2 * TAIL];
static uint32_t used;

static long open_pipe(int *reads, int *writes)
{
	int ends[2];
	long result = SYS2(pipe2, ends, O_CLOEXEC);

	if (result < 0)
		return result;
	*reads = ends[0];
	*writes = ends[1];
	return 0;
}

static void end(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = NO_FD;
}

static void end_all(struct hook *hook, struct ends *theirs)
{
	end(&theirs->input);
	end(&theirs->output);
	end(&theirs->report);
	end(&hook->input);
	end(&hook->output);
	end(&hook->report);
	end(&hook->process);
}

static long open_pipes(struct hook *hook, struct ends *theirs)
{
	long result = open_pipe(&theirs->input, &hook->input);

	if (result >= 0)
		result = open_pipe(&hook->output, &theirs->output);
	if (result >= 0)
		result = open_pipe(&hook->report, &theirs->report);
	if (result >= 0)
		result = SYS3(fcntl, hook->input, F_SETFL, O_NONBLOCK);
	if (result >= 0)
		result = SYS3(fcntl, hook->output, F_SETFL, O_NONBLOCK);
	if (result >= 0)
		result = SYS3(fcntl, hook->report, F_SETFL, O_NONBLOCK);
	return result;
}

/* In the child. Everything else that is open closes with the execve. */
static long become(const struct step *step, const struct ends *theirs, const char *path, char **vector)
{
	long result;

	SYS1(setsid, 0);
	failure_ignore_pipes(0);
	if (step->arg[2] != WIRE_HOOK_KEEP)
		SYS1(umask, step->arg[2]);
	result = step->arg[3] == WIRE_NO_SLOT ? 0 : SYS1(fchdir, slot_get(step->arg[3]));
	if (result >= 0)
		result = SYS3(dup3, theirs->input, 0, 0);
	if (result >= 0)
		result = SYS3(dup3, theirs->output, 1, 0);
	if (result >= 0)
		result = SYS3(dup3, theirs->output, 2, 0);
	return result < 0 ? result : SYS3(execve, path, vector, vector + step->arg[1] + 1);
}

/* The old call, which filters that refuse clone3(2) let pass. */
static long fork_child(int *pidfd)
{
	return SYS5(clone, CLONE_PIDFD | SIGCHLD, 0, pidfd, 0, 0);
}

/* Write as much of the state as there is room for; a hook that does not want to read is none of our business. */
static void feed(struct hook *hook)
{
	while (hook->part < PARTS) {
		const struct text *part = &hook->state[hook->part];
		long wrote = SYS3(write, hook->input, part->bytes + hook->fed, part->length - hook->fed);

		if (wrote == -E_AGAIN || wrote == -E_INTR)
			return;
		if (wrote < 0)
			break;
		hook->fed += (uint32_t)wrote;
		if (hook->fed == part->length) {
			hook->part++;
			hook->fed = 0;
		}
	}
	end(&hook->input);
}

static int listen(struct hook *hook)
{
	long got = SYS3(read, hook->output, tail + used, sizeof(tail) - used);

	if (got == -E_AGAIN || got == -E_INTR)
		return 0;
	if (got <= 0) {
		end(&hook->output);
		return 0;
	}
	used += (uint32_t)got;
	if (used > TAIL) {
		memmove(tail, tail + used - TAIL, TAIL);
		used = TAIL;
	}
	return 1;
}

/* The launcher's word stops a hook; that it is gone stops those hooks which nobody wants without it. */
static int is_stopped(unsigned long long *how)
{
	char word;
	long got = SYS3(read, channel_fd(), &word, sizeof(word));

	if (got > 0 || *how == WIRE_HOOK_TIED)
		return 1;
	*how = WIRE_HOOK_ALONE;
	return 0;
}

static long why_not(struct hook *hook)
{
	int error = 0;
	long got = SYS3(read, hook->report, &error, sizeof(error));

	if (got == -E_AGAIN || got == -E_INTR)
		return 0;
	end(&hook->report);
	return got == sizeof(error) ? error : 0;
}

/* Until the hook has ended: 0, or what has to be said of it. */
static long attend(struct hook *hook, unsigned long long milliseconds, unsigned long long how)
{
	/* The kernel's timespec, in which ppoll(2) leaves how much of it remains. */
	long long left[2] = {(long long)(milliseconds / 1000), (long long)(milliseconds % 1000) * 1000000};

	for (;;) {
		struct pollfd waiting[] = {
			{.fd = hook->process, .events = POLLIN},
			{.fd = hook->output, .events = POLLIN},
			{.fd = hook->input, .events = POLLOUT},
			{.fd = hook->report, .events = POLLIN},
			{.fd = how == WIRE_HOOK_ALONE ? NO_FD : channel_fd(), .events = POLLIN},
		};
		unsigned count = sizeof(waiting) / sizeof(*waiting);
		long ready = SYS5(ppoll, waiting, count, milliseconds ? left : NULL, NULL, sizeof(uint64_t));
		long result = 0;

		if (ready == -E_INTR)
			continue;
		if (ready <= 0)
			return ready < 0 ? ready : -WIRE_HOOK_LATE;
		if (waiting[1].revents)
			listen(hook);
		if (waiting[2].revents)
			feed(hook);
		if (waiting[3].revents)
			result = why_not(hook);
		if (result < 0 || waiting[0].revents)
			return result;
		if (waiting[4].revents && is_stopped(&how))
			return -WIRE_HOOK_STOPPED;
	}
}

/* Its group, and itself if it has not come to lead one. */
static void kill_hook(struct hook *hook)
{
	struct pollfd waiting = {.fd = hook->process, .events = POLLIN};
	long long seconds[2] = {DEATH, 0};

	SYS2(kill, -hook->pid, SIGKILL);
	SYS2(kill, hook->pid, SIGKILL);
	SYS5(ppoll, &waiting, 1, seconds, NULL, sizeof(uint64_t));
}

static long finish(struct hook *hook, long result)
{
	int status = 0;

	/* Also when we cannot go on: what nobody waits for must not go on either. */
	if (result < 0)
		kill_hook(hook);
	for (int i = 0; hook->output >= 0 && i < LAST_READS && listen(hook); i++)
		;
	if (result >= 0 && hook->report >= 0)
		result = why_not(hook);
	if (SYS4(wait4, hook->pid, &status, __WALL | WNOHANG, 0) == hook->pid && result >= 0 && status != 0)
		result = -(WIRE_HOOK_ENDED | (status & 0xffff));
	return result;
}

/* The pid as whoever is in the same pid namespace knows it. */
static struct text own_pid(void)
{
	static char digits[12];
	char *at = digits + sizeof(digits) - 1;
	long pid = SYS1(getpid, 0);

	do
		*--at = (char)('0' + pid % 10);
	while ((pid /= 10) > 0);
	return (struct text){.bytes = at, .length = (uint32_t)(digits + sizeof(digits) - 1 - at)};
}

static long run_hook(struct step *step, struct hook *hook, struct ends *theirs, const char *path)
{
	char **vector = vector_of(step, step->strings - NAMED, step->arg[1]);
	long result = vector ? open_pipes(hook, theirs) : -E_2BIG;

	if (result < 0)
		return result;
	hook->pid = fork_child(&hook->process);
	if (hook->pid == 0) {
		int error = (int)become(step, theirs, path, vector);

		SYS3(write, theirs->report, &error, sizeof(error));
		sys_exit(127);
	}
	if (hook->pid < 0)
		return hook->pid;
	end(&theirs->input);
	end(&theirs->output);
	end(&theirs->report);
	failure_ignore_pipes(1);
	result = finish(hook, attend(hook, step->arg[0], step->arg[4]));
	failure_ignore_pipes(0);
	return result;
}

long step_HOOK(struct step *step)
{
	struct hook hook = {.process = NO_FD, .input = NO_FD, .output = NO_FD, .report = NO_FD};
	struct ends theirs = {NO_FD, NO_FD, NO_FD};
	struct text name, path;
	long result;

	if (step->strings < NAMED)
		return -E_INVAL;
	name = text_next(step);
	hook.state[0] = text_next(step);
	hook.state[2] = text_next(step);
	hook.state[1] = hook.state[2].length ? own_pid() : (struct text){.bytes = NULL, .length = 0};
	path = text_next(step);
	used = 0;
	result = run_hook(step, &hook, &theirs, path.bytes);
	end_all(&hook, &theirs);
	if (result < 0) {
		failure_words(name.bytes, name.length + 1);
		failure_words(tail, used);
	}
	return result;
}
