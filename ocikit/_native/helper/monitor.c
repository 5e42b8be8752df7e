/*
 * The step that keeps somebody with a container.
 *
 * A container that may outlive its launcher needs a parent that stays: who learns how it ended and writes that down, who
 * reads what it writes, and who ends it when its owner is gone. That is the process which carries out this step, from
 * there on a monitor; a child of it goes on with the plan, and the init that this child makes is the monitor's.
 *
 * It knows what to do with what it was given, and nothing of why. It waits in one place, and never for a client, for the
 * container or for the launcher.
 */
#include "monitor.h"

#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/wait.h>

#define FIFO_FILE "exec.fifo"
#define STATE_FILE "state.json"

/* How often a monitor with nothing left to wait for looks whether its container was removed, in milliseconds. Being told
 * (inotify) would cost the kernel ten times as much at the end as everything else together. */
#define LOOK 1000

/* How much of what was written before the end is read after it, when somebody else goes on writing. */
#define LAST_BYTES (4u << 20)

enum waited { INIT, OWNER, PROGRAM, STDOUT, STDERR, FIXED };

static const char names[STREAMS] = {WIRE_CLIENT_STDOUT, WIRE_CLIENT_STDERR};

static struct {
	int control, directory, root, owner, listener, log;
	int input;
	int output[STREAMS];
	int init; /* a pidfd */
	int program; /* comes to its end when the program is executed */
	int pid;
	int is_terminal;
	int64_t milliseconds; /* that it may run from its start; 0: as long as it likes */
	int64_t deadline;     /* by the monotonic clock; 0 before it was started */
	int is_removed;
	int is_unwritten; /* how it ended, for want of room */
	struct ending ending;
} monitor;

static int taken(struct step *step, enum wire_monitor_slot which)
{
	return slot_get(step->arg[0] + which);
}

/* Everything else is closed: a pipe ends when those who write to it have ended, and not when we have. */
static void keep_only(const int *kept, unsigned count)
{
	unsigned from = 0;

	for (;;) {
		unsigned next = ~0U;

		for (unsigned i = 0; i < count; i++)
			if (kept[i] >= (int)from && (unsigned)kept[i] < next)
				next = (unsigned)kept[i];
		if (next > from)
			SYS3(close_range, from, next - 1, 0);
		if (next == ~0U)
			return;
		from = next + 1;
	}
}

static void take_over(struct step *step)
{
	const int kept[] = {
		monitor.control = taken(step, WIRE_MONITOR_CONTROL),
		monitor.directory = taken(step, WIRE_MONITOR_DIRECTORY),
		monitor.root = taken(step, WIRE_MONITOR_ROOT),
		monitor.owner = taken(step, WIRE_MONITOR_OWNER),
		monitor.input = taken(step, WIRE_MONITOR_STDIN),
		monitor.output[STREAM_STDOUT] = taken(step, WIRE_MONITOR_STDOUT),
		monitor.output[STREAM_STDERR] = taken(step, WIRE_MONITOR_STDERR),
		monitor.listener = taken(step, WIRE_MONITOR_LISTENER),
		monitor.log = taken(step, WIRE_MONITOR_LOG),
		monitor.program,
	};

	keep_only(kept, sizeof(kept) / sizeof(*kept));
}

/* Wait until the launcher has written the state down and says who init is; without a launcher there is no container. */
static void hear_of_init(long helper)
{
	int terminal = NO_FD;
	int status = 0;

	if (channel_hear(monitor.control, &monitor.pid, sizeof(monitor.pid), &terminal) != sizeof(monitor.pid)) {
		SYS4(wait4, helper, &status, __WALL, 0);
		while (SYS4(wait4, -1, 0, __WALL, 0) >= 0)
			;
		sys_exit(status >> 8 & 0xff);
	}
	sys_close(monitor.control);
	/* Who made init has nothing left to do. */
	SYS4(wait4, helper, 0, __WALL, 0);
	/* It is our child, and nobody else waits for it: the number is its own. What there are too many of now (descriptors
	 * on the machine) there are fewer of later, and without this one there is nothing to wait with. */
	while ((monitor.init = (int)SYS2(pidfd_open, monitor.pid, 0)) < 0)
		a_millisecond();
	if (terminal != NO_FD) {
		SYS3(fcntl, terminal, F_SETFL, O_RDWR | O_NONBLOCK);
		monitor.is_terminal = 1;
		monitor.input = monitor.output[STREAM_STDOUT] = terminal;
	}
}

