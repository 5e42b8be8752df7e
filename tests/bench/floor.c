/*
 * The floor: one container made, started, waited for and removed, by a program that does nothing else.
 *
 *     floor NAME ROOTFS FILTER FLAGS INIT STATE DEVICES [HIERARCHY=CGROUP]… -- PROGRAM [ARGUMENT]…
 *
 * INIT is what floor_init.c became, STATE a directory, FILTER and DEVICES hold compiled programs for the kernel. For
 * each line that it reads, it goes through the life of one container and writes how many nanoseconds that took. Its
 * own start does not count, as the start of Python does not.
 *
 * The system calls are those that ocikit makes for the same container, less those that only look whether all is well.
 */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What ocikit writes for such a container, in bytes. */
#define NOTE 740
#define PROCESS 13630
#define STATE 26490
#define EXIT 80

extern char **environ;

static struct {
	char **init;   /* the arguments of INIT */
	char *name;
	int init_fd;
	int states;
	int null;
	char *cgroups[FLOOR_HIERARCHIES];
	char *hierarchies[FLOOR_HIERARCHIES];
	int count;
	char devices[65536]; /* the program for devices, under cgroup v2 */
	size_t devices_length;
} given;

static long checked(long result, const char *what, int line)
{
	if (result >= 0)
		return result;
	fprintf(stderr, "floor: line %d: %s: %s\n", line, what, strerror(errno));
	exit(1);
}

#define MUST(call) checked((long)(call), #call, __LINE__)

static void write_file(int directory, const char *name, size_t length)
{
	static const char content[STATE];
	int fd = (int)MUST(openat(directory, ".temporary", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));

	MUST(write(fd, content, length));
	MUST(close(fd));
	MUST(renameat(directory, ".temporary", directory, name));
}

static int open_below(const char *cgroup, const char *name, int flags)
{
	char path[2 * 4096];

	snprintf(path, sizeof(path), "%s/%s", cgroup, name);
	return (int)MUST(open(path, flags | O_NOFOLLOW | O_CLOEXEC));
}

static void set(const char *cgroup, const char *name, const char *value, size_t length)
{
	int fd = open_below(cgroup, name, O_WRONLY);

	MUST(write(fd, value, length));
	close(fd);
}

/* A new cpuset has nothing: it gets what the one above it has. */
static void inherit(const char *cgroup, const char *name)
{
	char above[4096], value[1024];
	ssize_t length;
	int fd;

	snprintf(above, sizeof(above), "%.*s", (int)(strrchr(cgroup, '/') - cgroup), cgroup);
	fd = open_below(above, name, O_RDONLY);
	length = MUST(read(fd, value, sizeof(value)));
	close(fd);
	set(cgroup, name, value, (size_t)length);
}

static void allow_devices(const char *cgroup)
{
	static const char *const allowed[] = {"c *:* m",   "b *:* m",	"c 1:3 rwm",   "c 1:8 rwm", "c 1:7 rwm",   "c 5:0 rwm",
					      "c 1:5 rwm", "c 1:9 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm"};

	set(cgroup, "devices.deny", "a *:* rwm", 9);
	for (size_t at = 0; at < sizeof(allowed) / sizeof(*allowed); at++)
		set(cgroup, "devices.allow", allowed[at], strlen(allowed[at]));
}

static void filter_devices(const char *cgroup)
{
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = (uint32_t)(given.devices_length / sizeof(struct bpf_insn)),
		.insns = (uintptr_t)given.devices,
		.license = (uintptr_t)"Apache-2.0",
	};
	int directory = (int)MUST(open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	int program = (int)MUST(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load)));
	union bpf_attr attach = {
		.target_fd = (uint32_t)directory,
		.attach_bpf_fd = (uint32_t)program,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};

	MUST(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)));
	close(program);
	close(directory);
}

static void make_cgroups(void)
{
	for (int at = 0; at < given.count; at++) {
		const char *cgroup = given.cgroups[at];

		MUST(mkdir(cgroup, 0755));
		if (!*given.hierarchies[at])
			filter_devices(cgroup);
		else if (!strcmp(given.hierarchies[at], "cpuset")) {
			inherit(cgroup, "cpuset.cpus");
			inherit(cgroup, "cpuset.mems");
		} else if (!strcmp(given.hierarchies[at], "devices"))
			allow_devices(cgroup);
	}
}

/*
 * With vfork: the child uses the memory of its parent, which stands still until it executes. Descriptors are moved in
 * two rounds, because one may be in the place where another has to go.
 */
static int spawn_init(int channel, int fifo)
{
	int fds[] = {given.null, 1, 2, channel, fifo, given.init_fd};
	enum { COUNT = sizeof(fds) / sizeof(*fds) };
	int pid = (int)MUST(vfork());

	if (pid)
		return pid;
	for (int at = 0; at < COUNT; at++)
		fds[at] = fcntl(fds[at], F_DUPFD_CLOEXEC, COUNT);
	for (int at = 0; at < COUNT; at++)
		if (dup3(fds[at], at, at == COUNT - 1 ? O_CLOEXEC : 0) < 0)
			_exit(1);
	if (syscall(SYS_close_range, COUNT, ~0U, 0) == 0)
		syscall(SYS_execveat, COUNT - 1, "", given.init, environ, AT_EMPTY_PATH);
	_exit(1);
}

/* Hear who the container's first process is; its pidfd comes along. On a busy machine that process may say that it is
 * ready before its helper has introduced it. */
