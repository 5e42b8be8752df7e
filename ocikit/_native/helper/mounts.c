/*
 * Steps that mount. A mount is made detached, given its attributes while nobody can see it, and only then attached to
 * a target that was opened once, inside the root: there is no moment at which a path could be exchanged.
 */
#include "steps.h"

#include <linux/magic.h>
#include <linux/stat.h>

long about_fd(int fd, struct statx *about)
{
	return SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, about);
}

int is_directory(const struct statx *about)
{
	return (about->stx_mode & 0170000U) == 0040000U;
}

long clone_mount(int directory, const char *path, unsigned flags)
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

/* The options that are left of a step. */
static long configure_all(int context, struct step *step, unsigned taken)
{
	long result = 0;

	for (unsigned i = taken; result >= 0 && i < step->strings; i++)
		result = configure(context, text_next(step).bytes);
	return result;
}

/* A new file system takes over the mode of the directory that it is going to hide; who is not there has none. */
static long configure_mode(int context, unsigned long long root, const char *path)
{
	char mode[] = "0000";
	struct statx about;
	long target = open_inside(root, path, O_PATH, 0);
	long result;

	if (target < 0)
		return target == -E_NOENT ? 0 : target;
	result = about_fd((int)target, &about);
	sys_close((int)target);
	if (result < 0)
		return result;
	for (int digit = 0; digit < 4; digit++)
		mode[digit] = (char)('0' + (about.stx_mode >> 3 * (3 - digit) & 7));
	return SYS5(fsconfig, context, FSCONFIG_SET_STRING, "mode", mode, 0);
}

