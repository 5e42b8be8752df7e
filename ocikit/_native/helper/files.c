/* Steps that work on files: all of them through descriptors, all below a root or a procfs of our own. */
#include "steps.h"

#include <linux/stat.h>

#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define MODE_TYPE 0170000U
#define MODE_LINK 0120000U

long open_inside(unsigned long long slot, const char *path, uint64_t flags, uint64_t resolve)
{
	return sys_openat2(slot_get(slot), path, flags, resolve | IN_ROOT);
}

static long write_whole(int fd, const struct text *data)
{
	long wrote;

	/* Files of procfs and cgroups take their value in one write or not at all. */
	do
		wrote = SYS3(write, fd, data->bytes, data->length);
	while (wrote == -E_INTR);
	if (wrote < 0)
		return wrote;
	return (uint32_t)wrote == data->length ? 0 : -E_IO;
}

long step_WRITE(struct step *step)
{
	struct text path = text_next(step);
	struct text data = text_next(step);
	long fd = sys_openat2(slot_get(step->arg[0]), path.bytes, O_WRONLY, step->arg[1]);
	long result;

	if (fd < 0)
		return fd;
	result = write_whole((int)fd, &data);
	sys_close((int)fd);
	return result;
}

/* Make one directory of a path; that another one made it first is as good. */
static long enter(int parent, const char *name, unsigned mode)
{
	long result = SYS3(mkdirat, parent, name, mode);

	if (result < 0 && result != -E_EXIST)
		return result;
	return sys_openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

/*
 * Open the directory that the first `length` bytes of `path` name, making what is missing. Every component is looked
 * up by the kernel inside the root; what is made is made in the directory that was just opened, and a name that is
 * taken by something else than a directory is refused there.
 */
long make_directories(unsigned long long slot, char *path, size_t length, unsigned mode)
{
	long parent = open_inside(slot, "/", O_PATH | O_DIRECTORY, 0);
	size_t begin = 0;

	while (parent >= 0 && begin < length) {
		size_t end = begin;
		char kept;
		long next;

		while (end < length && path[end] != '/')
			end++;
		if (end == begin) {
			begin++;
			continue;
		}
		kept = path[end];
		path[end] = '\0';
		next = open_inside(slot, path, O_PATH | O_DIRECTORY, 0);
		if (next == -E_NOENT)
			next = enter((int)parent, path + begin, mode);
		path[end] = kept;
		sys_close((int)parent);
		parent = next;
		begin = end + 1;
	}
	return parent;
}

long step_MKDIR(struct step *step)
{
	struct text path = text_next(step);
	long fd = make_directories(step->arg[0], path.bytes, path.length, (unsigned)step->arg[1]);

	if (fd < 0)
		return fd;
	return sys_close((int)fd);
}

/* Split a path into its parent, made and opened, and its last name. A path that ends in "/", "." or ".." has none. */
long open_parent(unsigned long long slot, struct text *path, char **name)
{
	size_t cut = path->length;

	while (cut > 0 && path->bytes[cut - 1] != '/')
		cut--;
	*name = path->bytes + cut;
	if (**name == '\0' || ((*name)[0] == '.' && ((*name)[1] == '\0' || ((*name)[1] == '.' && (*name)[2] == '\0'))))
		return -E_INVAL;
	return make_directories(slot, path->bytes, cut, 0755);
}

/* What stands at the name already is right when it is the same kind of node for the same device. */
static long same_node(int parent, const char *name, unsigned mode, unsigned long long device)
{
	struct statx about;
	long result = SYS5(statx, parent, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &about);

	if (result < 0)
		return result;
	if ((about.stx_mode & MODE_TYPE) != (mode & MODE_TYPE))
		return -E_EXIST;
	return about.stx_rdev_major == device >> 32 && about.stx_rdev_minor == (uint32_t)device ? 0 : -E_EXIST;
}

/* The 32-bit form of a device number that mknod(2) takes: 12 bits of major, 20 of minor. */
static unsigned kernel_device(unsigned long long device)
{
	unsigned major = (unsigned)(device >> 32);
	unsigned minor = (unsigned)device;

	return (minor & 0xffU) | (major << 8) | ((minor & ~0xffU) << 12);
}

static long make_node(int parent, const char *name, const unsigned long long *arg)
{
	unsigned mode = (unsigned)arg[1];
	long result = SYS4(mknodat, parent, name, mode, kernel_device(arg[2]));

	if (result == -E_EXIST)
		result = same_node(parent, name, mode, arg[2]);
	if (result < 0)
		return result;
	/* The mode is right already, main() cleared the umask; a chmod here would follow a link put in its place. */
	if (arg[3] == 0 && arg[4] == 0)
		return 0;
	return SYS5(fchownat, parent, name, (unsigned)arg[3], (unsigned)arg[4], AT_SYMLINK_NOFOLLOW);
}

long step_NODE(struct step *step)
{
	struct text path = text_next(step);
	char *name;
	long parent = open_parent(step->arg[0], &path, &name);
	long result;

	if (parent < 0)
		return parent;
	result = make_node((int)parent, name, step->arg);
	sys_close((int)parent);
	return result;
}

long step_SYMLINK(struct step *step)
{
	struct text text = text_next(step);
	struct text path = text_next(step);
	char *name;
	long parent = open_parent(step->arg[0], &path, &name);
	struct statx about;
	long result;

	if (parent < 0)
		return parent;
	result = SYS3(symlinkat, text.bytes, parent, name);
	/* Links that an image brings along at these places are left as they are, like everybody does. */
	if (result == -E_EXIST && SYS5(statx, parent, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &about) == 0 &&
	    (about.stx_mode & MODE_TYPE) == MODE_LINK)
		result = 0;
	sys_close((int)parent);
	return result;
}
