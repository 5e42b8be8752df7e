/* The step that makes devices, or shows those of the host where making them is not allowed. */
#include "steps.h"

#include <linux/stat.h>

#define MODE_TYPE 0170000U
#define MODE_REGULAR 0100000U
#define MODE_LINK 0120000U
#define MODE_CHARACTER 0020000U
#define MODE_BLOCK 0060000U

static int is_device(unsigned mode)
{
	return (mode & MODE_TYPE) == MODE_CHARACTER || (mode & MODE_TYPE) == MODE_BLOCK;
}

/* A FIFO has no numbers, whatever was asked for. */
static int is_node(const struct statx *about, unsigned mode, unsigned major, unsigned minor)
{
	return (about->stx_mode & MODE_TYPE) == (mode & MODE_TYPE) &&
	       (!is_device(mode) || (about->stx_rdev_major == major && about->stx_rdev_minor == minor));
}

long clone_device(const char *path, unsigned mode, unsigned major, unsigned minor)
{
	struct statx about;
	long mount = clone_mount(AT_FDCWD, path, 0);
	long result;

	if (mount < 0)
		return mount;
	result = about_fd((int)mount, &about);
	if (result >= 0 && is_node(&about, mode, major, minor))
		return mount;
	sys_close((int)mount);
	return result < 0 ? result : -E_NODEV;
}

/* The 32-bit form of a device number that mknod(2) takes: 12 bits of major, 20 of minor. */
static unsigned kernel_device(unsigned major, unsigned minor)
{
	return (minor & 0xffU) | (major << 8) | ((minor & ~0xffU) << 12);
}

/* What stands at the name, new or not, must be what was asked for: the same kind of node for the same device. */
static long make_node(int parent, const char *name, const unsigned long long *arg)
{
	unsigned mode = (unsigned)arg[1], major = (unsigned)(arg[2] >> 32), minor = (unsigned)arg[2];
	long result = SYS4(mknodat, parent, name, mode, kernel_device(major, minor));
	struct statx about;
	long node;

	if (result < 0 && result != -E_EXIST)
		return result;
	node = sys_openat(parent, name, O_PATH | O_NOFOLLOW, 0);
	if (node < 0)
		return node;
	result = about_fd((int)node, &about);
	if (result >= 0 && !is_node(&about, mode, major, minor))
		result = -E_EXIST;
	/* The mode is right already: main() cleared the umask. */
	if (result >= 0 && (arg[3] || arg[4]))
		result = SYS5(fchownat, node, "", (unsigned)arg[3], (unsigned)arg[4], AT_EMPTY_PATH);
	sys_close((int)node);
	return result;
}

static long show_at(int parent, const char *name, int mount)
{
	long result = SYS4(mknodat, parent, name, MODE_REGULAR | 0600, 0);
	struct statx about;
	long target;

	if (result < 0 && result != -E_EXIST)
		return result;
	target = sys_openat(parent, name, O_PATH | O_NOFOLLOW, 0);
	if (target < 0)
		return target;
	result = about_fd((int)target, &about);
	if (result >= 0)
		result = (about.stx_mode & MODE_TYPE) == MODE_LINK ? -E_LOOP : sys_attach(mount, (int)target);
	sys_close((int)target);
	return result;
}

static long show_node(int parent, const char *name, const char *path, const unsigned long long *arg)
{
	long mount = clone_device(path, (unsigned)arg[1], (unsigned)(arg[2] >> 32), (unsigned)arg[2]);
	long result;

	if (mount < 0)
		return mount;
	/* Whatever stands there one day: it is shown as a device, and as nothing that could be executed. */
	result = sys_mount_setattr((int)mount, "", AT_EMPTY_PATH, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, 0);
	if (result >= 0)
		result = show_at(parent, name, (int)mount);
	sys_close((int)mount);
	return result;
}

long step_NODE(struct step *step)
{
	struct text path = text_next(step);
	char *name;
	long parent = open_parent(step->arg[0], &path, &name);
	long result = -E_PERM;

	if (parent < 0)
		return parent;
	if (!(step->arg[1] & WIRE_NODE_OF_HOST))
		result = make_node((int)parent, name, step->arg);
	if (result == -E_PERM && is_device((unsigned)step->arg[1]))
		result = show_node((int)parent, name, path.bytes, step->arg);
	sys_close((int)parent);
	return result;
}
