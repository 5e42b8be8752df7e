/*
 * What Python and the helper say to each other.
 *
 * Python decides everything and writes it down as a plan: a header, then steps, each a fixed head followed by its
 * strings. The helper carries the steps out in order. Numbers are in host byte order: both ends are one machine.
 *
 * A string is a 32-bit length, that many bytes, a NUL, and padding to a multiple of 4. The NUL is not counted; it is
 * there so that a checked string can be given to the kernel as it stands.
 */
#ifndef OCIKIT_WIRE_H
#define OCIKIT_WIRE_H

#define WIRE_MAGIC 0x4b49434fU /* "OCIK" */
#define WIRE_VERSION 3U
#define WIRE_ARGS 5
#define WIRE_SLOTS 1024
#define WIRE_NO_SLOT 0xffffffffffffffffULL

/* Descriptors that the helper starts with, after the three of standard input and output. What the caller passes
 * beyond them goes into the slot of its number: descriptor 5 is slot 0. There may be gaps. */
#define WIRE_FD_PLAN 3
#define WIRE_FD_CHANNEL 4
#define WIRE_FD_FIRST_SLOT 5
#define WIRE_PASSED 256 /* slots that can be filled so; the others are filled by steps */

struct wire_plan {
	unsigned int magic;
	unsigned int version;
	unsigned int steps;
	unsigned int length; /* of the whole plan, this head included */
	unsigned int passed; /* slots from 0 up to here that may have been filled by the launcher */
	unsigned int zero;
};

struct wire_step {
	unsigned int length; /* of the step with its strings: a multiple of 8 */
	unsigned short op;
	unsigned short strings;
	unsigned long long arg[WIRE_ARGS];
};

/* From helper or init to the launcher. */
enum wire_said {
	WIRE_SAID_PID = 1,  /* init exists: value is its pid, a pidfd of it comes along */
	WIRE_SAID_SYNC = 2, /* init waits for something that only the launcher can do: value is the tag; a descriptor may
			     * come along */
	WIRE_SAID_READY = 3, /* everything up to exec.fifo is done */
	WIRE_SAID_FAILED = 4 /* step `step` failed: value is its errno, or for HOOK what became of the hook */
};

struct wire_message {
	unsigned int said;
	unsigned int step;
	int value;
	unsigned int op; /* of the step that failed, for whoever does not know the plan */
};

/* How many bytes of words may follow a message that says FAILED. For HOOK: the name of the hook, a NUL, and the end of
 * what it wrote. Whoever opens exec.fifo reads the same after the first byte, if the program is not executed. */
#define WIRE_WORDS 4000

/* What became of a hook that did not do well. */
#define WIRE_HOOK_ENDED 0x10000   /* with the status of waitpid(2) added to this */
#define WIRE_HOOK_LATE 0x20000    /* it was killed: its time was up */
#define WIRE_HOOK_STOPPED 0x30000 /* it was killed: the launcher said so, or is gone */

/*
 * Every step there is, with the number of strings it takes (WIRE_ANY: one or more). `arg` is named in brackets.
 * ocikit/runtime/plan/steps.py builds them, and is compared with this table by a test.
 */
