/* What each step does. One function per WIRE_OP_*: 0, or a negated errno. */
#ifndef OCIKIT_STEPS_H
#define OCIKIT_STEPS_H

#include "plan.h"

struct statx;

#define STEP_DECLARE(name, strings) long step_##name(struct step *step);
WIRE_OPS(STEP_DECLARE)
#undef STEP_DECLARE

/* channel.c: the conversation with the launcher. */
long channel_say(enum wire_said said, uint32_t step, int value, int pass_fd);
long channel_wait(void); /* 0 when told to go on; an error when the launcher is gone */
void channel_filtered(int by_sendmmsg); /* from here on the fewest system calls */
long channel_move(int above); /* to a descriptor of at least that number */
int channel_fd(void);
long channel_take(void); /* a descriptor that comes with the word to go on */
long channel_hear(int from, void *data, size_t size, int *fd); /* how much came, and with it perhaps a descriptor */

/* failure.c: what is said of the step that fails. */
void failure_words(const char *words, uint32_t count); /* goes with the number, as far as there is room */
void failure_tell(uint32_t step, unsigned op, int value);
void failure_starter(int fd);		/* is told, too; owned */
void failure_starter_above(int above);	/* to a descriptor of at least that number, or not at all */
void failure_ignore_pipes(int ignore);	/* that nobody reads any more */

/* program.c: the last strings of a step as vectors that execve takes: the arguments, then the environment. NULL when
 * there are fewer strings than arguments. */
char **vector_of(struct step *step, unsigned strings, unsigned long long arguments);

/* files.c: lookups inside the root that `slot` holds. */
long open_inside(unsigned long long slot, const char *path, uint64_t flags, uint64_t resolve);
long make_directories(unsigned long long slot, char *path, size_t length, unsigned mode);
long make_file(unsigned long long slot, struct text path); /* an empty one, where its last link points */
long open_parent(unsigned long long slot, struct text *path, char **name);

/* mounts.c: a copy of a mount, attached nowhere; what statx(2) says, with the id of the mount. */
long clone_mount(int directory, const char *path, unsigned flags);
long about_fd(int fd, struct statx *about);
int is_directory(const struct statx *about);

/* devices.c: a mount of the host's device, seen to be the one with these numbers. */
long clone_device(const char *path, unsigned mode, unsigned major, unsigned minor);

#endif
