/* Steps that make the root, hide what is in it, and change to it. */
#include "steps.h"

#include <linux/stat.h>

#define MODE_CHARACTER 0020000U
#define UMOUNT_DETACH 2 /* MNT_DETACH */
#define PROPAGATION_PRIVATE (1UL << 18)
#define PROPAGATION_SLAVE (1UL << 19)

/* Every ".." leads nearer to the top, which is the root of a mount unless this process is in a chroot. */
#define DEEPEST 4096

/* Change the propagation of the mount that a directory lies in. What would be attached below a shared one would be
 * attached on the host as well, and pivot_root(2) refuses it. */
static long set_propagation_around(int directory, uint64_t propagation)
{
	long at = sys_openat(directory, ".", O_PATH | O_DIRECTORY, 0);

	for (int depth = 0; at >= 0 && depth < DEEPEST; depth++) {
		struct statx about;
		long result = about_fd((int)at, &about);
		long above;

		if (result >= 0 && about.stx_attributes & STATX_ATTR_MOUNT_ROOT)
			result = sys_mount_setattr((int)at, "", AT_EMPTY_PATH, 0, 0, propagation);
		else if (result >= 0) {
			above = sys_openat((int)at, "..", O_PATH | O_DIRECTORY, 0);
			sys_close((int)at);
			at = above;
			continue;
		}
		sys_close((int)at);
		return result;
	}
	return at < 0 ? at : sys_close((int)at);
}

