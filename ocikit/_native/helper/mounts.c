/*
 * Steps that mount. A mount is made detached, given its attributes while nobody can see it, and only then attached to
 * a target that was opened once, inside the root: there is no moment at which a path could be exchanged.
 */
#include "steps.h"

#include <linux/magic.h>
#include <linux/stat.h>

#define MODE_TYPE 0170000U
#define MODE_DIRECTORY 0040000U
#define MODE_CHARACTER 0020000U
#define UMOUNT_DETACH 2 /* MNT_DETACH */

static long about_fd(int fd, struct statx *about)
{
	return SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, about);
}

static int is_directory(const struct statx *about)
{
	return (about->stx_mode & MODE_TYPE) == MODE_DIRECTORY;
}

static long clone_mount(int directory, const char *path, unsigned flags)
{
	return SYS3(open_tree, directory, path, flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* One option of a file system: "key" is a flag, "key=value" a string. */
static long configure(int context, char *option)
{
	for (char *at = option; *at != '\0'; at++) {
		long result;

		if (*at != '=')
			continue;
		*at = '\0';
		result = SYS5(fsconfig, context, FSCONFIG_SET_STRING, option, at + 1, 0);
		*at = '=';
		return result;
	}
	return SYS5(fsconfig, context, FSCONFIG_SET_FLAG, option, 0, 0);
}

static long new_filesystem(int context, const char *source, struct step *options, uint64_t attributes)
{
	long result = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "source", source, 0);

	for (unsigned i = 2; result >= 0 && i < options->strings; i++)
		result = configure(context, text_next(options).bytes);
	if (result >= 0)
		result = SYS5(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
	return result < 0 ? result : SYS3(fsmount, context, FSMOUNT_CLOEXEC, attributes);
}

long step_FILESYSTEM(struct step *step)
{
	struct text type = text_next(step);
	struct text source;
	long context, mount;

	if (step->strings < 2)
		return -E_INVAL;
	source = text_next(step);
	context = SYS2(fsopen, type.bytes, FSOPEN_CLOEXEC);
	if (context < 0)
		return context;
	mount = new_filesystem((int)context, source.bytes, step, step->arg[1]);
	sys_close((int)context);
	return slot_set(step->arg[0], mount);
}

/*
 * A procfs that is mounted nowhere: what is opened below it is the kernel's, whatever the image put at /proc. With
 * subset=pid it has nothing but processes, which is all that most uses need.
 */
long step_PROCFS(struct step *step)
{
	long context = SYS2(fsopen, "proc", FSOPEN_CLOEXEC);
	long mount = 0;

	if (context < 0)
		return context;
	if (!step->arg[1])
		mount = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "subset", "pid", 0);
	if (mount >= 0)
		mount = SYS5(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
	if (mount >= 0)
		mount = SYS3(fsmount, context, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	sys_close((int)context);
	return slot_set(step->arg[0], mount);
}

/* The root is a mount of its own, on top of the directory it shows: pivot_root(2) asks for that. */
long step_ROOT(struct step *step)
{
	struct text path = text_next(step);
	long target = sys_open(path.bytes, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	long mount, result;

	if (target < 0)
		return target;
	mount = clone_mount((int)target, "", AT_EMPTY_PATH | AT_RECURSIVE);
	if (mount >= 0) {
		result = sys_attach((int)mount, (int)target);
		if (result < 0) {
			sys_close((int)mount);
			mount = result;
		}
	}
	sys_close((int)target);
	return slot_set(step->arg[0], mount);
}

long step_BIND(struct step *step)
{
	struct text source = text_next(step);

	return slot_set(step->arg[0], clone_mount(AT_FDCWD, source.bytes, step->arg[1] ? AT_RECURSIVE : 0));
}

/* Not what is attached already: a mount gets its map of owners once, before anybody can see it. */
long step_IDMAP(struct step *step)
{
	struct mount_attr attributes = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.userns_fd = (uint32_t)slot_get(step->arg[2]),
	};
	unsigned flags = AT_EMPTY_PATH | (step->arg[1] ? AT_RECURSIVE : 0);

	return SYS5(mount_setattr, slot_get(step->arg[0]), "", flags, &attributes, sizeof(attributes));
}

/* Make what is missing of a target: a directory for a directory, an empty file for everything else. */
static long make_target(unsigned long long root, struct text *path, int directory)
{
	if (directory)
		return make_directories(root, path->bytes, path->length, 0755);
	return make_file(root, *path);
}

static int in_procfs(int fd)
{
	/* struct statfs as the kernel fills it on 64-bit machines: the type comes first. */
	long about[32];

	return SYS2(fstatfs, fd, about) < 0 || about[0] == PROC_SUPER_MAGIC;
}

/* The root itself is no place to mount: everything that is set up would be below what hides it. */
static long target_is_sound(int target, int root, unsigned long long how)
{
	struct statx there, here;
	long result = about_fd(target, &there);

	if (result >= 0)
		result = about_fd(root, &here);
	if (result < 0)
		return result;
	if (there.stx_ino == here.stx_ino && there.stx_mnt_id == here.stx_mnt_id)
		return -E_INVAL;
	return in_procfs(target) && !(how & WIRE_ATTACH_IN_PROC) ? -E_PERM : 0;
}

long step_ATTACH(struct step *step)
{
	struct text path = text_next(step);
	int mount = slot_get(step->arg[1]);
	unsigned long long how = step->arg[2];
	uint64_t resolve = how & WIRE_ATTACH_PLAIN ? RESOLVE_NO_SYMLINKS : 0;
	struct statx about;
	long result = about_fd(mount, &about);
	long target;

	if (result < 0)
		return result;
	target = open_inside(step->arg[0], path.bytes, O_PATH, resolve);
	if (target == -E_NOENT)
		target = make_target(step->arg[0], &path, is_directory(&about));
	if (target < 0)
		return target;
	result = target_is_sound((int)target, slot_get(step->arg[0]), how);
	if (result >= 0)
		result = sys_attach(mount, (int)target);
	sys_close((int)target);
	return result;
}

long step_SETATTR(struct step *step)
{
	struct text path = text_next(step);
	unsigned flags = (step->arg[1] ? AT_RECURSIVE : 0) | (path.length == 0 ? AT_EMPTY_PATH : 0);
	unsigned long long propagation = step->arg[4];

	return sys_mount_setattr(slot_get(step->arg[0]), path.bytes, flags, step->arg[2], step->arg[3], propagation);
}

/* An empty tmpfs that nothing can be written to, the same one below every directory that is hidden: the descriptor of
 * the first is kept, once it is attached (what is attached nowhere cannot be cloned), and the others are copies. */
static int empty = NO_FD;

static long nothing(void)
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
	if (mount >= 0)
		mount = SYS5(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
	if (mount >= 0)
		mount = SYS3(fsmount, context, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	sys_close((int)context);
	empty = mount < 0 ? NO_FD : (int)mount;
	return mount;
}

/* The host's null device, seen to be one. The container's own /dev/null is whatever its image says it is. */
static long null_device(void)
{
	struct statx about;
	long mount = clone_mount(AT_FDCWD, "/dev/null", 0);
	long result;

	if (mount < 0)
		return mount;
	result = about_fd((int)mount, &about);
	if (result >= 0 && (about.stx_mode & MODE_TYPE) == MODE_CHARACTER && about.stx_rdev_major == 1 &&
	    about.stx_rdev_minor == 3)
		return mount;
	sys_close((int)mount);
	return result < 0 ? result : -E_PERM;
}

/* Kernels differ in what they have below /proc and /sys: what is not there need not be hidden. */
long step_MASK(struct step *step)
{
	struct text path = text_next(step);
	long target = open_inside(step->arg[0], path.bytes, O_PATH, 0);
	struct statx about;
	long mount, result;

	if (target < 0)
		return target == -E_NOENT || target == -E_NOTDIR ? 0 : target;
	result = about_fd((int)target, &about);
	if (result >= 0) {
		mount = is_directory(&about) ? nothing() : null_device();
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

long step_PIVOT(struct step *step)
{
	long old = sys_open("/", O_PATH | O_DIRECTORY);
	long result = SYS1(fchdir, slot_get(step->arg[0]));

	if (old < 0)
		return old;
	/* The old root ends on top of the new one; it is left for good by way of a descriptor. */
	if (result >= 0)
		result = SYS2(pivot_root, ".", ".");
	if (result >= 0)
		result = SYS1(fchdir, old);
	/* What is unmounted here must stay mounted on the host. */
	if (result >= 0)
		result = sys_mount_setattr(AT_FDCWD, ".", AT_RECURSIVE, 0, 0, 1UL << 19 /* MS_SLAVE */);
	if (result >= 0)
		result = SYS2(umount2, ".", UMOUNT_DETACH);
	if (result >= 0)
		result = SYS1(chdir, "/");
	sys_close((int)old);
	return result;
}
