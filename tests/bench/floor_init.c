/*
 * The floor, part two: what becomes the first process of the container, without anything that decides.
 *
 * It makes the container of tests/bench/bundles.py with the system calls that ocikit's helper makes for it: the same
 * namespaces, mounts, devices, masks, rights and filter, by the same interfaces of the kernel. What only looks whether
 * all is well is left out. It reads no plan: what is always the same stands here. Without a libc, like the helper,
 * whose names for system calls it uses.
 *
 *     floor-init NAME ROOTFS FILTER FLAGS [HIERARCHY=CGROUP]… -- PROGRAM [ARGUMENT]…
 *
 * A hierarchy of cgroups is named as its directory in /sys/fs/cgroup is: "unified" beside those of version 1, and not at
 * all where there is no other.
 *
 * Descriptor 3 is the channel to floor.c, 4 is exec.fifo.
 */
#include "../../ocikit/_native/helper/sys.h"

#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <linux/sockios.h>
#include <linux/stat.h>

#include "floor.h"

#define CHANNEL 3
#define FIFO 4
#define PATH_LIMIT 4096
#define TYPE 0170000U
#define DIRECTORY 0040000U
#define CHARACTER 0020000U
#define SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define PRIVATE (1 << 18)
#define SLAVE (1 << 19)
#define DETACH 2
#define LAST_CAPABILITY 63

static int root;     /* the container's root directory */
static int own_proc; /* a procfs that the container cannot change */

void *memset(void *to, int byte, size_t length)
{
	for (char *at = to; length--; at++)
		*at = (char)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
	for (size_t at = 0; at < length; at++)
		((char *)to)[at] = ((const char *)from)[at];
	return to;
}

static size_t length_of(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other) {
		one++;
		other++;
	}
	return *one == *other;
}

/* One path of two; there is room for one at a time. */
static const char *join(const char *directory, const char *name)
{
	static char path[PATH_LIMIT];
	size_t length = length_of(directory);

	if (length + length_of(name) + 2 > sizeof(path))
		sys_exit(1);
	memcpy(path, directory, length);
	path[length] = '/';
	memcpy(path + length + 1, name, length_of(name) + 1);
	return path;
}

/* Say on standard error in which line it was, and why. */
static long checked(long result, unsigned line)
{
	char text[] = "floor-init: line 0000: errno 000\n";

	if (result >= 0)
		return result;
	for (unsigned at = 20, left = line; left; left /= 10)
		text[at--] = (char)('0' + left % 10);
	for (unsigned at = 31, left = (unsigned)-result; left; left /= 10)
		text[at--] = (char)('0' + left % 10);
	SYS3(write, 2, text, sizeof(text) - 1);
	sys_exit(1);
}

#define MUST(call) checked(call, __LINE__)

static int inside(const char *path)
{
	return (int)sys_openat2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static unsigned kind(int fd)
{
	struct statx about;

	MUST(SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &about));
	return about.stx_mode & TYPE;
}

/* A file system, detached; its options are pairs, or flags where there is no value. */
static int file_system(const char *type, uint64_t attributes, const char *const *options)
{
	long context = MUST(SYS2(fsopen, type, FSOPEN_CLOEXEC));
	long mount;

	for (; *options; options += 2)
		MUST(SYS5(fsconfig, context, options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options[0], options[1], 0));
	MUST(SYS5(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0));
	mount = MUST(SYS3(fsmount, context, FSMOUNT_CLOEXEC, attributes));
	sys_close((int)context);
	return (int)mount;
}

static void attach(int mount, const char *path)
{
	int target = (int)MUST(inside(path));

	MUST(sys_attach(mount, target));
	sys_close(target);
}

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, 0, 0})

static void mount_new(const char *path, const char *type, uint64_t attributes, const char *const *options)
{
	int mount = file_system(type, attributes, options);

	attach(mount, path);
	sys_close(mount);
}

static void read_only(int mount)
{
	MUST(sys_mount_setattr(mount, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0));
}

static void make_directory(int parent, const char *name)
{
	MUST(SYS3(mkdirat, parent, name, 0755));
}

static void mount_devices(void)
{
	int dev;

	mount_new("/dev", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME,
		  OPTIONS("source", "tmpfs", "mode", "755", "size", "65536k"));
	dev = (int)MUST(inside("/dev"));
	make_directory(dev, "pts");
	make_directory(dev, "shm");
	make_directory(dev, "mqueue");
	sys_close(dev);
	mount_new("/dev/pts", "devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
		  OPTIONS("source", "devpts", "newinstance", 0, "ptmxmode", "0666", "mode", "0620", "gid", "5"));
	mount_new("/dev/shm", "tmpfs", SAFE, OPTIONS("source", "shm", "mode", "1777", "size", "65536k"));
	mount_new("/dev/mqueue", "mqueue", SAFE, OPTIONS("source", "mqueue"));
}

static void join_cgroup(const char *cgroup, int unified)
{
	long file = MUST(sys_open(join(cgroup, unified ? "cgroup.procs" : "tasks"), O_WRONLY));

	MUST(SYS3(write, file, "0", 1));
	sys_close((int)file);
}

