/*
 * The launcher: starts the helper without forking the interpreter, and makes the few system calls that Python lacks.
 *
 * It decides nothing and waits for nothing: what may take time is waited for in Python, on descriptors, where Ctrl-C
 * and event loops work.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/close_range.h>
#include <linux/ioctl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"
#include "wire.h"

/* The helper is linked in as it was built: there is no second file to find, to trust or to lose. */
__asm__(".pushsection .rodata\n"
	".balign 16\n"
	"ocikit_helper_begin:\n"
	".incbin \"" OCIKIT_HELPER "\"\n"
	"ocikit_helper_end:\n"
	".popsection\n");
extern const char ocikit_helper_begin[] __attribute__((visibility("hidden")));
extern const char ocikit_helper_end[] __attribute__((visibility("hidden")));

const char *ocikit_helper(void)
{
	return ocikit_helper_begin;
}

size_t ocikit_helper_length(void)
{
	return (size_t)(ocikit_helper_end - ocikit_helper_begin);
}

static const struct {
	const char *name;
	int strings;
} ops[] = {
#define ROW(name, strings) {#name, strings},
	WIRE_OPS(ROW)
#undef ROW
};

const char *ocikit_op_name(int op)
{
	return op >= 0 && op < WIRE_OP_COUNT ? ops[op].name : NULL;
}

int ocikit_op_strings(int op)
{
	return op >= 0 && op < WIRE_OP_COUNT ? ops[op].strings : -1;
}

int ocikit_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
	long fd = -1;

	/* EAGAIN: something changed during the lookup. It says nothing about the path, and whoever can wait tries again. */
	for (int tries = 0; tries < 64; tries++) {
		fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd >= 0 ? (int)fd : -errno;
}

/* struct pidfd_info of linux/pidfd.h in its first published size; the headers of Debian 12 are older than it. */
struct process_info {
	uint64_t mask;
	uint64_t cgroup;
	uint32_t ids[11];
	int32_t exit_status;
};

#define INFO_EXIT (1ULL << 3)
#define GET_INFO _IOWR(0xff, 11, struct process_info)

int ocikit_pidfd_exit(int pidfd, int *status)
{
	struct process_info info = {.mask = INFO_EXIT};

	if (ioctl(pidfd, GET_INFO, &info) < 0)
		/* ESRCH: reaped, and the kernel did not keep it. The others: it does not know the question. */
		return errno == ESRCH || errno == ENOTTY || errno == EINVAL ? 0 : -errno;
	if (!(info.mask & INFO_EXIT))
		return 0;
	*status = info.exit_status;
	return 1;
}

int ocikit_schedule(int pid, const void *attributes)
{
	return syscall(SYS_sched_setattr, pid, attributes, 0) < 0 ? -errno : 0;
}

int ocikit_watch(const char *directory)
{
	const uint32_t changes = IN_MODIFY | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR;
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	int error;

	if (fd < 0 || inotify_add_watch(fd, directory, changes) >= 0)
		return fd < 0 ? -errno : fd;
	error = errno;
	close(fd);
	return -error;
}

#define MOST_FILTERS 64

/* Detach the programs for devices with these ids from the cgroup itself; what is attached further up stays. */
static int detach_filters(int cgroup, const uint32_t *ids, uint32_t count)
{
	int result = 0;

	for (uint32_t at = 0; at < count && !result; at++) {
		union bpf_attr find = {.prog_id = ids[at]};
		long program = syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &find, sizeof(find));
		union bpf_attr detach = {
			.target_fd = (uint32_t)cgroup,
			.attach_bpf_fd = (uint32_t)program,
			.attach_type = BPF_CGROUP_DEVICE,
		};

		if (program < 0)
			return -errno;
		if (syscall(SYS_bpf, BPF_PROG_DETACH, &detach, sizeof(detach)) < 0)
			result = -errno;
		close((int)program);
	}
	return result;
}

int ocikit_device_filter(int cgroup, const void *instructions, unsigned int count)
{
	uint32_t before[MOST_FILTERS];
	union bpf_attr query = {.query = {
		.target_fd = (uint32_t)cgroup,
		.attach_type = BPF_CGROUP_DEVICE,
		.prog_ids = (uintptr_t)before,
		.prog_cnt = MOST_FILTERS,
	}};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = count,
		.insns = (uintptr_t)instructions,
		.license = (uintptr_t)"Apache-2.0",
	};
	union bpf_attr attach = {
		.target_fd = (uint32_t)cgroup,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI, /* beside, not instead of, what is attached further up */
	};
	long program;
	int result = 0;

	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0)
		return -errno;
	program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	if (program < 0)
		return -errno;
	attach.attach_bpf_fd = (uint32_t)program;
	/* The new one first: for a moment both have to agree, and never is there none. */
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) < 0)
		result = -errno;
	else
		result = detach_filters(cgroup, before, query.query.prog_cnt);
	close((int)program);
	return result;
}

