/* The last steps: find the program, wait until it may run, execute it. */
#include "steps.h"

#include <linux/stat.h>

/*
 * A directory that root may enter is entered as root, so that a user who owns nothing on the way can still start
 * there; what only the user may enter (a file system that knows no root) is left to a second try as the user.
 */
long step_CWD(struct step *step)
{
	static int done;
	char where[4096];
	struct text path = text_next(step);
	long result;

	if (done)
		return 0;
	result = SYS1(chdir, path.bytes);
	if (step->arg[0] && (result == -E_ACCES || result == -E_PERM))
		return 0;
	if (result < 0)
		return result;
	done = 1;
	/* A directory outside the root (say, of a descriptor that leaked) has a name that does not begin with "/". */
	result = SYS2(getcwd, where, sizeof(where));
	return result >= 0 && where[0] != '/' ? -E_NOENT : (result < 0 ? result : 0);
}

static char *program;

static long may_execute(const char *path)
{
	struct statx about;
	long result = SYS5(statx, AT_FDCWD, path, 0, STATX_TYPE, &about);

	if (result < 0)
		return result;
	if ((about.stx_mode & 0170000) != 0100000)
		return -E_ACCES;
	return SYS4(faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
}

long step_FIND(struct step *step)
{
	long result = -E_NOENT;

	for (unsigned i = 0; i < step->strings; i++) {
		char *path = text_next(step).bytes;
		long found = may_execute(path);

		if (found >= 0) {
			program = path;
			return 0;
		}
		/* A file that is there and may not be executed says more than all those that are not there. */
		if (found != -E_NOENT && found != -E_NOTDIR)
			result = found;
	}
	return result;
}

long step_READY(struct step *step)
{
	long result = channel_say(WIRE_SAID_READY, step->index, 0, NO_FD);

	return result < 0 || step->arg[0] ? result : channel_wait();
}

/* The fifo came as a descriptor without rights (O_PATH); procfs gives it the right to write. */
long step_FIFO(struct step *step)
{
	char path[] = "self/fd/000";
	int fifo = slot_get(step->arg[1]);
	long fd;

	if (fifo < 0 || fifo > 999)
		return -E_BADF;
	path[8] = (char)('0' + fifo / 100);
	path[9] = (char)('0' + fifo / 10 % 10);
	path[10] = (char)('0' + fifo % 10);
	/* procfs knows descriptors by their number without leading zeros. */
	while (path[8] == '0' && path[9] != '\0')
		for (char *at = path + 8; *at != '\0'; at++)
			at[0] = at[1];
	/* Here a created container waits, until somebody opens the other end. */
	fd = sys_openat(slot_get(step->arg[0]), path, O_WRONLY, 0);
	if (fd < 0)
		return fd;
	if (SYS3(write, fd, "0", 1) != 1)
		return -E_IO;
	/* It stays open until the program is executed, so that whoever opened the other end hears when that is, or why it
	 * could not be. */
	if (step->arg[2])
		sys_close((int)fd);
	else
		failure_starter((int)fd);
	return 0;
}

/* Where the channel can stay while low numbers are taken: above what any program is handed. */
#define ABOVE_INHERITED (3 + WIRE_PASSED)

/* The order keeps every descriptor from being overwritten before it is in its place: a slot that came with number n is
 * needed at a lower number, and they are moved from the lowest on. */
long step_INHERIT(struct step *step)
{
	long result = channel_move(ABOVE_INHERITED);

	failure_starter_above(ABOVE_INHERITED);
	for (unsigned long long i = 0; result >= 0 && i < step->arg[1]; i++) {
		int fd = slot_get(step->arg[0] + i);

		result = SYS3(dup3, fd, 3 + i, 0);
	}
	return result < 0 ? result : 0;
}

char **vector_of(struct step *step, unsigned strings, unsigned long long arguments)
{
	static char *vector[0xffff + 2]; /* as many strings as a step can have, and two ends */
	unsigned at = 0;

	if (arguments > strings)
		return NULL;
	for (unsigned i = 0; i < strings; i++) {
		if (i == arguments)
			vector[at++] = NULL;
		vector[at++] = text_next(step).bytes;
	}
	if (arguments == strings)
		vector[at++] = NULL;
	vector[at] = NULL;
	return vector;
}

long step_EXEC(struct step *step)
{
	char **vector = vector_of(step, step->strings, step->arg[0]);

	return vector ? SYS3(execve, program, vector, vector + step->arg[0] + 1) : -E_2BIG;
}