static char *cgroup_of(char *entry)
{
	while (*entry && *entry != '=')
		entry++;
	if (!*entry)
		sys_exit(1);
	*entry = '\0';
	return entry + 1;
}

static void attach_cgroup(const char *cgroup, const char *path)
{
	int mount = (int)MUST(SYS3(open_tree, AT_FDCWD, cgroup, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));

	MUST(sys_mount_setattr(mount, "", AT_EMPTY_PATH, SAFE | MOUNT_ATTR_RDONLY, 0, 0));
	attach(mount, path);
	sys_close(mount);
}

static void mount_cgroups(char **entries, char **cgroups, int count)
{
	int top, directory;

	if (!*entries[0]) {
		attach_cgroup(cgroups[0], "/sys/fs/cgroup");
		return;
	}
	top = file_system("tmpfs", SAFE, OPTIONS("source", "tmpfs", "mode", "755"));
	attach(top, "/sys/fs/cgroup");
	directory = (int)MUST(inside("/sys/fs/cgroup"));
	for (int at = 0; at < count; at++) {
		if (same(entries[at], "unified"))
			continue;
		make_directory(directory, entries[at]);
		attach_cgroup(cgroups[at], join("/sys/fs/cgroup", entries[at]));
	}
	sys_close(directory);
	read_only(top);
	sys_close(top);
}

