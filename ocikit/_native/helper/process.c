/* Steps that change the process itself: namespaces, identity, rights, and at last the program. */
#include "steps.h"

#include <linux/capability.h>
#include <linux/if.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sockios.h>
#include <linux/stat.h>

long step_JOIN(struct step *step)
{
	struct text path = text_next(step);
	long fd = sys_open(path.bytes, O_RDONLY);
	long result;

	if (fd < 0)
		return fd;
	result = SYS2(setns, fd, step->arg[0]);
	sys_close((int)fd);
	return result;
}

long step_UNSHARE(struct step *step)
{
	return SYS1(unshare, step->arg[0]);
}

#define ANY_NAMESPACE                                                                                          \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP)

/*
 * The child becomes a child of the launcher, which can then wait for it like for any other; the helper is done when it
 * has said who the child is. The exit signal is the helper's own, clone3(2) asks for 0 here.
 *
 * The child does not wait for that: on a busy machine it may speak before it is introduced, and the launcher listens.
 */
long step_CLONE(struct step *step)
{
	int pidfd = NO_FD;
	struct clone_args how = {
		.flags = step->arg[0] | CLONE_PARENT | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
	};
	long pid;

	if (step->arg[0] & ~(uint64_t)ANY_NAMESPACE)
		return -E_INVAL;
	if (step->arg[1] != WIRE_NO_SLOT) {
		how.flags |= CLONE_INTO_CGROUP;
		how.cgroup = (uint32_t)slot_get(step->arg[1]);
	}
	pid = SYS2(clone3, &how, sizeof(how));
	if (pid <= 0)
		return pid;
	sys_exit(channel_say(WIRE_SAID_PID, step->index, (int)pid, pidfd) < 0);
}

long step_CLOSE(struct step *step)
{
	slot_close(step->arg[0]);
	return 0;
}

long step_SYNC(struct step *step)
{
	long result = channel_say(WIRE_SAID_SYNC, step->index, (int)step->arg[0], NO_FD);

	return result < 0 ? result : channel_wait();
}

long step_HOSTNAME(struct step *step)
{
	struct text name = text_next(step);

	return SYS2(sethostname, name.bytes, name.length);
}

long step_DOMAINNAME(struct step *step)
{
	struct text name = text_next(step);

	return SYS2(setdomainname, name.bytes, name.length);
}

long step_LOOPBACK(struct step *step)
{
	struct ifreq interface = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	long fd = SYS3(socket, 1 /* AF_UNIX: every kernel has it */, 2 | O_CLOEXEC /* SOCK_DGRAM */, 0);
	long result;

	(void)step;
	if (fd < 0)
		return fd;
	result = SYS3(ioctl, fd, SIOCSIFFLAGS, &interface);
	sys_close((int)fd);
	return result;
}

/* Without a session keyring of its own, a container reads and fills the one of whoever launched it. */
long step_KEYRING(struct step *step)
{
	struct text name = text_next(step);
	long result = SYS2(keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.bytes);

	return result < 0 && result != -E_NOSYS ? result : 0;
}

long step_RLIMIT(struct step *step)
{
	struct rlimit64 limit = {.rlim_cur = step->arg[1], .rlim_max = step->arg[2]};

	return SYS4(prlimit64, 0, step->arg[0], &limit, 0);
}

long step_UMASK(struct step *step)
{
	SYS1(umask, step->arg[0]);
	return 0;
}

long step_BOUND(struct step *step)
{
	for (unsigned capability = 0; capability < 64; capability++) {
		long result;

		if (SYS2(prctl, PR_CAPBSET_READ, capability) < 0)
			break; /* the kernel knows no higher one */
		if (step->arg[0] >> capability & 1)
			continue;
		result = SYS2(prctl, PR_CAPBSET_DROP, capability);
		if (result < 0)
			return result;
	}
	return 0;
}

long step_KEEPCAPS(struct step *step)
{
	return SYS5(prctl, PR_SET_KEEPCAPS, step->arg[0], 0, 0, 0);
}

long step_GROUPS(struct step *step)
{
	struct text ids = text_next(step);

	return SYS2(setgroups, ids.length / sizeof(uint32_t), ids.bytes);
}

