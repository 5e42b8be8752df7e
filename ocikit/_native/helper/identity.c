/* Steps that say who the process is and what it may do. */
#include "steps.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/resource.h>

long step_RLIMIT(struct step *step)
{
	struct rlimit64 limit = {.rlim_cur = step->arg[1], .rlim_max = step->arg[2]};
	struct rlimit64 now;
	long result;

	if (!step->arg[3])
		return SYS4(prlimit64, 0, step->arg[0], &limit, 0);
	result = SYS4(prlimit64, 0, step->arg[0], 0, &now);
	if (result < 0 || now.rlim_max >= limit.rlim_max)
		return result;
	now.rlim_max = limit.rlim_max;
	return SYS4(prlimit64, 0, step->arg[0], &now, 0);
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
	long result = SYS2(setgroups, ids.length / sizeof(uint32_t), ids.bytes);

	return result == -E_PERM && step->arg[0] ? 0 : result;
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