/* The root is a mount of its own, on top of the directory it shows: pivot_root(2) asks for that. */
long step_ROOT(struct step *step)
{
	struct text path = text_next(step);
	long target = sys_open(path.bytes, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	long mount, result;

	if (target < 0)
		return target;
	result = step->arg[1] ? set_propagation_around((int)target, step->arg[1]) : 0;
	mount = result < 0 ? result : clone_mount((int)target, "", AT_EMPTY_PATH | AT_RECURSIVE);
	if (mount >= 0) {
		/* What is mounted in the directory on the host is not where to mount for the container. */
		result = sys_mount_setattr((int)mount, "", AT_EMPTY_PATH | AT_RECURSIVE, 0, 0, PROPAGATION_SLAVE);
		if (result >= 0)
			result = sys_attach((int)mount, (int)target);
		if (result < 0) {
			sys_close((int)mount);
			mount = result;
		}
	}
	sys_close((int)target);
	return slot_set(step->arg[0], mount);
}

/* An empty tmpfs that nothing can be written to, the same one below every directory that is hidden: the descriptor of
 * the first is kept, once it is attached (what is attached nowhere cannot be cloned), and the others are copies. */
static int empty = NO_FD;

static long nothing(const char *label)
{
	long context, mount;

	if (empty != NO_FD)
		return clone_mount(empty, "", AT_EMPTY_PATH);
	context = SYS2(fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (context < 0)
		return context;
	mount = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "source", "tmpfs", 0);
	if (mount >= 0)
		mount = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "nr_blocks", "1", 0);
	if (mount >= 0)
		mount = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", "1", 0);
	if (mount >= 0 && *label != '\0')
		mount = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "context", label, 0);
	if (mount >= 0)
		mount = SYS5(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
	if (mount >= 0)
		mount = SYS3(fsmount, context, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	sys_close((int)context);
	empty = mount < 0 ? NO_FD : (int)mount;
	return mount;
}

/* Kernels differ in what they have below /proc and /sys: what is not there need not be hidden. */
long step_MASK(struct step *step)
{
	struct text path = text_next(step);
	struct text label = text_next(step);
	long target = open_inside(step->arg[0], path.bytes, O_PATH, 0);
	struct statx about;
	long mount, result;

	if (target < 0)
		return target == -E_NOENT || target == -E_NOTDIR ? 0 : target;
	result = about_fd((int)target, &about);
	if (result >= 0) {
		/* The host's null device; the container's own is whatever its image says it is. */
		mount = is_directory(&about) ? nothing(label.bytes) : clone_device("/dev/null", MODE_CHARACTER, 1, 3);
		result = mount < 0 ? mount : sys_attach((int)mount, (int)target);
		if (mount >= 0 && mount != empty)
			sys_close((int)mount);
	}
	sys_close((int)target);
	return result;
}

long step_READONLY(struct step *step)
{
	struct text path = text_next(step);
	long target = open_inside(step->arg[0], path.bytes, O_PATH, 0);
	long mount, result;

	if (target < 0)
		return target == -E_NOENT || target == -E_NOTDIR ? 0 : target;
	mount = clone_mount((int)target, "", AT_EMPTY_PATH | AT_RECURSIVE);
	result = mount < 0 ? mount : sys_mount_setattr((int)mount, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0);
	if (result >= 0)
		result = sys_attach((int)mount, (int)target);
	if (mount >= 0)
		sys_close((int)mount);
	sys_close((int)target);
	return result;
}

/* The old root ends on top of the new one; it is left for good by way of a descriptor. */
static long pivot(int old)
{
	long result = SYS2(pivot_root, ".", ".");

	if (result >= 0)
		result = SYS1(fchdir, old);
	/* What is unmounted here must stay mounted on the host. */
	if (result >= 0)
		result = sys_mount_setattr(AT_FDCWD, ".", AT_RECURSIVE, 0, 0, PROPAGATION_SLAVE);
	return result < 0 ? result : SYS2(umount2, ".", UMOUNT_DETACH);
}

/* Where "/" is the first file system of the kernel (a ramdisk), which cannot be unmounted: it stays there, covered. */
static long cover(int new_root)
{
	long root = sys_open("/", O_PATH | O_DIRECTORY);
	long result = root < 0 ? root : sys_attach(new_root, (int)root);

	if (root >= 0)
		sys_close((int)root);
	return result < 0 ? result : SYS1(chroot, ".");
}

long step_PIVOT(struct step *step)
{
	long old = sys_open("/", O_PATH | O_DIRECTORY);
	int new_root = slot_get(step->arg[0]);
	long result = SYS1(fchdir, new_root);

	if (empty != NO_FD) {
		/* Everything is hidden. A container that waits to be started has no descriptor that it needs not. */
		sys_close(empty);
		empty = NO_FD;
	}
	if (old < 0)
		return old;
	if (result >= 0 && step->arg[1] == WIRE_PIVOT_CHROOT)
		result = SYS1(chroot, ".");
	else if (result >= 0)
		result = step->arg[1] == WIRE_PIVOT_COVER ? cover(new_root) : pivot((int)old);
	if (result >= 0)
		result = SYS1(chdir, "/");
	sys_close((int)old);
	return result;
}

long step_CHROOT(struct step *step)
{
	long result = SYS1(fchdir, slot_get(step->arg[0]));

	return result < 0 ? result : SYS1(chroot, ".");
}

/* In this mount namespace only. What cannot be unmounted, because it came from another user namespace, is covered. */
static long unmount_or_cover(int place, int strict)
{
	long result = sys_mount_setattr(place, "", AT_EMPTY_PATH | AT_RECURSIVE, 0, 0, PROPAGATION_SLAVE);
	long mount;

	if (result >= 0)
		result = SYS1(fchdir, place);
	if (result >= 0)
		result = SYS2(umount2, ".", UMOUNT_DETACH);
	if (strict || (result != -E_INVAL && result != -E_PERM))
		return result;
	mount = nothing("");
	result = mount < 0 ? mount : sys_attach((int)mount, place);
	if (mount >= 0 && mount != empty)
		sys_close((int)mount);
	return result;
}

long step_UNMOUNT(struct step *step)
{
	struct text path = text_next(step);
	long place = sys_open(path.bytes, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	long result;

	if (place < 0)
		return place == -E_NOENT ? 0 : place; /* what it was mounted below is gone already */
	result = unmount_or_cover((int)place, step->arg[0] != 0);
	if (result >= 0)
		result = SYS1(chdir, "/");
	sys_close((int)place);
	return result;
}

/* A file system whose files have no label of their own (mqueue) takes no option for them either: its root is told. */
long step_LABEL(struct step *step)
{
	struct text label = text_next(step);
	long root = sys_openat(slot_get(step->arg[0]), ".", O_RDONLY | O_DIRECTORY, 0);
	long result;

	if (root < 0)
		return root;
	result = SYS5(fsetxattr, root, "security.selinux", label.bytes, label.length, 0);
	sys_close((int)root);
	return result;
}
