/*
 * Who is attached to a container: clients of a socket, who see what it writes and may write to it.
 *
 * Nobody is waited for. A client that does not read is let go when the kernel has no more room for it; what it writes is
 * read only as fast as the container reads.
 */
#include "monitor.h"

#include <asm/ioctls.h>
#include <linux/socket.h>

#define LEVEL_SOCKET 1	    /* SOL_SOCKET */
#define SEND_BUFFER 7	    /* SO_SNDBUF */
#define PEER_CREDENTIALS 17 /* SO_PEERCRED */
#define ROOM (1 << 20)	    /* bytes that a client may be behind, as far as the host allows it */
#define NOT_WAITING 0x40    /* MSG_DONTWAIT */
#define NO_SIGNAL 0x4000    /* MSG_NOSIGNAL */
#define CLOSE_ON_EXEC 02000000 /* SOCK_CLOEXEC */

static int listener = NO_FD;
static int input = NO_FD; /* where what clients write goes: a pipe, or a terminal */
static int is_terminal;
static int clients[CLIENTS];
static unsigned count;

/* What a client has written and the container has not read. */
static struct {
	unsigned begin, end;
	char bytes[PIECE];
} pending;

static char packet[1 + PIECE];

void clients_open(int socket, int to, int terminal)
{
	listener = socket;
	input = to;
	is_terminal = terminal;
}

static int waiting_to_write(void)
{
	return input != NO_FD && pending.begin < pending.end;
}

unsigned clients_poll(struct wait_for *into)
{
	unsigned at = 0;

	const int is_full = count == CLIENTS;

	into[at++] = (struct wait_for){.fd = is_full ? NO_FD : listener, .events = POLL_IN};
	into[at++] = (struct wait_for){.fd = waiting_to_write() ? input : NO_FD, .events = POLL_OUT};
	/* Who has gone and said something before has to wait, too; but not in the place of somebody who is there. */
	for (unsigned i = 0; i < count; i++)
		into[at++] = (struct wait_for){
			.fd = waiting_to_write() && !is_full ? NO_FD : clients[i],
			.events = waiting_to_write() ? 0 : POLL_IN,
		};
	return at;
}

static void let_go(unsigned number)
{
	sys_close(clients[number]);
	clients[number] = clients[--count];
}

/* Returns whether the client may stay. */
static int say(int client, const void *bytes, size_t length)
{
	long sent = SYS6(sendto, client, bytes, length, NOT_WAITING | NO_SIGNAL, 0, 0);

	/* One that is gone may have written before that: it stays until it was heard to the end. */
	return sent == (long)length || sent == -E_PIPE || sent == -E_CONNRESET;
}

/* Only root and the monitor's own user: whoever else can reach the socket was let in by mistake. */
static int is_trusted(int client)
{
	struct {
		int pid;
		unsigned uid, gid;
	} peer = {0, ~0U, ~0U};
	int length = sizeof(peer);

	if (SYS5(getsockopt, client, LEVEL_SOCKET, PEER_CREDENTIALS, &peer, &length) < 0)
		return 0;
	return peer.uid == 0 || peer.uid == (unsigned)SYS1(geteuid, 0);
}

static void take_in(void)
{
	long client = SYS4(accept4, listener, 0, 0, CLOSE_ON_EXEC);
	char hello[2] = {WIRE_CLIENT_HELLO, 0};
	int room = ROOM;

	if (client < 0)
		return;
	SYS5(setsockopt, client, LEVEL_SOCKET, SEND_BUFFER, &room, sizeof(room));
	if (input != NO_FD)
		hello[1] = (char)(WIRE_CLIENT_CAN_WRITE | (is_terminal ? WIRE_CLIENT_CAN_RESIZE : 0));
	if (count < CLIENTS && is_trusted((int)client) && say((int)client, hello, sizeof(hello)))
		clients[count++] = (int)client;
	else
		sys_close((int)client);
}

static void close_input(void)
{
	/* A terminal is shared with the output; its end is typed, and not made by closing it. */
	if (input != NO_FD && !is_terminal)
		sys_close(input);
	if (!is_terminal)
		input = NO_FD;
	pending.begin = pending.end = 0;
}

static void feed(void)
{
	long wrote = SYS3(write, input, pending.bytes + pending.begin, pending.end - pending.begin);

	if (wrote > 0)
		pending.begin += (unsigned)wrote;
	else if (wrote != -E_AGAIN && wrote != -E_INTR)
		close_input(); /* nobody reads it any more */
}

static void resize(const char *bytes)
{
	uint16_t size[4] = {0, 0, 0, 0}; /* struct winsize: rows, columns, and twice nothing */

	memcpy(size, bytes, 2 * sizeof(*size));
	SYS3(ioctl, input, TIOCSWINSZ, size);
}

static void heard(long length)
{
	size_t data = (size_t)length - 1;

	if (input == NO_FD)
		return;
	if (packet[0] == WIRE_CLIENT_INPUT && data > 0) {
		memcpy(pending.bytes, packet + 1, data);
		pending.begin = 0;
		pending.end = (unsigned)data;
		feed();
	} else if (packet[0] == WIRE_CLIENT_END) {
		close_input();
	} else if (packet[0] == WIRE_CLIENT_SIZE && is_terminal && data == 2 * sizeof(uint16_t)) {
		resize(packet + 1);
	}
}

/* Returns whether the client stays. */
static int listen_to(int client)
{
	long length = SYS6(recvfrom, client, packet, sizeof(packet), NOT_WAITING, 0, 0);

	/* A client that has gone without reading everything is reported first and once; what it wrote comes after that. */
	if (length == -E_AGAIN || length == -E_INTR || length == -E_CONNRESET)
		return 1;
	if (length <= 0)
		return 0;
	heard(length);
	return 1;
}

void clients_serve(const struct wait_for *ready, unsigned polled)
{
	if (ready[1].revents && waiting_to_write())
		feed();
	/* From the last one on: who goes is replaced by the last one, who has been served then. */
	for (unsigned at = polled; at-- > 2;) {
		unsigned client = at - 2;
		int is_there = client < count && clients[client] == ready[at].fd;

		if (!is_there || !ready[at].revents)
			continue;
		/* Who has said something and gone is heard first. What one has said may have to wait until it is written:
		 * then so do the others. */
		if (ready[at].revents & POLL_IN ? !waiting_to_write() && !listen_to(clients[client]) : 1)
			let_go(client);
	}
	if (ready[0].revents)
		take_in();
}

void clients_tell(char stream, const char *bytes, size_t length)
{
	static char told[1 + PIECE];

	if (count == 0)
		return;
	told[0] = stream;
	memcpy(told + 1, bytes, length);
	for (unsigned i = count; i-- > 0;)
		if (!say(clients[i], told, 1 + length))
			let_go(i);
}

void clients_end(void)
{
	clients_tell(WIRE_CLIENT_OVER, "", 0);
	while (count > 0)
		let_go(count - 1);
	if (listener != NO_FD)
		sys_close(listener);
	listener = NO_FD;
	close_input();
}