static int is_readable(int fd)
{
	struct wait_for one = {.fd = fd, .events = POLL_IN};
	struct moment none = {0, 0};

	return fd != NO_FD && SYS5(ppoll, &one, 1, &none, 0, sizeof(uint64_t)) > 0;
}

static void hear_output(unsigned stream)
{
	static char bytes[PIECE];
	long length = SYS3(read, monitor.output[stream], bytes, sizeof(bytes));

	if (length == -E_AGAIN || length == -E_INTR)
		return;
	if (length <= 0) {
		/* The end of a pipe; EIO is that of a terminal, which stays open for its size. */
		log_end(stream);
		if (!monitor.is_terminal)
			sys_close(monitor.output[stream]);
		monitor.output[stream] = NO_FD;
		return;
	}
	log_write(stream, bytes, (size_t)length);
	clients_tell(names[stream], bytes, (size_t)length);
}

/* What it wrote before its end is in the log before anybody is told of the end. */
static void hear_the_rest(void)
{
	for (unsigned stream = 0; stream < STREAMS; stream++)
		for (unsigned bytes = 0; bytes < LAST_BYTES && is_readable(monitor.output[stream]); bytes += PIECE)
			hear_output(stream);
	log_end(STREAM_STDOUT);
	log_end(STREAM_STDERR);
}

static int is_missing(const char *name)
{
	return SYS3(faccessat, monitor.directory, name, 0 /* F_OK */) == -E_NOENT;
}

/* Nobody else knows it any more. Where there is no room for it, there may be later. */
static void write_ending(void)
{
	monitor.is_unwritten = ending_write(&monitor.ending) < 0 && !is_missing(STATE_FILE);
}

static void init_has_ended(void)
{
	struct ending *ending = &monitor.ending;

	ending->known = SYS4(wait4, monitor.pid, &ending->status, __WALL, &ending->usage) == monitor.pid;
	ending->finished = time_now();
	monitor.deadline = 0;
	sys_close(monitor.init);
	monitor.init = NO_FD;
	hear_the_rest();
	write_ending();
}

static void was_started(void)
{
	if (monitor.ending.started.seconds)
		return;
	monitor.ending.started = time_now();
	if (monitor.milliseconds)
		monitor.deadline = time_monotonic() + monitor.milliseconds;
}

/* Init has let go of what it held: it has executed the program, or ended before that. Whoever starts a container removes
 * the fifo, but perhaps a moment later. */
static void program_is_executed(void)
{
	sys_close(monitor.program);
	monitor.program = NO_FD;
	if (!is_readable(monitor.init) || is_missing(FIFO_FILE))
		was_started();
}

/* When init is gone and the state too, the cgroups are gone as well, or those of a namesake. */
static void kill_all(void)
{
	if (monitor.init != NO_FD || !is_missing(STATE_FILE))
		ending_kill(monitor.init);
}

static void owner_is_gone(void)
{
	sys_close(monitor.owner);
	monitor.owner = NO_FD;
	monitor.ending.owner_gone = 1;
	kill_all();
}

static void time_is_up(void)
{
	monitor.deadline = 0;
	monitor.milliseconds = 0;
	monitor.ending.timed_out = 1;
	kill_all();
}

/* Is there nobody left who could write? Some may not die with init. */
static int is_silent(void)
{
	return monitor.init == NO_FD && monitor.output[STREAM_STDOUT] == NO_FD && monitor.output[STREAM_STDERR] == NO_FD;
}

/* Is there anything left to wait for? What has an owner is there for as long as the owner is, or until it is removed. */
static int is_over(void)
{
	if (monitor.init != NO_FD)
		return 0;
	return monitor.is_removed || monitor.ending.owner_gone ||
		(is_silent() && monitor.owner == NO_FD && !monitor.is_unwritten);
}

