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

#define PATH_LIMIT 4096
#define LINK_LIMIT 16

/*
 * The path that a symbolic link stands for, in terms of the root: what it says when it begins with a slash, else what
 * it says after the directory it is in. Such a path is looked up from the root again; nothing in it is taken on trust.
 */
static long path_of_link(int parent, const char *directory, size_t directory_length, const char *name, char *out)
{
	size_t room = PATH_LIMIT - 2 - directory_length;
	long got;

	if (directory_length >= PATH_LIMIT - 2)
		return -E_NAMETOOLONG;
	got = SYS4(readlinkat, parent, name, out + directory_length + 1, room);
	if (got < 0)
		return got;
	if ((size_t)got == room)
		return -E_NAMETOOLONG; /* perhaps there is more of it */
	if (out[directory_length + 1] == '/') {
		memmove(out, out + directory_length + 1, (size_t)got);
	} else {
		memcpy(out, directory, directory_length);
		out[directory_length] = '/';
		got += (long)directory_length + 1;
	}
	out[got] = '\0';
	return got;
}

static long make_path(unsigned long long slot, char *path, size_t length, unsigned mode, int links);

/* One directory of a path: there, made now (that another one made it first is as good), or where a link points to. */
static long enter(unsigned long long slot, int parent, char *path, size_t begin, unsigned mode, int links)
{
	char target[PATH_LIMIT];
	long result = SYS3(mkdirat, parent, path + begin, mode);

	if (result < 0 && result != -E_EXIST)
		return result;
	result = sys_openat(parent, path + begin, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (result != -E_NOTDIR || links == 0)
		return result;
	result = path_of_link(parent, path, begin, path + begin, target);
	if (result < 0)
		return result == -E_INVAL ? -E_NOTDIR : result;
	return make_path(slot, target, (size_t)result, mode, links - 1);
}

static long open_prefix(unsigned long long slot, char *path, size_t length)
{
	char kept = path[length];
	long fd;

	path[length] = '\0';
	fd = open_inside(slot, length ? path : "/", O_PATH | O_DIRECTORY, 0);
	path[length] = kept;
	return fd;
}

/* How much of a path is left without its last name. */
static size_t without_last(const char *path, size_t length)
{
	while (length > 0 && path[length - 1] == '/')
		length--;
	while (length > 0 && path[length - 1] != '/')
		length--;
	return length;
}

/*
 * Open the directory that the first `length` bytes of `path` name, making what is missing. Whatever is there is looked
 * up by the kernel inside the root, all of it at once; what is made is made in the directory that was just opened, and a
 * link that points nowhere yet has its target made, inside the root as well.
 */
static long make_path(unsigned long long slot, char *path, size_t length, unsigned mode, int links)
{
	size_t begin = length;
	long parent = open_prefix(slot, path, begin);
	long next = parent;

	while (parent == -E_NOENT && begin > 0) {
		begin = without_last(path, begin);
		parent = open_prefix(slot, path, begin);
	}
	while (parent >= 0 && begin < length) {
		size_t end = begin;
		char kept;

		while (end < length && path[end] != '/')
			end++;
		if (end == begin) {
			begin++;
			continue;
		}
		/* The first one was looked for above. */
		if (next != -E_NOENT)
			next = open_prefix(slot, path, end);
		kept = path[end];
		path[end] = '\0';
		if (next == -E_NOENT)
			next = enter(slot, (int)parent, path, begin, mode, links);
		path[end] = kept;
		sys_close((int)parent);
		parent = next;
		begin = end + 1;
	}
	return parent;
}

long make_directories(unsigned long long slot, char *path, size_t length, unsigned mode)
{
	return make_path(slot, path, length, mode, LINK_LIMIT);
}

long make_file(unsigned long long slot, struct text path)
{
	char target[2][PATH_LIMIT];

	for (int links = 0; links < LINK_LIMIT; links++) {
		char *name;
		long parent = open_parent(slot, &path, &name);
		long fd, length;

		if (parent < 0)
			return parent;
		fd = sys_openat((int)parent, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0755);
		if (fd != -E_EXIST) {
			sys_close((int)parent);
			return fd;
		}
		/* A link that points nowhere: /etc/resolv.conf of many images. The file is made where it points. */
		length = path_of_link((int)parent, path.bytes, (size_t)(name - path.bytes), name, target[links % 2]);
		sys_close((int)parent);
		if (length < 0)
			return length == -E_INVAL ? -E_EXIST : length;
		path = (struct text){.bytes = target[links % 2], .length = (uint32_t)length};
	}
	return -E_LOOP;
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
	if (result == -E_EXIST && step->arg[1] && SYS3(unlinkat, parent, name, 0) == 0)
		result = SYS3(symlinkat, text.bytes, parent, name);
	/* Links that an image brings along at these places are left as they are, like everybody does. */
	if (result == -E_EXIST && SYS5(statx, parent, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &about) == 0 &&
	    (about.stx_mode & MODE_TYPE) == MODE_LINK)
		result = 0;
	sys_close((int)parent);
	return result;
}