#define WIRE_ANY 0xffff
#define WIRE_OPS(OP)                                                                                    \
	OP(JOIN, 0)               /* [type, slot, try]: enter a namespace and let go of it; with try, a refusal is left to the \
				     next JOIN; an empty slot was entered before */ \
	OP(JOIN_PROCESS, 0)       /* [slot, flags]: enter namespaces of the process that a pidfd in the slot refers to */ \
	OP(UNSHARE, 0)            /* [flags]: new namespaces for the caller */                                        \
	OP(CLONE, 0)              /* [flags, cgroup slot]: the child goes on as init, the caller is done */           \
	OP(CLOSE, 0)              /* [slot]: let go of a descriptor */                                                \
	OP(SYNC, 0)               /* [tag, slot]: ask the launcher for something, hand it the slot's descriptor, wait for its answer; \
				     with tag 0 only wait */ \
	OP(WRITE, 2)              /* [directory slot, resolve] path, data: write into an existing file */             \
	OP(PROCFS, 0)             /* [slot, whole]: a procfs that nobody else can reach */                            \
	OP(ROOT, 1)               /* [slot, propagation around it] path: the future root, a mount of its own */       \
	OP(FILESYSTEM, WIRE_ANY)  /* [slot, attributes, how, root slot] type, source, path if how, options…: a new file system */ \
	OP(BIND, 1)               /* [slot, how, set, clear, implied clear] source: a copy of an existing mount */    \
	OP(IDMAP, 0)              /* [slot, recursive, user namespace slot]: show a detached mount with other owners */ \
	OP(COPYUP, 1)             /* [root slot, slot, owner] path: copy what the root has at a path into a detached file system */ \
	OP(ATTACH, 1)             /* [root slot, slot, how] target: put it in its place */                            \
	OP(SETATTR, 1)            /* [directory slot, recursive, set, clear, propagation] path */                     \
	OP(PIVOT, 0)              /* [root slot, how]: make it the root, let go of the old one */                     \
	OP(MASK, 2)               /* [root slot] path, label of SELinux or nothing: nothing to see here */            \
	OP(READONLY, 1)           /* [root slot] path */                                                              \
	OP(NODE, 1)               /* [root slot, mode, device, uid, gid] path: a device or fifo */                    \
	OP(SYMLINK, 2)            /* [root slot, replace] text, path */                                               \
	OP(MKDIR, 1)              /* [root slot, mode] path: the directory and its parents */                         \
	OP(HOSTNAME, 1)           /* name */                                                                          \
	OP(DOMAINNAME, 1)         /* name */                                                                          \
	OP(LOOPBACK, 0)           /* bring the interface lo up */                                                     \
	OP(NETLINK, 0)            /* [slot]: a socket that configures the network namespace the caller is in */       \
	OP(KEYRING, 1)            /* name: a session keyring of its own */                                            \
	OP(ENDABLE, 0)            /* end by the signals that end others, also as the first process of a pid namespace */ \
	OP(CONSOLE, 0)            /* [root slot, slot, rows << 16 | columns, uid, how]: a pseudo-terminal for standard input and output */ \
	OP(HOOK, WIRE_ANY)        /* [milliseconds, arguments, umask, directory slot, how] name, state up to the pid of whoever \
				     runs it, state after the pid or nothing, path, arguments, environment */ \
	OP(RLIMIT, 0)             /* [resource, soft, hard, raise]: with raise, no more than a hard limit that is too low */ \
	OP(LABEL, 1)              /* [slot] label: of SELinux, for the root of a detached file system */              \
	OP(IO_PRIORITY, 0)        /* [class and level] */                                                             \
	OP(AFFINITY, 1)           /* mask of CPUs */                                                                  \
	OP(PERSONALITY, 0)        /* [domain] */                                                                      \
	OP(MEMORY_POLICY, 1)      /* [mode and flags] mask of nodes */                                                \
	OP(UMASK, 0)              /* [mask] */                                                                        \
	OP(BOUND, 0)              /* [keep]: drop every other capability from the bounding set */                     \
	OP(KEEPCAPS, 0)           /* [on]: keep permitted capabilities over a change of user */                       \
	OP(GROUPS, 1)             /* [try]: with try, a refusal is nothing; packed 32-bit ids */                      \
	OP(IDS, 0)                /* [uid, gid] */                                                                    \
	OP(CAPS, 0)               /* [effective, permitted, inheritable] */                                           \
	OP(AMBIENT, 0)            /* [set] */                                                                         \
	OP(NO_NEW_PRIVS, 0)       /* give up new privileges */                                                        \
	OP(SECCOMP, 1)            /* [flags, slot, how] struct sock_filter[]: the slot gets the listener, when the flags ask for one */ \
	OP(CWD, 1)                /* [try]: with try, a refusal is left to the next CWD; path */                      \
	OP(FIND, WIRE_ANY)        /* candidates: the first one that may be executed is what EXEC executes */          \
	OP(READY, 0)              /* [on]: say so, and unless on, wait until the launcher has written the state down */ \
	OP(FIFO, 0)               /* [procfs slot, fifo slot, quiet]: wait for start; not quiet, tell who starts of failures */ \
	OP(INHERIT, 0)            /* [first slot, count]: descriptors that the program gets as 3, 4, … */             \
	OP(EXEC, WIRE_ANY)        /* [number of arguments] arguments, environment */                                  \
	OP(REMOUNT, WIRE_ANY)     /* [root slot, set, clear, implied clear, whole] path, options…: change what is mounted there */ \
	OP(UNMOUNT, 1)            /* [strict] path: of the host, in this mount namespace; unless strict, cover what stays */ \
	OP(CTTY, 0)               /* the terminal at standard input controls the session, which the caller leads */ \
	OP(OPEN, 1)               /* [slot, flags] path */                                                            \
	OP(COPY_ROOT, 1)          /* [slot] path: a copy of what is mounted at a directory */                         \
	OP(COVER, 0)              /* [slot]: put such a copy over everything, to become the root */                   \
	OP(DUMPABLE, 0)           /* [on]: whether the caller's own user may look at it, and write to it, through /proc */ \
	OP(CHROOT, 0)             /* [slot]: take a directory for the root of everything */       \
	OP(ATTEND, 0)             /* [cgroup slot]: a child goes on; the caller waits for its children, and ends as the last one does */ \
	OP(MONITOR, WIRE_ANY)     /* [first slot, how, milliseconds, bytes of a log file, log files] name of the log, \
				     what there is to do…: a child goes on; the caller stays, and sees init to its end */

enum wire_op {
#define WIRE_ENUM(name, strings) WIRE_OP_##name,
	WIRE_OPS(WIRE_ENUM)
#undef WIRE_ENUM
		WIRE_OP_COUNT
};

/* What FILESYSTEM does with its path: it has none; the new file system takes over the mode of what the root has there;
 * it is bound, read-only, when the kernel refuses the file system. */
#define WIRE_NEW_PLAIN 0U
#define WIRE_NEW_MODE_OF 1U
#define WIRE_NEW_OR_BIND 2U