/* The group first: the right to change it goes with the user. */
long step_IDS(struct step *step)
{
	unsigned uid = (unsigned)step->arg[0];
	unsigned gid = (unsigned)step->arg[1];
	long result = SYS3(setresgid, gid, gid, gid);

	if (result >= 0)
		result = SYS3(setresuid, uid, uid, uid);
	/* The change made us as dumpable as fs.suid_dumpable says; until execve we are not. */
	SYS5(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	return result;
}

long step_CAPS(struct step *step)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	for (int half = 0; half < 2; half++) {
		data[half].effective = (uint32_t)(step->arg[0] >> (32 * half));
		data[half].permitted = (uint32_t)(step->arg[1] >> (32 * half));
		data[half].inheritable = (uint32_t)(step->arg[2] >> (32 * half));
	}
	return SYS2(capset, &head, data);
}

long step_AMBIENT(struct step *step)
{
	long result = SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

	for (unsigned capability = 0; result >= 0 && capability < 64; capability++)
		if (step->arg[0] >> capability & 1)
			result = SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
	return result < 0 ? result : 0;
}

long step_NO_NEW_PRIVS(struct step *step)
{
	(void)step;
	return SYS5(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/*
 * A directory that root may enter is entered as root, so that a user who owns nothing on the way can still start
 * there; what only the user may enter (a file system that knows no root) is left to a second try as the user.
 */
long step_CWD(struct step *step)
{
	static int done;
	char where[4096];
	struct text path = text_next(step);
	long result;

	if (done)
		return 0;
	result = SYS1(chdir, path.bytes);
	if (step->arg[0] && (result == -E_ACCES || result == -E_PERM))
		return 0;
	if (result < 0)
		return result;
	done = 1;
	/* A directory outside the root (say, of a descriptor that leaked) has a name that does not begin with "/". */
	result = SYS2(getcwd, where, sizeof(where));
	return result >= 0 && where[0] != '/' ? -E_NOENT : (result < 0 ? result : 0);
}

static char *program;

static long may_execute(const char *path)
{
	struct statx about;
	long result = SYS5(statx, AT_FDCWD, path, 0, STATX_TYPE, &about);

	if (result < 0)
		return result;
	if ((about.stx_mode & 0170000) != 0100000)
		return -E_ACCES;
	return SYS4(faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
}

long step_FIND(struct step *step)
{
	long result = -E_NOENT;

	for (unsigned i = 0; i < step->strings; i++) {
		char *path = text_next(step).bytes;
		long found = may_execute(path);

		if (found >= 0) {
			program = path;
			return 0;
		}
		/* A file that is there and may not be executed says more than all those that are not there. */
		if (found != -E_NOENT && found != -E_NOTDIR)
			result = found;
	}
	return result;
}

long step_READY(struct step *step)
{
	long result = channel_say(WIRE_SAID_READY, step->index, 0, NO_FD);

	return result < 0 ? result : channel_wait();
}

/* The fifo came as a descriptor without rights (O_PATH); procfs gives it the right to write. */
long step_FIFO(struct step *step)
{
	char path[] = "self/fd/000";
	int fifo = slot_get(step->arg[1]);
	long fd;

	if (fifo < 0 || fifo > 999)
		return -E_BADF;
	path[8] = (char)('0' + fifo / 100);
	path[9] = (char)('0' + fifo / 10 % 10);
	path[10] = (char)('0' + fifo % 10);
	/* procfs knows descriptors by their number without leading zeros. */
	while (path[8] == '0' && path[9] != '\0')
		for (char *at = path + 8; *at != '\0'; at++)
			at[0] = at[1];
	/* Here a created container waits, until somebody opens the other end. */
	fd = sys_openat(slot_get(step->arg[0]), path, O_WRONLY, 0);
	if (fd < 0)
		return fd;
	if (SYS3(write, fd, "0", 1) != 1)
		return -E_IO;
	return sys_close((int)fd);
}

long step_EXEC(struct step *step)
{
	static char *vector[0xffff + 2]; /* as many strings as a step can have, and two ends */
	unsigned long long arguments = step->arg[0];
	unsigned at = 0;

	if (arguments > step->strings)
		return -E_2BIG;
	for (unsigned i = 0; i < step->strings; i++) {
		if (i == arguments)
			vector[at++] = NULL;
		vector[at++] = text_next(step).bytes;
	}
	if (arguments == step->strings)
		vector[at++] = NULL;
	vector[at] = NULL;
	return SYS3(execve, program, vector, vector + arguments + 1);
}