static long wait_for_news(struct wait_for *ready, unsigned count)
{
	int64_t left = monitor.deadline ? monitor.deadline - time_monotonic() : LOOK;
	struct moment until = {left > 0 ? left / 1000 : 0, left > 0 ? left % 1000 * 1000000 : 0};
	int is_bounded = monitor.deadline || monitor.init == NO_FD;

	return SYS5(ppoll, ready, count, is_bounded ? &until : 0, 0, sizeof(uint64_t));
}

static void serve(void)
{
	struct wait_for ready[FIXED + 2 + CLIENTS] = {
		[INIT] = {.fd = monitor.init, .events = POLL_IN},
		[OWNER] = {.fd = monitor.owner, .events = POLL_IN},
		[PROGRAM] = {.fd = monitor.program}, /* whatever is written to it: only its end counts */
		[STDOUT] = {.fd = monitor.output[STREAM_STDOUT], .events = POLL_IN},
		[STDERR] = {.fd = monitor.output[STREAM_STDERR], .events = POLL_IN},
	};
	unsigned clients = clients_poll(ready + FIXED);

	if (wait_for_news(ready, FIXED + clients) < 0)
		return;
	/* In this order: when it was started comes before how it ended, and so does what it wrote. */
	if (ready[PROGRAM].revents)
		program_is_executed();
	if (ready[OWNER].revents)
		owner_is_gone();
	if (monitor.deadline && time_monotonic() >= monitor.deadline)
		time_is_up();
	for (unsigned stream = 0; stream < STREAMS; stream++)
		if (ready[STDOUT + stream].revents)
			hear_output(stream);
	clients_serve(ready + FIXED, clients);
	if (ready[INIT].revents)
		init_has_ended();
	else if (monitor.is_unwritten)
		write_ending();
	if (monitor.init == NO_FD)
		monitor.is_removed = is_missing(STATE_FILE);
	/* Who is attached waits for this, and not for the owner. */
	if (is_silent())
		clients_end();
}

static _Noreturn void stay(struct step *step, long helper)
{
	static const char score[] = "/proc/self/oom_score_adj";
	uint64_t all = ~0ULL;
	struct text log = text_next(step);
	long fd;

	SYS2(prctl, PR_SET_NAME, "ocikit:monitor");
	/* What is sent to everybody is meant for others. A write that nobody reads is an error and no signal. */
	SYS4(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	/* To end it would free next to nothing. Not everybody may ask for that. */
	fd = sys_open(score, O_WRONLY);
	if (fd >= 0)
		SYS3(write, fd, "-999", 4);
	/* Nor does it keep the file system busy that the launcher happened to be in. */
	SYS1(chdir, "/");
	take_over(step);
	hear_of_init(helper);
	monitor.milliseconds = (int64_t)step->arg[2];
	log_open(monitor.log, log.bytes, (unsigned)(step->arg[1] & 1), step->arg[3], (unsigned)step->arg[4]);
	clients_open(monitor.listener, monitor.input, monitor.is_terminal);
	ending_open(step, step->strings - 1U, monitor.directory);
	while (!is_over())
		serve();
	clients_end();
	if (monitor.ending.owner_gone)
		ending_remove(monitor.directory, monitor.root);
	sys_exit(0);
}

long step_MONITOR(struct step *step)
{
	struct clone_args how = {.exit_signal = SIGCHLD};
	int started[2];
	long result = SYS2(pipe2, started, O_CLOEXEC);
	long pid;

	if (result < 0)
		return result;
	pid = SYS2(clone3, &how, sizeof(how));
	if (pid > 0) {
		monitor.program = started[0];
		stay(step, pid);
	}
	/* What a container is made with is not what it is kept with. */
	sys_close(started[0]);
	for (unsigned which = 0; pid == 0 && which < WIRE_MONITOR_SLOTS; which++)
		slot_close(step->arg[0] + which);
	result = slot_set(step->arg[0] + WIRE_MONITOR_STARTED, started[1]);
	return pid < 0 ? pid : result;
}
