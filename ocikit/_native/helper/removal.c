/*
 * How a container is removed whose owner is gone: its cgroups, and its state. What cannot be removed is left whole, for
 * somebody who can find out why.
 */
#include "monitor.h"

#include <linux/stat.h>

#define LOCK_EXCLUSIVELY 2     /* LOCK_EX */
#define REMOVE_DIRECTORY 0x200 /* AT_REMOVEDIR */
#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
#define DEEPEST 16 /* cgroups that what runs in a container has made below each other, and which are removed here */

static int state = NO_FD;
static int state_root = NO_FD;

/* struct linux_dirent64, as getdents64(2) describes it. */
struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

#define IS_DIRECTORY 4 /* DT_DIR */

/* Do something with each name in a directory, but for "." and ".."; the first bytes of them, if there are very many. */
static void each_name(int directory, void (*act)(int directory, const struct entry *entry, int depth), int depth)
{
	_Alignas(struct entry) char names[2048];
	long length;

	SYS3(lseek, directory, 0, 0);
	while ((length = SYS3(getdents64, directory, names, sizeof(names))) > 0)
		for (long at = 0; at < length;) {
			const struct entry *entry = (const struct entry *)(names + at);
			const char *name = entry->name;

			if (!(name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))))
				act(directory, entry, depth);
			at += entry->length;
		}
}

static long remove_directory(int directory, const char *name)
{
	long result = -E_BUSY;

	/* The kernel lets go of a process a moment after it has ended. */
	for (unsigned round = 0; result == -E_BUSY && round < ROUNDS; round++) {
		result = SYS3(unlinkat, directory, name, REMOVE_DIRECTORY);
		if (result == -E_BUSY)
			a_millisecond();
	}
	return result == -E_NOENT ? 0 : result;
}

static void remove_child(int directory, const struct entry *entry, int depth)
{
	long fd;

	if (entry->type != IS_DIRECTORY || depth >= DEEPEST)
		return;
	fd = sys_openat(directory, entry->name, DIRECTORY, 0);
	if (fd >= 0) {
		each_name((int)fd, remove_child, depth + 1);
		sys_close((int)fd);
	}
	remove_directory(directory, entry->name);
}

static long remove_cgroup(const char *path)
{
	long fd = sys_open(path, DIRECTORY);

	if (fd >= 0) {
		each_name((int)fd, remove_child, 0);
		sys_close((int)fd);
	}
	return remove_directory(AT_FDCWD, path);
}

static long remove_parent(const char *path)
{
	return SYS3(unlinkat, AT_FDCWD, path, REMOVE_DIRECTORY);
}

static const char *looked_for;
static int is_found;

static long compare(const char *last)
{
	const char *name = looked_for;

	while (*name && *name == *last)
		name++, last++;
	is_found |= *name == *last;
	return 0;
}

static void remove_file(int directory, const struct entry *entry, int depth)
{
	(void)depth;
	looked_for = entry->name;
	is_found = 0;
	each(WIRE_DO_REMOVE_LAST, compare);
	if (!is_found)
		SYS3(unlinkat, directory, entry->name, entry->type == IS_DIRECTORY ? REMOVE_DIRECTORY : 0);
}

/* Each of those fails, and is counted. */
static long counted(const char *name)
{
	(void)name;
	return -E_BUSY;
}

static long is_there(const char *name)
{
	return SYS3(faccessat, state, name, 0 /* F_OK */);
}

static long remove_last(const char *name)
{
	long result = SYS3(unlinkat, state, name, 0);

	return result == -E_NOENT ? 0 : result;
}

static long remove_state(const char *name)
{
	return SYS3(unlinkat, state_root, name, REMOVE_DIRECTORY);
}

void ending_remove(int directory, int root)
{
	state = directory;
	state_root = root;
	if (each(WIRE_DO_REMOVE_STATE, counted) == 0)
		return;
	/* Whoever removes it at this moment has the lock. When it is ours there may be nothing left, or a namesake. */
	if (SYS2(flock, state, LOCK_EXCLUSIVELY) < 0 || each(WIRE_DO_REMOVE_LAST, is_there) > 0)
		return;
	if (each(WIRE_DO_REMOVE_CGROUP, remove_cgroup) > 0)
		return;
	each(WIRE_DO_REMOVE_PARENT, remove_parent);
	each_name(state, remove_file, 0);
	if (each(WIRE_DO_REMOVE_LAST, remove_last) == 0)
		each(WIRE_DO_REMOVE_STATE, remove_state);
}
