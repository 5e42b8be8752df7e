/* What each step does. One function per WIRE_OP_*: 0, or a negated errno. */
#ifndef OCIKIT_STEPS_H
#define OCIKIT_STEPS_H

#include "plan.h"

#define STEP_DECLARE(name, strings) long step_##name(struct step *step);
WIRE_OPS(STEP_DECLARE)
#undef STEP_DECLARE

/* channel.c: the conversation with the launcher. */
long channel_say(enum wire_said said, uint32_t step, int value, int pass_fd);
long channel_wait(void); /* 0 when told to go on; an error when the launcher is gone */
void channel_filtered(int by_sendmmsg); /* from here on the fewest system calls */
long channel_move(int above); /* to a descriptor of at least that number */

/* files.c: lookups inside the root that `slot` holds. */
long open_inside(unsigned long long slot, const char *path, uint64_t flags, uint64_t resolve);
long make_directories(unsigned long long slot, char *path, size_t length, unsigned mode);
long make_file(unsigned long long slot, struct text path); /* an empty one, where its last link points */
long open_parent(unsigned long long slot, struct text *path, char **name);

#endif
