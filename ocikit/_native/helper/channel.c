#include "steps.h"

#include <linux/socket.h>
#include <linux/uio.h>

/*
 * The kernel's message header and control message, as recvmsg(2) and cmsg(3) describe them; the libc normally
 * declares them, and there is none here.
 */
struct message_header {
	void *name;
	int name_length;
	struct iovec *parts;
	size_t part_count;
	void *control;
	size_t control_length;
	unsigned flags;
};

struct control_fd {
	size_t length;
	int level;
	int type;
	int fd;
	int padding;
};

static int channel = WIRE_FD_CHANNEL;

int channel_fd(void)
{
	return channel;
}

long channel_move(int above)
{
	long fd = SYS3(fcntl, channel, F_DUPFD_CLOEXEC, above);

	if (fd < 0)
		return fd;
	sys_close(channel);
	channel = (int)fd;
	return 0;
}

/* A filter may know less than we do: once one is loaded, what can be written is written, as to any file. The launcher
 * that is gone then costs a SIGPIPE, which the filtered process would not have outlived for long. */
static int filtered;

/* A filter that asks an agent about sendmsg would have to wait for the agent that is still to get the descriptor. */
static int by_mmsg;

void channel_filtered(int by_sendmmsg)
{
	filtered = 1;
	by_mmsg = by_sendmmsg;
}

#define LEVEL_SOCKET 1 /* SOL_SOCKET */
#define TYPE_RIGHTS 1  /* SCM_RIGHTS */
#define CLOSE_ON_EXEC 0x40000000 /* MSG_CMSG_CLOEXEC */
#define NO_SIGNAL 0x4000 /* MSG_NOSIGNAL: the launcher may be gone */

long channel_say(enum wire_said said, uint32_t step, int value, int pass_fd)
{
	struct wire_message message = {.said = said, .step = step, .value = value, .op = 0};
	struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};
	struct control_fd control = {
		.length = offsetof(struct control_fd, padding),
		.level = LEVEL_SOCKET,
		.type = TYPE_RIGHTS,
		.fd = pass_fd,
		.padding = 0,
	};
	/* With the length that sendmmsg(2) returns behind it. */
	struct {
		struct message_header header;
		unsigned length;
	} many = {.header = {.parts = &part, .part_count = 1}};
	long sent;

	if (pass_fd >= 0) {
		many.header.control = &control;
		many.header.control_length = sizeof(control);
	}
	do
		if (filtered && pass_fd < 0)
			sent = SYS3(write, channel, &message, sizeof(message));
		else if (by_mmsg)
			sent = SYS4(sendmmsg, channel, &many, 1, NO_SIGNAL);
		else
			sent = SYS3(sendmsg, channel, &many.header, NO_SIGNAL);
	while (sent == -E_INTR);
	return sent < 0 ? sent : 0;
}

long channel_wait(void)
{
	char word;
	long got;

	do
		got = SYS3(read, channel, &word, sizeof(word));
	while (got == -E_INTR);
	if (got < 0)
		return got;
	return got == 1 ? 0 : -E_IO;
}

long channel_hear(int from, void *data, size_t size, int *fd)
{
	struct iovec part = {.iov_base = data, .iov_len = size};
	struct control_fd control = {.length = 0, .level = 0, .type = 0, .fd = NO_FD, .padding = 0};
	struct message_header header = {
		.parts = &part,
		.part_count = 1,
		.control = &control,
		.control_length = sizeof(control),
	};
	long got;

	do
		got = SYS3(recvmsg, from, &header, CLOSE_ON_EXEC);
	while (got == -E_INTR);
	*fd = got >= 0 && control.type == TYPE_RIGHTS ? control.fd : NO_FD;
	return got;
}

/* The launcher may send a descriptor along with its word to go on. */
long channel_take(void)
{
	char word;
	int fd;
	long got = channel_hear(channel, &word, sizeof(word), &fd);

	if (got < 0)
		return got;
	return got == 1 && fd >= 0 ? fd : -E_IO;
}