static int introduced(int channel, int *pid, int *ready)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {.iov_base = pid, .iov_len = sizeof(*pid)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int pidfd;

	*ready = MUST(recvmsg(channel, &message, MSG_CMSG_CLOEXEC)) == 1;
	if (*ready) {
		message.msg_controllen = sizeof(control);
		MUST(recvmsg(channel, &message, MSG_CMSG_CLOEXEC));
	}
	MUST(CMSG_FIRSTHDR(&message) ? 0 : -1);
	memcpy(&pidfd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(pidfd));
	return pidfd;
}

/* The state names a process by when it was started, too. */
static void read_start_time(int pid)
{
	char text[1024];
	int fd;

	snprintf(text, sizeof(text), "/proc/%d/stat", pid);
	fd = (int)MUST(open(text, O_RDONLY | O_CLOEXEC));
	MUST(read(fd, text, sizeof(text)));
	close(fd);
}

static int await(int fd)
{
	struct pollfd waiting = {.fd = fd, .events = POLLIN};

	return (int)MUST(poll(&waiting, 1, -1));
}

/* Make the container; return its first process and the channel to it. */
static int create(int directory, int *channel)
{
	int ends[2], fifo, helper, pid, pidfd, ready, status;
	char word;

	write_file(directory, "ocikit.json", NOTE);
	write_file(directory, "process.json", PROCESS);
	make_cgroups();
	MUST(mknodat(directory, "exec.fifo", S_IFIFO | 0622, 0));
	fifo = (int)MUST(openat(directory, "exec.fifo", O_PATH | O_NOFOLLOW | O_CLOEXEC));
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	helper = spawn_init(ends[1], fifo);
	close(ends[1]);
	close(fifo);
	pidfd = introduced(ends[0], &pid, &ready);
	MUST(waitpid(helper, &status, 0));
	read_start_time(pid);
	if (!ready)
		MUST(read(ends[0], &word, 1) == 1 ? 0 : -1);
	write_file(directory, "state.json", STATE);
	MUST(send(ends[0], "g", 1, MSG_NOSIGNAL));
	*channel = ends[0];
	return pidfd;
}

static void start(int directory, int channel)
{
	int fifo = (int)MUST(openat(directory, "exec.fifo", O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
	char word;

	await(fifo);
	MUST(read(fifo, &word, 1));
	close(fifo);
	MUST(unlinkat(directory, "exec.fifo", 0));
	write_file(directory, "ocikit.json", NOTE);
	/* The channel closes with the execve. */
	MUST(read(channel, &word, 1) == 0 ? 0 : -1);
	close(channel);
}

static void wait_for(int directory, int pidfd)
{
	siginfo_t about;

	await(pidfd);
	MUST(waitid((idtype_t)3 /* P_PIDFD */, (id_t)pidfd, &about, WEXITED | __WALL));
	close(pidfd);
	MUST(about.si_code == CLD_EXITED && about.si_status == 0 ? 0 : -1);
	write_file(directory, "exit.json", EXIT);
}

static void destroy(int directory)
{
	for (int at = 0; at < given.count; at++)
		MUST(rmdir(given.cgroups[at]));
	MUST(unlinkat(directory, "exit.json", 0));
	MUST(unlinkat(directory, "process.json", 0));
	MUST(unlinkat(directory, "state.json", 0));
	MUST(unlinkat(directory, "ocikit.json", 0));
	close(directory);
	MUST(unlinkat(given.states, given.name, AT_REMOVEDIR));
}

static void live(void)
{
	int channel, directory, pidfd;

	MUST(mkdirat(given.states, given.name, 0711));
	directory = (int)MUST(openat(given.states, given.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	pidfd = create(directory, &channel);
	start(directory, channel);
	wait_for(directory, pidfd);
	destroy(directory);
}

static void read_arguments(char **argv)
{
	int fd = (int)MUST(open(argv[7], O_RDONLY | O_CLOEXEC));

	given.devices_length = (size_t)MUST(read(fd, given.devices, sizeof(given.devices)));
	close(fd);
	given.name = argv[1];
	given.init_fd = (int)MUST(open(argv[5], O_PATH | O_CLOEXEC));
	given.states = (int)MUST(open(argv[6], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	given.null = (int)MUST(open("/dev/null", O_RDWR | O_CLOEXEC));
	/* INIT gets the first four arguments and everything behind the last of ours. */
	given.init = argv + 3;
	memmove(argv + 4, argv + 1, 4 * sizeof(*argv));
	argv[3] = (char *)"floor-init";
	for (char **entry = argv + 8; *entry && strcmp(*entry, "--"); entry++) {
		char *split = strchr(*entry, '=');

		if (!split || given.count == FLOOR_HIERARCHIES) {
			fprintf(stderr, "floor: expected HIERARCHY=CGROUP, %d at most: %s\n", FLOOR_HIERARCHIES, *entry);
			exit(2);
		}
		given.hierarchies[given.count] = strndup(*entry, (size_t)(split - *entry));
		given.cgroups[given.count++] = split + 1;
	}
}

int main(int argc, char **argv)
{
	char line[16];

	if (argc < 10)
		return 2;
	read_arguments(argv);
	while (fgets(line, sizeof(line), stdin)) {
		struct timespec began, ended;

		clock_gettime(CLOCK_MONOTONIC, &began);
		live();
		clock_gettime(CLOCK_MONOTONIC, &ended);
		printf("%lld\n", (ended.tv_sec - began.tv_sec) * 1000000000LL + ended.tv_nsec - began.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