static long new_filesystem(int context, struct step *step, const char *source, const char *path)
{
	unsigned long long how = step->arg[2];
	long result = SYS5(fsconfig, context, FSCONFIG_SET_STRING, "source", source, 0);

	if (result >= 0 && how == WIRE_NEW_MODE_OF)
		result = configure_mode(context, step->arg[3], path);
	if (result >= 0)
		result = configure_all(context, step, how == WIRE_NEW_PLAIN ? 2 : 3);
	if (result >= 0)
		result = SYS5(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
	return result < 0 ? result : SYS3(fsmount, context, FSMOUNT_CLOEXEC, step->arg[1]);
}

/* Who may not mount a hierarchy of cgroups is shown the part of it that is its own, and cannot write to it. */
static long bind_instead(const char *path, uint64_t attributes)
{
	long mount = clone_mount(AT_FDCWD, path, 0);
	long result;

	if (mount < 0)
		return mount;
	result = sys_mount_setattr((int)mount, "", AT_EMPTY_PATH, attributes | MOUNT_ATTR_RDONLY, 0, 0);
	if (result >= 0)
		return mount;
	sys_close((int)mount);
	return result;
}

long step_FILESYSTEM(struct step *step)
{
	unsigned long long how = step->arg[2];
	struct text type = text_next(step);
	struct text source, path = {.bytes = NULL, .length = 0};
	long context, mount;

	if (step->strings < (how == WIRE_NEW_PLAIN ? 2 : 3))
		return -E_INVAL;
	source = text_next(step);
	if (how != WIRE_NEW_PLAIN)
		path = text_next(step);
	context = SYS2(fsopen, type.bytes, FSOPEN_CLOEXEC);
	if (context < 0)
		return context;
	mount = new_filesystem((int)context, step, source.bytes, path.bytes);
	sys_close((int)context);
	if (how == WIRE_NEW_OR_BIND && (mount == -E_PERM || mount == -E_BUSY))
		mount = bind_instead(path.bytes, step->arg[1]);
	return slot_set(step->arg[0], mount);
}

/* Where the kernel gives no new procfs, because the one of an outer container has something hidden in it, a copy of that
 * one has to do, as far as it is one. It knows this process by its number out there. */
static long copy_of_procfs(void)
{
	long mount = clone_mount(AT_FDCWD, "/proc", AT_RECURSIVE);
	long about[32]; /* struct statfs, whose first word is the type */
	struct statx root;

	if (mount < 0)
		return mount;
	if (SYS2(fstatfs, mount, about) >= 0 && about[0] == PROC_SUPER_MAGIC && about_fd((int)mount, &root) >= 0 &&
	    root.stx_ino == 1)
		return mount;
	sys_close((int)mount);
	return -E_PERM;
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
	if (mount == -E_PERM)
		mount = copy_of_procfs();
	return slot_set(step->arg[0], mount);
}

/* The flags of statfs(2) as attributes of a mount. */
static long attributes_of(int fd, uint64_t *attributes)
{
	/* struct statfs as the kernel fills it on 64-bit machines: the flags are the eleventh word. */
	long about[32];
	long result = SYS2(fstatfs, fd, about);
	uint64_t flags = (uint64_t)about[10];

	if (result < 0)
		return result;
	*attributes = flags & (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	*attributes |= flags & 0x400 /* ST_NOATIME */	   ? MOUNT_ATTR_NOATIME
		       : flags & 0x1000 /* ST_RELATIME */ ? 0
							   : MOUNT_ATTR_STRICTATIME;
	*attributes |= flags & 0x800 /* ST_NODIRATIME */ ? MOUNT_ATTR_NODIRATIME : 0;
	return 0;
}

#define LOCKABLE (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define TIMES (MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME)

/*
 * What was copied out of another user namespace keeps its restrictions. Those that nobody asked to be lifted stay; to
 * be asked for what cannot be had is an error.
 */
static long change_unlocked(int mount, uint64_t now, uint64_t set, uint64_t clear, uint64_t implied)
{
	if (now & clear & (LOCKABLE | MOUNT_ATTR_NODIRATIME))
		return -E_PERM;
	if (((set & TIMES) || (clear & MOUNT_ATTR__ATIME)) && (set & TIMES) != (now & TIMES))
		return -E_PERM;
	set &= ~(uint64_t)TIMES;
	clear = (clear | implied) & ~(uint64_t)(LOCKABLE | TIMES);
	return sys_mount_setattr(mount, "", AT_EMPTY_PATH, set, clear, 0);
}

/*
 * Set and clear what was asked for, and clear what goes without saying (`implied`). The access times are one value in a
 * field of bits: to clear one value of it (a part of the field) changes something only if this is the value there is.
 */
static long change_attributes(int mount, uint64_t set, uint64_t clear, uint64_t implied)
{
	uint64_t part = clear & MOUNT_ATTR__ATIME;
	uint64_t now = 0;
	long result;

	if (!(set | clear | implied))
		return 0;
	result = attributes_of(mount, &now);
	if (result < 0)
		return result;
	if (part && part != MOUNT_ATTR__ATIME) {
		clear &= ~(uint64_t)MOUNT_ATTR__ATIME;
		if (now & part)
			clear |= MOUNT_ATTR__ATIME;
	}
	result = sys_mount_setattr(mount, "", AT_EMPTY_PATH, set, clear | implied, 0);
	return result == -E_PERM ? change_unlocked(mount, now, set, clear, implied) : result;
}

static long clone_inside(unsigned long long root, const char *path, unsigned flags)
{
	long place = open_inside(root, path, O_PATH, 0);
	long mount;

	if (place < 0)
		return place;
	mount = clone_mount((int)place, "", flags | AT_EMPTY_PATH);
	sys_close((int)place);
	return mount;
}

/* What init cannot reach, or has no right to do, the launcher does: with the rights of the host, and in the mounts of
 * the container as they are at this moment. */
static long mount_of_launcher(const struct step *step)
{
	unsigned long long how = step->arg[1];
	int root = how & WIRE_BIND_IN_ROOT ? slot_get(how >> 32) : NO_FD;
	long result = channel_say(WIRE_SAID_SYNC, step->index, WIRE_SYNC_MOUNT, root);

	return result < 0 ? result : channel_take();
}

long step_BIND(struct step *step)
{
	struct text source = text_next(step);
	unsigned long long how = step->arg[1];
	unsigned flags = how & WIRE_BIND_RECURSIVE ? AT_RECURSIVE : 0;
	long mount = -E_ACCES;
	long result;

	if (how & WIRE_BIND_OUTSIDE)
		mount = mount_of_launcher(step);
	else if (how & WIRE_BIND_IN_ROOT)
		mount = clone_inside(how >> 32, source.bytes, flags);
	else
		mount = clone_mount(AT_FDCWD, source.bytes, flags);
	if (mount == -E_ACCES && how & WIRE_BIND_ASK)
		mount = mount_of_launcher(step);
	if (mount < 0)
		return mount;
	result = change_attributes((int)mount, step->arg[2], step->arg[3], step->arg[4]);
	if (result >= 0)
		return slot_set(step->arg[0], mount);
	sys_close((int)mount);
	return result;
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

long step_SETATTR(struct step *step)
{
	struct text path = text_next(step);
	unsigned flags = (step->arg[1] ? AT_RECURSIVE : 0) | (path.length == 0 ? AT_EMPTY_PATH : 0);
	unsigned long long propagation = step->arg[4];

	return sys_mount_setattr(slot_get(step->arg[0]), path.bytes, flags, step->arg[2], step->arg[3], propagation);
}

static long reconfigure(int target, struct step *step)
{
	long context = SYS3(fspick, target, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	long result;

	if (context < 0)
		return context;
	result = configure_all((int)context, step, 1);
	if (result >= 0)
		result = SYS5(fsconfig, context, FSCONFIG_CMD_RECONFIGURE, 0, 0, 0);
	sys_close((int)context);
	return result;
}

long step_REMOUNT(struct step *step)
{
	struct text path = text_next(step);
	long target = open_inside(step->arg[0], path.bytes, O_PATH, 0);
	long result = 0;

	if (target < 0)
		return target;
	if (step->arg[4])
		result = reconfigure((int)target, step);
	if (result >= 0)
		result = change_attributes((int)target, step->arg[1], step->arg[2], step->arg[3]);
	sys_close((int)target);
	return result;
}
