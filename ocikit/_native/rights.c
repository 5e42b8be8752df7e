/* What the calling thread has the right to do: a few short calls, where /proc/thread-self/status is written anew in full. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"

int ocikit_capabilities(uint64_t *effective, uint64_t *passable)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct halves[_LINUX_CAPABILITY_U32S_3];
	uint64_t bounding = 0;
	int found;

	if (syscall(SYS_capget, &head, halves) < 0)
		return -errno;
	/* Beyond the last one that the kernel knows, it refuses the question. */
	for (int one = 0; one < 64 && (found = prctl(PR_CAPBSET_READ, one, 0, 0, 0)) >= 0; one++)
		bounding |= (uint64_t)found << one;
	*effective = (uint64_t)halves[1].effective << 32 | halves[0].effective;
	*passable = ((uint64_t)halves[1].permitted << 32 | halves[0].permitted) & bounding;
	return 0;
}
