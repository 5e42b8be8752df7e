/*
 * Steps for user namespaces. The root of one is nobody on the host: what only the host's users may reach is opened
 * before it is entered, and handed on as descriptors.
 */
#include "steps.h"

#include <linux/prctl.h>

#define PROPAGATION_SLAVE (1UL << 19) /* MS_SLAVE */

/* Whether this user may look at the process, and write to it, through /proc: it is how maps of ids are written. */
long step_DUMPABLE(struct step *step)
{
	return SYS5(prctl, PR_SET_DUMPABLE, step->arg[0], 0, 0, 0);
}

/* What is mounted below the copy later must not show on the host, with whose mounts it would share it. */
long step_COPY_ROOT(struct step *step)
{
	struct text path = text_next(step);
	long directory = sys_open(path.bytes, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	long result;

	if (directory < 0)
		return directory;
	result = SYS3(open_tree, (int)directory, "",
		      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	sys_close((int)directory);
	result = slot_set(step->arg[0], result);
	if (result < 0)
		return result;
	return sys_mount_setattr(slot_get(step->arg[0]), "", AT_EMPTY_PATH | AT_RECURSIVE, 0, 0, PROPAGATION_SLAVE);
}

/* pivot_root(2) takes what is attached somewhere in this mount namespace, and "/" can be reached by everybody. Paths
 * still begin at what is below, because that is what the root of this process is. */
long step_COVER(struct step *step)
{
	long root = sys_open("/", O_PATH | O_DIRECTORY);
	long result;

	if (root < 0)
		return root;
	result = sys_attach(slot_get(step->arg[0]), (int)root);
	sys_close((int)root);
	return result;
}