static void make_devices(void)
{
	static const struct {
		const char *name;
		unsigned number;
	} nodes[] = {{"null", 0x103}, {"zero", 0x105},    {"full", 0x107},
		     {"random", 0x108}, {"urandom", 0x109}, {"tty", 0x500}};
	static const char *const links[][2] = {
		{"/proc/self/fd", "fd"},	   {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"},      {"pts/ptmx", "ptmx"},
	};
	int dev = (int)MUST(inside("/dev"));

	for (unsigned at = 0; at < sizeof(nodes) / sizeof(*nodes); at++)
		MUST(SYS4(mknodat, dev, nodes[at].name, CHARACTER | 0666, nodes[at].number));
	for (unsigned at = 0; at < sizeof(links) / sizeof(*links); at++)
		MUST(SYS3(symlinkat, links[at][0], dev, links[at][1]));
	sys_close(dev);
}

static void protect(void)
{
	static const char *const unwritable[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
						 "/proc/sysrq-trigger"};

	for (unsigned at = 0; at < sizeof(unwritable) / sizeof(*unwritable); at++) {
		int target = inside(unwritable[at]);
		int mount;

		if (target == -E_NOENT)
			continue;
		MUST(target);
		mount = (int)MUST(SYS3(open_tree, target, "",
				       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE));
		read_only(mount);
		MUST(sys_attach(mount, target));
		sys_close(mount);
		sys_close(target);
	}
}

static void mask(void)
{
	static const char *const masked[] = {
		"/proc/acpi",	    "/proc/asound",	 "/proc/kcore",	      "/proc/keys",    "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
	};
	int empty = NO_FD;

	for (unsigned at = 0; at < sizeof(masked) / sizeof(*masked); at++) {
		int target = inside(masked[at]);
		int mount;

		if (target == -E_NOENT)
			continue;
		if (kind((int)MUST(target)) != DIRECTORY)
			mount = (int)MUST(SYS3(open_tree, AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
		else if (empty != NO_FD)
			mount = (int)MUST(SYS3(open_tree, empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
		else
			mount = empty = file_system("tmpfs", SAFE | MOUNT_ATTR_RDONLY,
						    OPTIONS("source", "tmpfs", "nr_blocks", "1", "nr_inodes", "1"));
		MUST(sys_attach(mount, target));
		if (mount != empty)
			sys_close(mount);
		sys_close(target);
	}
}

static void open_root(const char *rootfs)
{
	int directory, mount;

	MUST(sys_mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, 0, 0, SLAVE));
	directory = (int)MUST(sys_open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW));
	mount = (int)MUST(
		SYS3(open_tree, directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE));
	MUST(sys_mount_setattr(mount, "", AT_EMPTY_PATH | AT_RECURSIVE, 0, 0, SLAVE));
	MUST(sys_attach(mount, directory));
	sys_close(directory);
	root = mount;
}

static void enter_root(void)
{
	int old = (int)MUST(sys_open("/", O_PATH | O_DIRECTORY));

	MUST(SYS1(fchdir, root));
	MUST(SYS2(pivot_root, ".", "."));
	MUST(SYS1(fchdir, old));
	MUST(sys_mount_setattr(AT_FDCWD, ".", AT_RECURSIVE, 0, 0, SLAVE));
	MUST(SYS2(umount2, ".", DETACH));
	MUST(SYS1(chdir, "/"));
	read_only(root);
}

static void give_up_rights(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
	struct rlimit64 files = {.rlim_cur = 1024, .rlim_max = 1024};

	MUST(SYS4(prlimit64, 0, RLIMIT_NOFILE, &files, 0));
	SYS1(umask, 0022);
	for (unsigned capability = 0; capability <= LAST_CAPABILITY; capability++)
		if (SYS2(prctl, PR_CAPBSET_DROP, capability) < 0)
			break; /* the kernel knows no higher one */
	MUST(SYS2(setgroups, 0, 0));
	MUST(SYS3(setresgid, 0, 0, 0));
	MUST(SYS3(setresuid, 0, 0, 0));
	MUST(SYS2(capset, &head, none));
	MUST(SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	MUST(SYS5(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void bring_up_loopback(void)
{
	struct ifreq interface = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	long fd = MUST(SYS3(socket, 1 /* AF_UNIX */, 2 | O_CLOEXEC /* SOCK_DGRAM */, 0));

	MUST(SYS3(ioctl, fd, SIOCSIFFLAGS, &interface));
	sys_close((int)fd);
}

static struct sock_fprog open_filter(const char *path)
{
	struct statx about;
	struct sock_fprog program;
	long fd = MUST(sys_open(path, O_RDONLY));

	MUST(SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &about));
	program.len = (unsigned short)(about.stx_size / sizeof(struct sock_filter));
	program.filter = (struct sock_filter *)MUST(
		SYS6(mmap, 0, about.stx_size, 1 /* PROT_READ */, 2 /* MAP_PRIVATE */, fd, 0));
	sys_close((int)fd);
	return program;
}

static void load_filter(const struct sock_fprog *program, unsigned flags)
{
	MUST(SYS3(seccomp, SECCOMP_SET_MODE_FILTER, flags, program));
}

/* What the helper of ocikit does before it reads its plan. */
static void begin_alone(void)
{
	uint64_t action[4] = {0, 0, 0, 0};

	MUST(SYS5(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
	MUST(SYS2(prctl, PR_SET_NAME, "floor:init"));
	for (int signal = 1; signal <= 64; signal++)
		SYS4(rt_sigaction, signal, action, 0, sizeof(uint64_t));
	MUST(SYS4(rt_sigprocmask, SIG_SETMASK, action, 0, sizeof(uint64_t)));
	SYS1(setsid, 0);
	SYS1(umask, 0);
	MUST(SYS3(close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC));
}

/* The parent says who its child is, and is gone; the child becomes one of floor.c. */
static void make_child(uint64_t flags)
{
	int pidfd = NO_FD;
	struct clone_args how = {.flags = flags | CLONE_PARENT | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd};
	struct {
		size_t length;
		int level, type, fd, padding;
	} control = {.length = 20, .level = 1 /* SOL_SOCKET */, .type = 1 /* SCM_RIGHTS */};
	struct {
		void *name;
		size_t name_length;
		struct iovec *parts;
		size_t part_count;
		void *control;
		size_t control_length;
		size_t flags;
	} message = {.part_count = 1, .control = &control, .control_length = sizeof(control)};
	int pid = (int)MUST(SYS2(clone3, &how, sizeof(how)));
	struct iovec part = {.iov_base = &pid, .iov_len = sizeof(pid)};

	if (pid == 0) {
		SYS1(setsid, 0);
		return;
	}
	control.fd = pidfd;
	message.parts = &part;
	MUST(SYS3(sendmsg, CHANNEL, &message, 0));
	sys_exit(0);
}

static _Noreturn void run(char **program)
{
	static const char *const environment[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", 0};
	char word = 'r';
	long fifo;

	MUST(SYS3(write, CHANNEL, &word, 1));
	MUST(SYS3(read, CHANNEL, &word, 1));
	fifo = MUST(SYS4(openat, own_proc, "self/fd/4", O_WRONLY | O_CLOEXEC, 0));
	MUST(SYS3(write, fifo, "0", 1));
	MUST(SYS3(execve, program[0], program, environment));
	sys_exit(1);
}

__attribute__((used)) static _Noreturn void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **entries = arguments + 5;
	char *cgroups[FLOOR_HIERARCHIES];
	struct sock_fprog filter;
	int count = 0;

	for (; !same(entries[count], "--"); count++)
		if (count == FLOOR_HIERARCHIES)
			sys_exit(1);
		else
			cgroups[count] = cgroup_of(entries[count]);
	begin_alone();
	make_child(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET);
	for (int at = 0; at < count; at++)
		join_cgroup(cgroups[at], !*entries[at] || same(entries[at], "unified"));
	MUST(SYS2(keyctl, KEYCTL_JOIN_SESSION_KEYRING, arguments[1]));
	own_proc = file_system("proc", SAFE, OPTIONS("subset", "pid"));
	bring_up_loopback();
	MUST(SYS2(sethostname, "runc", 4));
	open_root(arguments[2]);
	mount_new("/proc", "proc", 0, OPTIONS("source", "proc"));
	mount_devices();
	mount_new("/sys", "sysfs", SAFE | MOUNT_ATTR_RDONLY, OPTIONS("source", "sysfs"));
	mount_cgroups(entries, cgroups, count);
	make_devices();
	protect();
	mask();
	filter = open_filter(arguments[3]);
	enter_root();
	give_up_rights();
	load_filter(&filter, (unsigned)(arguments[4][0] - '0'));
	run(entries + count + 1);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n\thlt\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tb begin\n");
#endif
