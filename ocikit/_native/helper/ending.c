/*
 * How a container ends that has a monitor: it is killed if it has to be, and how it ended is written down. What there is
 * to do was decided by the launcher.
 */
#include "monitor.h"

#include <linux/signal.h>

#define EXIT_FILE "exit.json"
#define TEMPORARY_FILE ".ocikit-tmp-exit" /* what begins like this is recognised as left over */

static struct step things;
static unsigned count;
static int state = NO_FD;

void ending_open(struct step *step, unsigned left, int directory)
{
	things = *step;
	count = left;
	state = directory;
}

unsigned each(char kind, long (*act)(const char *path))
{
	struct step at = things;
	unsigned failed = 0;

	for (unsigned i = 0; i < count; i++) {
		struct text thing = text_next(&at);

		if (thing.length > 1 && thing.bytes[0] == kind)
			failed += act(thing.bytes + 1) < 0;
	}
	return failed;
}

void a_millisecond(void)
{
	struct moment pause = {0, 1000000};

	SYS2(nanosleep, &pause, 0);
}

static long write_word(const char *path, const char *word, size_t length)
{
	long fd = sys_open(path, O_WRONLY);
	long result = fd;

	if (fd >= 0) {
		result = SYS3(write, fd, word, length);
		sys_close((int)fd);
	}
	return result;
}

static long kill_all(const char *path)
{
	return write_word(path, "1", 1);
}

static long thaw(const char *path)
{
	return write_word(path, "THAWED", 6);
}

static long read_file(const char *path, char *into, size_t room)
{
	long fd = sys_open(path, O_RDONLY);
	long length = fd;

	if (fd >= 0) {
		length = SYS3(read, fd, into, room - 1);
		sys_close((int)fd);
	}
	into[length > 0 ? length : 0] = '\0';
	return length;
}

/* A number says nothing once its process is gone: it is held, and looked for in the list again. */
static void kill_member(const char *path, uint64_t pid)
{
	char again[4096];
	long pidfd = SYS2(pidfd_open, pid, 0);
	const char *at = again;

	if (pidfd < 0)
		return;
	read_file(path, again, sizeof(again));
	while (*at) {
		if (number_at(at) == pid) {
			SYS4(pidfd_send_signal, pidfd, SIGKILL, 0, 0);
			break;
		}
		while (*at && *at++ != '\n')
			;
	}
	sys_close((int)pidfd);
}

static long kill_each(const char *path)
{
	char list[4096];

	for (unsigned round = 0; round < ROUNDS; round++) {
		const char *at = list;

		if (read_file(path, list, sizeof(list)) <= 0)
			return 0;
		while (*at) {
			uint64_t pid = number_at(at);

			if (pid > 1)
				kill_member(path, pid);
			while (*at && *at++ != '\n')
				;
		}
		each(WIRE_DO_THAW, thaw);
		a_millisecond();
	}
	return -E_BUSY;
}

void ending_kill(int pidfd)
{
	if (pidfd != NO_FD)
		SYS4(pidfd_send_signal, pidfd, SIGKILL, 0, 0);
	each(WIRE_DO_KILL, kill_all);
	/* Whoever is in a freezer of v1 dies when it is thawed. */
	each(WIRE_DO_THAW, thaw);
	each(WIRE_DO_KILL_EACH, kill_each);
}

static int killed_for_memory;

/* Is the line "oom_kill N", and N more than none? */
static long look_for_kills(const char *path)
{
	static const char name[] = "oom_kill ";
	char text[1024];
	const char *at = text;

	read_file(path, text, sizeof(text));
	while (*at) {
		unsigned same = 0;

		while (same < sizeof(name) - 1 && at[same] == name[same])
			same++;
		if (same == sizeof(name) - 1 && number_at(at + same) > 0)
			killed_for_memory = 1;
		while (*at && *at++ != '\n')
			;
	}
	return 0;
}

static void out_member(struct text_out *out, const char *name, int is, uint64_t value)
{
	out_text(out, name);
	if (is)
		out_number(out, value, 1);
	else
		out_text(out, "null");
}

static void out_moment(struct text_out *out, const char *name, const struct moment *moment)
{
	out_text(out, name);
	out_text(out, "\"");
	if (moment->seconds)
		out_time(out, moment);
	out_text(out, "\"");
}

static void out_seconds(struct text_out *out, const char *name, long seconds, long microseconds)
{
	out_member(out, name, 1, (uint64_t)seconds);
	out_text(out, ".");
	out_number(out, (uint64_t)microseconds, 6);
}

static void out_truth(struct text_out *out, const char *name, int truth)
{
	out_text(out, name);
	out_text(out, truth ? "true" : "false");
}

static void describe(struct text_out *out, const struct ending *ending)
{
	int signal = ending->status & 0x7f;

	out_member(out, "{\"exit_code\": ", ending->known && !signal, (uint64_t)(ending->status >> 8 & 0xff));
	out_member(out, ", \"signal\": ", ending->known && signal, (uint64_t)signal);
	out_moment(out, ", \"started\": ", &ending->started);
	out_moment(out, ", \"finished\": ", &ending->finished);
	out_truth(out, ", \"oom\": ", killed_for_memory);
	out_truth(out, ", \"timed_out\": ", ending->timed_out);
	out_truth(out, ", \"owner_gone\": ", ending->owner_gone);
	out_seconds(out, ", \"user_time\": ", ending->usage.user_seconds, ending->usage.user_microseconds);
	out_seconds(out, ", \"system_time\": ", ending->usage.system_seconds, ending->usage.system_microseconds);
	out_member(out, ", \"max_rss\": ", 1, (uint64_t)ending->usage.maximum * 1024);
	out_member(out, ", \"log_lost\": ", 1, log_lost());
	out_text(out, "}\n");
}

long ending_write(const struct ending *ending)
{
	static struct text_out out;
	long result;
	long fd = sys_openat(state, TEMPORARY_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);

	each(WIRE_DO_COUNT, look_for_kills);
	if (fd < 0)
		return fd;
	out.fd = (int)fd;
	out.error = 0; /* of an earlier attempt */
	describe(&out, ending);
	out_flush(&out);
	result = SYS1(fsync, fd);
	sys_close((int)fd);
	if (out.error)
		result = out.error;
	else if (result == -E_INVAL)
		result = 0; /* a file system without it */
	if (result >= 0)
		result = SYS4(renameat, state, TEMPORARY_FILE, state, EXIT_FILE);
	if (result < 0)
		SYS3(unlinkat, state, TEMPORARY_FILE, 0);
	else
		SYS1(fsync, state);
	return result;
}
