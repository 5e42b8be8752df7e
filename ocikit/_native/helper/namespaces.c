/* Steps that enter and make namespaces, and set up what is new and empty in them. */
#include "steps.h"

#include <linux/if.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/sockios.h>

long step_OPEN(struct step *step)
{
	struct text path = text_next(step);

	return slot_set(step->arg[0], sys_open(path.bytes, (int)step->arg[1]));
}

/* Which right a namespace takes depends on the user namespace that it belongs to: what is refused before another user
 * namespace is entered may be granted after it. */
long step_JOIN(struct step *step)
{
	int fd = slot_get(step->arg[1]);
	long result;

	if (fd == NO_FD)
		return 0;
	result = SYS2(setns, fd, step->arg[0]);
	if (result == -E_PERM && step->arg[2])
		return 0;
	slot_close(step->arg[1]);
	return result;
}

/* All of them at once, or none: the kernel checks the rights for every one of them before the first is entered. */
long step_JOIN_PROCESS(struct step *step)
{
	long result = SYS2(setns, slot_get(step->arg[0]), step->arg[1]);

	/* Another user namespace made us as dumpable as fs.suid_dumpable says; until execve we are not. */
	SYS5(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
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
	if (pid == 0)
		SYS1(setsid, 0); /* of its own: the helper's is led by nobody when the helper is gone */
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
	int fd = step->arg[1] == WIRE_NO_SLOT ? NO_FD : slot_get(step->arg[1]);
	long result = step->arg[0] ? channel_say(WIRE_SAID_SYNC, step->index, (int)step->arg[0], fd) : 0;

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

long step_NETLINK(struct step *step)
{
	return slot_set(step->arg[0], SYS3(socket, 16 /* AF_NETLINK */, 3 | O_CLOEXEC /* SOCK_RAW */, 0 /* ROUTE */));
}

/* Without a session keyring of its own, a container reads and fills the one of whoever launched it. */
long step_KEYRING(struct step *step)
{
	struct text name = text_next(step);
	long result = SYS2(keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.bytes);

	return result < 0 && result != -E_NOSYS ? result : 0;
}
