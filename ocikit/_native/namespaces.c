/* Which namespaces a process is in: sixteen links of two processes are read in the time that Python takes for four. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher.h"

int ocikit_namespaces(const char *directory, const char *names, unsigned int count, uint64_t *found)
{
	int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 ? errno : 0;

	for (unsigned int at = 0; at < count && !error; at++, names += strlen(names) + 1) {
		/* As in "mnt:[4026531841]". To follow the link would make an inode, which takes longer than all the rest. */
		char text[64];
		ssize_t length = readlinkat(fd, names, text, sizeof(text) - 1);
		const char *number;

		if (length < 0 && errno != ENOENT)
			error = errno;
		text[length < 0 ? 0 : length] = '\0';
		number = strchr(text, '[');
		found[at] = number ? strtoull(number + 1, NULL, 10) : 0;
	}
	if (fd >= 0)
		close(fd);
	return -error;
}
