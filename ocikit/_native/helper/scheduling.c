/* Steps that say where and how the process is run; when, is for the launcher to set. */
#include "steps.h"

#define WHO_PROCESS 1 /* IOPRIO_WHO_PROCESS, which older headers lack */

long step_IO_PRIORITY(struct step *step)
{
	return SYS3(ioprio_set, WHO_PROCESS, 0, step->arg[0]);
}

long step_AFFINITY(struct step *step)
{
	struct text cpus = text_next(step);

	return SYS3(sched_setaffinity, 0, cpus.length, cpus.bytes);
}

long step_PERSONALITY(struct step *step)
{
	return SYS1(personality, step->arg[0]);
}

long step_MEMORY_POLICY(struct step *step)
{
	struct text nodes = text_next(step);

	/* The kernel reads one bit less than it is told to expect. */
	return SYS3(set_mempolicy, step->arg[0], nodes.length ? nodes.bytes : NULL, nodes.length * 8 + 1);
}