/* How BIND gets its mount: with those below it; from the launcher, when the source is out of reach; from the launcher
 * in any case; by a path that is one of the root in the slot whose number is in the upper half. */
#define WIRE_BIND_RECURSIVE 1U
#define WIRE_BIND_ASK 2U
#define WIRE_BIND_OUTSIDE 4U
#define WIRE_BIND_IN_ROOT 8U
#define WIRE_SYNC_MOUNT 8 /* the tag of what it says then (steps.py: Sync.MOUNT) */

/* How PIVOT comes by the new root: by pivot_root(2), by covering the old one where that cannot be moved, or by
 * chroot(2), where it is covered already, or the mounts are those of others, too. */
#define WIRE_PIVOT_ROOT 0U
#define WIRE_PIVOT_COVER 1U
#define WIRE_PIVOT_CHROOT 2U

#define WIRE_NODE_OF_HOST 0x100000000ULL /* in the mode of NODE: none is made, that of the host is shown */

/* How ATTACH treats its target. */
#define WIRE_ATTACH_PLAIN 1U   /* no symbolic link on the way: /proc and /sys must be what they seem */
#define WIRE_ATTACH_IN_PROC 2U /* the target may lie in a procfs (files that lxcfs and the like replace) */

/* Slots of MONITOR, counted from its first one; those that are empty it does without. */
enum wire_monitor_slot {
	WIRE_MONITOR_CONTROL, /* a channel on which it hears, once, of init: the pid (an int), and its terminal if it has one */
	WIRE_MONITOR_DIRECTORY, /* of the container's state */
	WIRE_MONITOR_ROOT, /* the directory that this is in */
	WIRE_MONITOR_OWNER, /* a pidfd: when this process ends, init is killed and all removed */
	WIRE_MONITOR_STDIN, /* the end of a pipe that is written to, without waiting */
	WIRE_MONITOR_STDOUT, /* ends of pipes that are read from, likewise */
	WIRE_MONITOR_STDERR,
	WIRE_MONITOR_LISTENER, /* a socket whose clients see what is written, and write what is read */
	WIRE_MONITOR_LOG, /* the directory of the log */
	WIRE_MONITOR_SLOTS,
	WIRE_MONITOR_STARTED = WIRE_MONITOR_SLOTS /* not given: what init holds until its program is executed */
};

/* How MONITOR writes its log: objects of JSON, or the lines that Kubernetes reads. */
#define WIRE_LOG_JSON 0U
#define WIRE_LOG_CRI 1U

/* What there is to do for MONITOR, by the first byte of a string; a path follows.
 * To end the container: kill every process of a v2 cgroup (file cgroup.kill); thaw a v1 one (file freezer.state); kill
 * the processes that a file lists, until it lists none. To say how it ended: a file that counts "oom_kill". To remove it
 * when its owner is gone: a cgroup, with those below it; one above it, if there is nothing else in it; a file of the state
 * that goes last, after all that are not named; the directory of the state (a name in its root). */
#define WIRE_DO_KILL 'k'
#define WIRE_DO_THAW 't'
#define WIRE_DO_KILL_EACH 'p'
#define WIRE_DO_COUNT 'm'
#define WIRE_DO_REMOVE_CGROUP 'd'
#define WIRE_DO_REMOVE_PARENT 'a'
#define WIRE_DO_REMOVE_LAST 'u'
#define WIRE_DO_REMOVE_STATE 'x'

/* What clients of MONITOR are told, by the first byte of a packet: that they are heard, and what they can do (a byte:
 * WIRE_CLIENT_*); what was written to standard output (or to the terminal), and to standard error; that all is over. */
#define WIRE_CLIENT_HELLO 'h'
#define WIRE_CLIENT_STDOUT 'o'
#define WIRE_CLIENT_STDERR 'e'
#define WIRE_CLIENT_OVER 'x'
#define WIRE_CLIENT_CAN_WRITE 1U
#define WIRE_CLIENT_CAN_RESIZE 2U

/* What clients say: data for standard input (or what is typed); that there is no more; the size of the terminal (two
 * 16-bit numbers: rows, columns). A packet has at most WIRE_CLIENT_BYTES of data. */
#define WIRE_CLIENT_INPUT 'i'
#define WIRE_CLIENT_END 'c'
#define WIRE_CLIENT_SIZE 's'
#define WIRE_CLIENT_BYTES 8192U

#define WIRE_CONSOLE_SHOW 1U /* as /dev/console, too */

/* What can stop a hook beside its time: nothing; a word of the launcher; also that the launcher is gone. */
#define WIRE_HOOK_ALONE 0U
#define WIRE_HOOK_STOPPABLE 1U
#define WIRE_HOOK_TIED 2U
#define WIRE_HOOK_KEEP 0xffffffffffffffffULL /* the umask as it is */

/* How a descriptor leaves a process after SECCOMP: with the system call that the filter lets pass. */
#define WIRE_BY_SENDMSG 0U
#define WIRE_BY_SENDMMSG 1U

#endif
