/* What Python sees of the C. Every function returns a result, or a negated errno. */

/* openat2(2): a lookup that cannot leave `directory` (RESOLVE_*). */
int ocikit_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/* Which namespaces a process is in, by its directory /proc/PID/ns: the numbers of the inodes that `count` names in there
 * stand for, each with a NUL at its end; 0 where there is none. */
int ocikit_namespaces(const char *directory, const char *names, unsigned int count, uint64_t *found);

/* What the calling thread may do: masks of the capabilities in effect, and of those that it could pass on (permitted, and
 * in its bounding set). */
int ocikit_capabilities(uint64_t *effective, uint64_t *passable);

/* A memory file with some content, closed by execve; a program is sealed against every change. */
int ocikit_memory_file(const char *name, const void *data, size_t length, int program);

/* The wait status of a process that somebody else has reaped already, by way of a pidfd that was open when it ended.
 * 1: `status` is set. 0: it has not ended, or the kernel does not keep it (before 6.15). */
int ocikit_pidfd_exit(int pidfd, int *status);

/* Start the program in `executable` with the descriptors fds[0 … count-1] as its 0 … count-1 and no other; where there
 * is -1 instead of a descriptor, it gets none.
 * The caller is suspended until the program has been executed, its memory is neither copied nor touched.
 * *pid and *pidfd are set as soon as there is a process, also when the call ends with an error. */
int ocikit_spawn(int executable, const int *fds, int count, int *pid, int *pidfd);

/* Make a channel: what is said at one end of it is heard at the other, message by message. */
int ocikit_channel(int *ours, int *theirs);

/* Say `length` bytes to whoever is at the other end of a channel, together with a copy of `fd` unless it is -1; `wait`
 * for room if there is none. */
int ocikit_say(int channel, const void *word, unsigned int length, int fd, int wait);

/* Read one message of the helper (wire.h) from a channel that has one; a descriptor that comes with it goes to *fd, and
 * words go to `words`, where there is room for *count of them; *count is how many there were.
 * 1: there was a message. 0: the other end is closed. */
int ocikit_receive(int channel, unsigned int *said, unsigned int *step, int *value, int *fd, char *words,
		   unsigned int *count);

/* Let a program of BPF_PROG_TYPE_CGROUP_DEVICE, `count` instructions of 8 bytes, decide over devices in a v2 cgroup, in
 * place of those that were attached to it before. It goes away with the cgroup. */
int ocikit_device_filter(int cgroup, const void *instructions, unsigned int count);

/* Schedule a process as `attributes` say (struct sched_attr, its size in its first word). */
int ocikit_schedule(int pid, const void *attributes);

/* A descriptor that is readable when something in a directory was written, made, renamed or removed (inotify(7)). */
int ocikit_watch(const char *directory);

/* The bytes of the static helper. */
const char *ocikit_helper(void);
size_t ocikit_helper_length(void);

/* The table of steps in wire.h: the name and the number of strings of each, NULL beyond the last. */
const char *ocikit_op_name(int op);
int ocikit_op_strings(int op);
