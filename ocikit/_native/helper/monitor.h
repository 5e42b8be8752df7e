/* The parts of a monitor, which stays with a container that may outlive its launcher. */
#ifndef OCIKIT_MONITOR_H
#define OCIKIT_MONITOR_H

#include "steps.h"

#define STREAM_STDOUT 0
#define STREAM_STDERR 1
#define STREAMS 2

/* What is read at a time. */
#define PIECE WIRE_CLIENT_BYTES

/* The kernel's timespec, pollfd and rusage (as far as it is looked at). */
struct moment {
	long long seconds;
	long long nanoseconds;
};

struct wait_for {
	int fd;
	short events;
	short revents;
};

struct usage {
	long user_seconds, user_microseconds;
	long system_seconds, system_microseconds;
	long maximum; /* of resident memory, in KiB */
	long rest[13];
};

#define POLL_IN 1
#define POLL_OUT 4

/* text.c: text without a libc. */
struct text_out {
	int fd;
	unsigned length;
	long error; /* the first one; what comes after it is lost */
	uint64_t written;
	uint64_t lost;
	char bytes[4096];
};
void out_bytes(struct text_out *out, const char *bytes, size_t length);
void out_text(struct text_out *out, const char *text);
void out_number(struct text_out *out, uint64_t number, unsigned digits); /* with zeros in front, up to that many digits */
void out_time(struct text_out *out, const struct moment *moment); /* RFC 3339, in UTC, with nanoseconds */
void out_flush(struct text_out *out);
struct moment time_now(void);
int64_t time_monotonic(void); /* milliseconds */
uint64_t number_at(const char *text); /* that begins there */

/* record.c: the log. */
void log_open(int directory, const char *name, unsigned format, uint64_t most, unsigned files);
void log_write(unsigned stream, const char *bytes, size_t length);
void log_end(unsigned stream); /* what is left of a line is written */
uint64_t log_lost(void); /* bytes of it that could not be written */

/* clients.c: who is attached. */
#define CLIENTS 16
void clients_open(int listener, int input, int terminal);
unsigned clients_poll(struct wait_for *into); /* how many: at most CLIENTS + 2 */
void clients_serve(const struct wait_for *ready, unsigned count);
void clients_tell(char stream, const char *bytes, size_t length);
void clients_end(void);

/* ending.c: how a container ends, and what is done then. */
struct ending {
	int status; /* of waitpid(2) */
	int known;
	int timed_out;
	int owner_gone;
	struct moment started; /* all zeros: it was not */
	struct moment finished;
	struct usage usage;
};
void ending_open(struct step *things, unsigned count, int directory);
void ending_kill(int pidfd); /* and whoever does not die with init */
long ending_write(const struct ending *ending); /* an error when it could not */
/* Do something with each of those things that are of a kind (WIRE_DO_*); returns how often that failed. */
unsigned each(char kind, long (*act)(const char *path));
#define ROUNDS 2000 /* of a millisecond: how long what was killed may take to be gone */
void a_millisecond(void);

/* removal.c */
void ending_remove(int directory, int root);

#endif
