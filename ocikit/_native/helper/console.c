/*
 * Steps that give a process a terminal of the container's own.
 *
 * Whatever the image or the container put at /dev/ptmx, /dev/pts/N or /dev/console is not believed: the terminal is
 * made by the multiplexer of a devpts that was seen to be one, its other end is asked for by descriptor, and it is shown
 * at /dev/console by way of descriptors.
 */
#include "steps.h"

#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/magic.h>
#include <linux/stat.h>

#define MODE_TYPE 0170000U
#define MODE_CHARACTER 0020000U
#define MODE_LINK 0120000U

#define MULTIPLEXER_INODE 2 /* in every devpts */
#define MULTIPLEXER_MAJOR 5
#define MULTIPLEXER_MINOR 2

static int is_devpts(int fd)
{
	/* struct statfs as the kernel fills it on 64-bit machines: the type comes first. */
	long about[32];

	return SYS2(fstatfs, fd, about) >= 0 && about[0] == DEVPTS_SUPER_MAGIC;
}

static int is_multiplexer(int fd)
{
	struct statx about;

	return about_fd(fd, &about) >= 0 && (about.stx_mode & MODE_TYPE) == MODE_CHARACTER &&
	       about.stx_rdev_major == MULTIPLEXER_MAJOR && about.stx_rdev_minor == MULTIPLEXER_MINOR &&
	       about.stx_ino == MULTIPLEXER_INODE;
}

/* Nobody can make files in a devpts: what is called ptmx there, with nothing mounted over it, is the kernel's. It is not
 * opened before that is known, because opening a device or a fifo may do something. */
static long open_multiplexer(unsigned long long root)
{
	uint64_t here = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
	long directory = open_inside(root, "/dev/pts", O_PATH | O_DIRECTORY, 0);
	long fd;

	if (directory < 0)
		return directory;
	fd = is_devpts((int)directory) ? sys_openat2((int)directory, "ptmx", O_RDWR | O_NOCTTY, here) : -E_NODEV;
	sys_close((int)directory);
	if (fd < 0 || is_multiplexer((int)fd))
		return fd;
	sys_close((int)fd);
	return -E_NODEV;
}

/* The place of /dev/console: what is there, unless it is a link, or a new file. */
static long open_console(unsigned long long root)
{
	char path[] = "/dev/console";
	struct text text = {.bytes = path, .length = sizeof(path) - 1};
	struct statx about;
	char *name;
	long parent = open_parent(root, &text, &name);
	long place;

	if (parent < 0)
		return parent;
	place = sys_openat((int)parent, name, O_PATH | O_NOFOLLOW, 0);
	if (place == -E_NOENT)
		place = sys_openat((int)parent, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	sys_close((int)parent);
	if (place < 0)
		return place;
	if (about_fd((int)place, &about) >= 0 && (about.stx_mode & MODE_TYPE) != MODE_LINK)
		return place;
	sys_close((int)place);
	return -E_LOOP;
}

static long show_as_console(int terminal, unsigned long long root)
{
	long mount = clone_mount(terminal, "", AT_EMPTY_PATH);
	long place, result;

	if (mount < 0)
		return mount;
	place = open_console(root);
	result = place < 0 ? place : sys_attach((int)mount, (int)place);
	if (place >= 0)
		sys_close((int)place);
	sys_close((int)mount);
	return result;
}

static long furnish(int terminal, const struct step *step)
{
	struct winsize size = {
		.ws_row = (unsigned short)(step->arg[2] >> 16),
		.ws_col = (unsigned short)step->arg[2],
	};
	long result = step->arg[2] ? SYS3(ioctl, terminal, TIOCSWINSZ, &size) : 0;

	/* It belongs to whom the program runs as, to the group that the devpts says. */
	if (result >= 0)
		result = SYS5(fchownat, terminal, "", (unsigned)step->arg[3], -1, AT_EMPTY_PATH);
	if (result >= 0 && step->arg[4] & WIRE_CONSOLE_SHOW)
		result = show_as_console(terminal, step->arg[0]);
	for (int fd = 0; result >= 0 && fd <= 2; fd++)
		result = SYS3(dup3, terminal, fd, 0);
	return result;
}

long step_CONSOLE(struct step *step)
{
	long master = open_multiplexer(step->arg[0]);
	long result = slot_set(step->arg[1], master);
	int locked = 0;
	long terminal;

	if (result < 0)
		return result;
	result = SYS3(ioctl, master, TIOCSPTLCK, &locked);
	if (result < 0)
		return result;
	terminal = SYS3(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0)
		return terminal;
	result = furnish((int)terminal, step);
	sys_close((int)terminal);
	return result < 0 ? result : 0;
}

long step_CTTY(struct step *step)
{
	(void)step;
	return SYS3(ioctl, 0, TIOCSCTTY, 0);
}
