/* The plan as the helper reads it: checked once, whole, before the first step is carried out. */
#ifndef OCIKIT_PLAN_H
#define OCIKIT_PLAN_H

#include "../wire.h"
#include "sys.h"

struct text {
	char *bytes; /* ends with a NUL that is not counted */
	uint32_t length;
};

struct step {
	const unsigned long long *arg;
	uint32_t index;
	uint16_t op;
	uint16_t strings;
	char *cursor; /* the next string that text_next() gives */
};

/* Map the plan and check every length in it. Returns the number of steps, or a negated errno. */
long plan_open(int fd);

/* How many slots, from the first on, the launcher may have filled. */
int plan_passed(void);

/* The step that begins at *offset, which moves on to the following one. */
struct step plan_step(uint32_t index, uint32_t *offset);

/* The next string of a step. The plan was checked: there are `strings` of them. */
struct text text_next(struct step *step);

/* Descriptors that steps open and later steps use. */
long slot_set(unsigned long long slot, long fd);
void slot_close(unsigned long long slot); /* closing an empty one is nothing */
int slot_get(unsigned long long slot); /* AT_FDCWD for WIRE_NO_SLOT, an unusable -1 for an empty one */

#endif