struct spawn {
	int executable;
	const int *fds;
	int count;
	int error; /* set by the child, which shares our memory */
};

#define SPAWN_FDS (WIRE_FD_FIRST_SLOT + WIRE_PASSED)

/* Two rounds, because a descriptor may be in the place where another one has to go. */
static int arrange(const struct spawn *spawn, int *executable)
{
	int moved[SPAWN_FDS];

	for (int i = 0; i < spawn->count; i++) {
		moved[i] = spawn->fds[i] < 0 ? -1 : fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, spawn->count + 1);
		if (moved[i] < 0 && spawn->fds[i] >= 0)
			return -1;
	}
	*executable = fcntl(spawn->executable, F_DUPFD_CLOEXEC, spawn->count + 1);
	if (*executable < 0)
		return -1;
	for (int i = 0; i < spawn->count; i++)
		if (moved[i] < 0)
			close(i);
		else if (dup2(moved[i], i) < 0)
			return -1;
	if (dup3(*executable, spawn->count, O_CLOEXEC) < 0)
		return -1;
	*executable = spawn->count;
	return (int)syscall(SYS_close_range, spawn->count + 1, ~0U, 0);
}

/*
 * Runs in the memory of the host process, on a stack of its own, while the calling thread is suspended. The table of
 * descriptors is a copy. No signal is delivered (all are blocked), no lock is taken, nothing is allocated: only system
 * calls, and one word that tells the caller what failed.
 */
static int child(void *argument)
{
	struct spawn *spawn = argument;
	static const char *const argv[] = {"ocikit-helper", NULL};
	static const char *const envp[] = {NULL};
	int executable;

	if (arrange(spawn, &executable) == 0)
		syscall(SYS_execveat, executable, "", argv, envp, AT_EMPTY_PATH);
	spawn->error = errno;
	_exit(127);
}

int ocikit_spawn(int executable, const int *fds, int count, int *pid, int *pidfd)
{
	struct spawn spawn = {.executable = executable, .fds = fds, .count = count};
	_Alignas(16) char stack[16384];
	uint64_t all = ~0ULL;
	uint64_t before;
	int started;

	if (count < 3 || count > SPAWN_FDS)
		return -EINVAL;
	/* Handlers of the host must not run in the child: they would run in the host's memory. execve sets handled
	 * signals to their default, so clearing them in clone would add nothing to blocking them. The raw call also
	 * blocks the two signals that libc keeps to itself. */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	/* The exit signal is 0 until execve: a child that never gets there is invisible to a wait for any child. */
	started = clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD, &spawn, pidfd);
	if (started < 0)
		spawn.error = errno;
	else
		*pid = started;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	return -spawn.error;
}

int ocikit_channel(int *ours, int *theirs)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	*ours = ends[0];
	*theirs = ends[1];
	return 0;
}

int ocikit_say(int channel, const void *word, unsigned int length, int fd, int wait)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec part = {.iov_base = (void *)word, .iov_len = length};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
	}
	/* Without a signal, because a host may have set SIGPIPE to what ends it. */
	return sendmsg(channel, &header, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) < 0 ? -errno : 0;
}

/* Look at the next message. A descriptor that comes along is opened, if this process may have one more. */
static ssize_t look(int channel, struct iovec *parts, int *fd, int *truncated)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr header = {
		.msg_iov = parts,
		.msg_iovlen = 2,
		.msg_control = &control,
		/* For one descriptor: in the padding there would be room for a second one, of which nobody would know. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	struct cmsghdr *extra;
	ssize_t got = recvmsg(channel, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT | MSG_PEEK);

	if (got < 0)
		return -errno;
	/* It may come with nothing, or with too little. */
	extra = CMSG_FIRSTHDR(&header);
	if (extra && extra->cmsg_level == SOL_SOCKET && extra->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(extra), sizeof(*fd));
	*truncated = header.msg_flags & MSG_CTRUNC;
	return got;
}

int ocikit_receive(int channel, unsigned int *said, unsigned int *step, int *value, int *fd, char *words,
		   unsigned int *count)
{
	struct wire_message message;
	struct iovec parts[] = {
		{.iov_base = &message, .iov_len = sizeof(message)},
		{.iov_base = words, .iov_len = *count},
	};
	int truncated = 0;
	ssize_t got = look(channel, parts, fd, &truncated);

	*count = 0;
	if (got <= 0)
		return (int)got;
	/* It stays where it is: with it would go the only descriptor of init that there ever is. */
	if (truncated && *fd < 0)
		return -EMFILE;
	recv(channel, NULL, 0, MSG_DONTWAIT);
	if (got < (ssize_t)sizeof(message))
		return -EPROTO;
	*count = (unsigned int)((size_t)got - sizeof(message));
	*said = message.said;
	*step = message.step;
	*value = message.value;
	return 1;
}
