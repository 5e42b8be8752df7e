/* What is said of the step that failed, and to whom: to the launcher, and to whoever has started the container. */
#include "steps.h"

#include <linux/signal.h>

/* A message as it goes out: the head, then words that are there for some steps. */
static struct {
	struct wire_message head;
	char words[WIRE_WORDS];
} failure;

static uint32_t length; /* of the words */

/* The other end of exec.fifo, from the moment in which somebody has opened it until the program is executed. */
static int starter = NO_FD;

void failure_words(const char *words, uint32_t count)
{
	for (uint32_t i = 0; i < count && length < sizeof(failure.words); i++)
		failure.words[length++] = words[i];
}

void failure_starter(int fd)
{
	starter = fd;
}

void failure_starter_above(int above)
{
	long fd = starter < 0 ? NO_FD : SYS3(fcntl, starter, F_DUPFD_CLOEXEC, above);

	if (starter >= 0)
		sys_close(starter);
	starter = fd < 0 ? NO_FD : (int)fd;
}

void failure_ignore_pipes(int ignore)
{
	/* The kernel's sigaction: handler (SIG_DFL is 0, SIG_IGN is 1), flags, restorer, mask. */
	uint64_t action[4] = {(uint64_t)ignore, 0, 0, 0};

	SYS4(rt_sigaction, SIGPIPE, action, 0, sizeof(uint64_t));
}

void failure_tell(uint32_t step, unsigned op, int value)
{
	size_t size = sizeof(failure.head) + length;

	failure.head = (struct wire_message){.said = WIRE_SAID_FAILED, .step = step, .value = value, .op = op};
	/* Both may be gone. */
	failure_ignore_pipes(1);
	SYS3(write, channel_fd(), &failure, size);
	if (starter >= 0)
		SYS3(write, starter, &failure, size);
}
