/*
 * The step that fills a new file system with what it is going to hide (the mount option tmpcopyup).
 *
 * Every name is looked up in a directory that is open, and no link is followed. What vanishes while it is copied is
 * left out. Other file systems below the directory are not copied, nor is what no file has by itself (ACLs, marks of
 * the file system); a file keeps its capabilities.
 */
#include "steps.h"

#include <linux/stat.h>

#define MODE_TYPE 0170000U
#define MODE_DIRECTORY 0040000U
#define MODE_REGULAR 0100000U
#define MODE_LINK 0120000U

#define DEEPEST 200 /* directories below each other; each takes two descriptors and some stack */
#define ENTRIES 2048
#define AT_ONCE (1L << 30)

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static long copy_directory(int from, int to, int depth);

/* What a name was a moment ago and is no more has vanished, too. */
static long opened(long fd)
{
	return fd == -E_NOTDIR || fd == -E_LOOP || fd == -E_NXIO ? -E_NOENT : fd;
}

/* Ids that the user namespace does not have are shown as that of nobody; if there is none of that either, such a file
 * belongs to whoever copies. */
static long give(int to, const struct statx *about)
{
	long result = SYS5(fchownat, to, "", about->stx_uid, about->stx_gid, AT_EMPTY_PATH);

	return result == -E_INVAL || result == -E_PERM ? 0 : result;
}

static void keep_times(int to, const char *name, const struct statx *about, int flags)
{
	int64_t times[4] = {
		about->stx_atime.tv_sec,
		about->stx_atime.tv_nsec,
		about->stx_mtime.tv_sec,
		about->stx_mtime.tv_nsec,
	};

	SYS4(utimensat, to, name, times, flags);
}

/* After the owner, whose change takes all of this away. */
static long finish(int from, int to, const struct statx *about)
{
	static const char capability[] = "security.capability";
	char value[64];
	long result = give(to, about);
	long length;

	if (result >= 0)
		result = SYS2(fchmod, to, about->stx_mode & 07777U);
	if (result < 0)
		return result;
	length = SYS4(fgetxattr, from, capability, value, sizeof(value));
	if (length > 0)
		result = SYS5(fsetxattr, to, capability, value, length, 0);
	keep_times(to, NULL, about, 0);
	return result == -E_PERM || result == -E_OPNOTSUPP ? 0 : result;
}

static long copy_content(int from, int to)
{
	long moved;

	do
		moved = SYS4(sendfile, to, from, 0, AT_ONCE);
	while (moved > 0 || moved == -E_INTR);
	return moved;
}

static long copy_file(int parent, int to_parent, const char *name)
{
	/* Not to wait for anybody: what was a file may be a fifo by now. */
	long from = opened(sys_openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0));
	struct statx about;
	long to, result;

	if (from < 0)
		return from;
	result = about_fd((int)from, &about);
	if (result >= 0 && (about.stx_mode & MODE_TYPE) != MODE_REGULAR)
		result = -E_NOENT;
	to = result < 0 ? result : sys_openat(to_parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (to >= 0) {
		result = copy_content((int)from, (int)to);
		if (result >= 0)
			result = finish((int)from, (int)to, &about);
		sys_close((int)to);
	}
	sys_close((int)from);
	return to < 0 ? to : result;
}

static long copy_below(int parent, int to_parent, const char *name, int depth)
{
	long from = sys_openat2(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_XDEV);
	struct statx about;
	long to, result;

	if (from == -E_XDEV)
		return SYS3(mkdirat, to_parent, name, 0755); /* where something else is mounted */
	from = opened(from);
	if (from < 0)
		return from;
	result = SYS3(mkdirat, to_parent, name, 0700);
	to = result < 0 ? result : sys_openat(to_parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (to >= 0) {
		result = copy_directory((int)from, (int)to, depth + 1);
		if (result >= 0)
			result = about_fd((int)from, &about);
		if (result >= 0)
			result = finish((int)from, (int)to, &about);
		sys_close((int)to);
	}
	sys_close((int)from);
	return to < 0 ? to : result;
}

/* Its room is not to be taken on every level of directories: the stack is as large as the host's limit says. */
__attribute__((noinline)) static long copy_link(int parent, int to_parent, const char *name)
{
	char text[4096];
	long length = SYS4(readlinkat, parent, name, text, sizeof(text) - 1);

	if (length < 0)
		return length == -E_INVAL ? -E_NOENT : length;
	text[length] = '\0';
	return SYS3(symlinkat, text, to_parent, name);
}

static long copy_node(int to_parent, const char *name, const struct statx *about)
{
	unsigned device = (about->stx_rdev_minor & 0xffU) | (about->stx_rdev_major << 8) |
			  ((about->stx_rdev_minor & ~0xffU) << 12);

	return SYS4(mknodat, to_parent, name, about->stx_mode, device);
}

static long copy_entry(int parent, int to_parent, const char *name, int depth)
{
	struct statx about;
	long result = SYS5(statx, parent, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &about);
	unsigned type = about.stx_mode & MODE_TYPE;

	if (result < 0)
		return result;
	if (type == MODE_REGULAR)
		return copy_file(parent, to_parent, name);
	if (type == MODE_DIRECTORY)
		return copy_below(parent, to_parent, name, depth);
	result = type == MODE_LINK ? copy_link(parent, to_parent, name) : copy_node(to_parent, name, &about);
	if (result < 0)
		return result;
	result = SYS5(fchownat, to_parent, name, about.stx_uid, about.stx_gid, AT_SYMLINK_NOFOLLOW);
	keep_times(to_parent, name, &about, AT_SYMLINK_NOFOLLOW);
	return result == -E_INVAL || result == -E_PERM ? 0 : result;
}

static int is_itself_or_above(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static long copy_directory(int from, int to, int depth)
{
	_Alignas(struct entry) char entries[ENTRIES];
	long length;

	if (depth > DEEPEST)
		return -E_LOOP;
	while ((length = SYS3(getdents64, from, entries, sizeof(entries))) > 0) {
		for (long at = 0; at < length;) {
			const struct entry *entry = (const struct entry *)(entries + at);
			long result = 0;

			if (!is_itself_or_above(entry->name))
				result = copy_entry(from, to, entry->name, depth);
			/* Gone meanwhile; or there already: a directory that changes may list a name twice. */
			if (result < 0 && result != -E_NOENT && result != -E_EXIST)
				return result;
			at += entry->length;
		}
	}
	return length;
}

long step_COPYUP(struct step *step)
{
	struct text path = text_next(step);
	long from = open_inside(step->arg[0], path.bytes, O_RDONLY | O_DIRECTORY, 0);
	struct statx about;
	long to, result;

	if (from < 0)
		return from == -E_NOENT ? 0 : from;
	to = sys_openat(slot_get(step->arg[1]), ".", O_RDONLY | O_DIRECTORY, 0);
	if (to >= 0) {
		result = copy_directory((int)from, (int)to, 0);
		if (result >= 0)
			result = about_fd((int)from, &about);
		if (result >= 0 && step->arg[2])
			result = give((int)to, &about);
		sys_close((int)to);
	} else {
		result = to;
	}
	sys_close((int)from);
	return result;
}
