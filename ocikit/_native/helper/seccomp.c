/* The step that loads a filter for system calls. */
#include "steps.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

/* The kernel checks the filter; what it lets through from here on is what the remaining steps have. */
long step_SECCOMP(struct step *step)
{
	struct text filter = text_next(step);
	struct sock_fprog program = {
		.len = (unsigned short)(filter.length / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)filter.bytes,
	};
	long result;

	if (filter.length / sizeof(struct sock_filter) > 0xffff)
		return -E_2BIG;
	result = SYS3(seccomp, SECCOMP_SET_MODE_FILTER, step->arg[0], &program);
	if (result < 0)
		return result;
	channel_filtered(step->arg[2] == WIRE_BY_SENDMMSG);
	return step->arg[0] & SECCOMP_FILTER_FLAG_NEW_LISTENER ? slot_set(step->arg[1], result) : 0;
}
