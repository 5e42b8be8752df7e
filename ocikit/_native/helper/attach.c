/* The step that puts a mount in its place, which is looked up and made inside the root. */
#include "steps.h"

#include <linux/magic.h>
#include <linux/stat.h>

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

static int same_place(const struct statx *one, const struct statx *other)
{
	return one->stx_ino == other->stx_ino && one->stx_mnt_id == other->stx_mnt_id;
}

/* At /proc the container's programs write what nobody else may see or give them: it is a procfs or nothing. */
static int is_slash_proc(unsigned long long root, const struct statx *place)
{
	long fd = open_inside(root, "/proc", O_PATH, 0);
	struct statx about;
	long result;

	if (fd < 0)
		return 0;
	result = about_fd((int)fd, &about);
	sys_close((int)fd);
	return result >= 0 && same_place(&about, place);
}

/* The root itself is no place to mount: everything that is set up would be below what hides it. */
static long target_is_sound(int target, int mount, int directory, const struct step *step)
{
	struct statx there, here;
	long result = about_fd(target, &there);

	if (result >= 0)
		result = about_fd(slot_get(step->arg[0]), &here);
	if (result < 0)
		return result;
	if (same_place(&there, &here))
		return -E_INVAL;
	if (is_directory(&there) != directory)
		return directory ? -E_NOTDIR : -E_ISDIR;
	if (is_slash_proc(step->arg[0], &there))
		return in_procfs(mount) ? 0 : -E_PERM;
	return in_procfs(target) && !(step->arg[2] & WIRE_ATTACH_IN_PROC) ? -E_PERM : 0;
}

long step_ATTACH(struct step *step)
{
	struct text path = text_next(step);
	int mount = slot_get(step->arg[1]);
	uint64_t resolve = step->arg[2] & WIRE_ATTACH_PLAIN ? RESOLVE_NO_SYMLINKS : 0;
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
	result = target_is_sound((int)target, mount, is_directory(&about), step);
	if (result >= 0)
		result = sys_attach(mount, (int)target);
	sys_close((int)target);
	return result;
}
