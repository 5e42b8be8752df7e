/* Memory files: what a helper is, and what it is to do. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "launcher.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* since Linux 6.3: said explicitly, for hosts that log memory files without it */
#endif

static int fill(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t written = write(fd, data, length);

		if (written < 0)
			return -1;
		data += written;
		length -= (size_t)written;
	}
	return 0;
}

/* Nobody writes to it any more, and nobody undoes that. */
static int seal(int fd)
{
	if (fchmod(fd, S_IRUSR | S_IXUSR) < 0)
		return -1;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

int ocikit_memory_file(const char *name, const void *data, size_t length, int program)
{
	unsigned int flags = MFD_CLOEXEC | (program ? MFD_ALLOW_SEALING | MFD_EXEC : 0);
	int fd = memfd_create(name, flags);
	int error;

	if (fd < 0 && program && errno == EINVAL)
		fd = memfd_create(name, flags & ~MFD_EXEC);
	if (fd < 0)
		return -errno;
	if (fill(fd, data, length) == 0 && (!program || seal(fd) == 0))
		return fd;
	error = errno;
	close(fd);
	return -error;
}
