/*
 * System calls, without a libc.
 *
 * The helper runs between clone and exec, where malloc, locale, stdio and thread-local storage have no business; it
 * is started for every container, so a dynamic loader has none either. What remains of a libc is this file.
 *
 * Every function returns what the kernel returns: a result, or a negated errno.
 */
#ifndef OCIKIT_SYS_H
#define OCIKIT_SYS_H

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
static inline long sys6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long sys6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "ocikit's helper knows the system call conventions of x86_64 and aarch64 only"
#endif

#define ARG(x) ((long)(x))
#define SYS1(n, a) sys6(__NR_##n, ARG(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) sys6(__NR_##n, ARG(a), ARG(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) sys6(__NR_##n, ARG(a), ARG(b), ARG(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) sys6(__NR_##n, ARG(a), ARG(b), ARG(c), ARG(d), 0, 0)
#define SYS5(n, a, b, c, d, e) sys6(__NR_##n, ARG(a), ARG(b), ARG(c), ARG(d), ARG(e), 0)
#define SYS6(n, a, b, c, d, e, f) sys6(__NR_##n, ARG(a), ARG(b), ARG(c), ARG(d), ARG(e), ARG(f))

/* Error numbers that the helper itself compares or returns; the same on every architecture it knows. */
#define E_PERM 1
#define E_NOENT 2
#define E_INTR 4
#define E_IO 5
#define E_NXIO 6
#define E_2BIG 7
#define E_BADF 9
#define E_AGAIN 11
#define E_ACCES 13
#define E_BUSY 16
#define E_EXIST 17
#define E_XDEV 18
#define E_NODEV 19
#define E_NOTDIR 20
#define E_ISDIR 21
#define E_INVAL 22
#define E_PIPE 32
#define E_NOSYS 38
#define E_NAMETOOLONG 36
#define E_LOOP 40
#define E_PROTO 71
#define E_OPNOTSUPP 95
#define E_CONNRESET 104

#define NO_FD (-1)

/* main.c: the compiler asks for the first two whatever the program does. */
void *memset(void *to, int byte, size_t length);
void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);

static inline long sys_close(int fd)
{
	return SYS1(close, fd);
}

static inline long sys_open(const char *path, int flags)
{
	return SYS4(openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

static inline long sys_openat(int directory, const char *path, int flags, int mode)
{
	return SYS4(openat, directory, path, flags | O_CLOEXEC, mode);
}

/*
 * A lookup that goes up ("..") while somebody, anywhere on the machine, renames or mounts gives EAGAIN; it says nothing
 * about the path. Who renames all the time must not keep containers from being made: it is tried for some seconds.
 */
#define LOOKUPS_AT_ONCE 64
#define LOOKUPS 2000

static inline long sys_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .mode = 0, .resolve = resolve};
	long long millisecond[2] = {0, 1000000}; /* the kernel's timespec */
	long fd = -E_AGAIN;

	for (int tries = 0; fd == -E_AGAIN && tries < LOOKUPS; tries++) {
		if (tries >= LOOKUPS_AT_ONCE)
			SYS2(nanosleep, millisecond, 0);
		fd = SYS4(openat2, directory, path, &how, sizeof(how));
	}
	return fd;
}

static inline long sys_mount_setattr(int directory, const char *path, unsigned flags, uint64_t set, uint64_t clear,
				     uint64_t propagation)
{
	struct mount_attr attributes = {.attr_set = set, .attr_clr = clear, .propagation = propagation};

	if (!set && !clear && !propagation)
		return 0;
	return SYS5(mount_setattr, directory, path, flags, &attributes, sizeof(attributes));
}

/* Detached mounts go where an open descriptor points, never where a path does. */
static inline long sys_attach(int mount, int target)
{
	return SYS5(move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* A seccomp filter may refuse even this. An instruction that nobody can carry out ends the first process of a pid
 * namespace, too: what the kernel raises by force it is not spared. */
static inline _Noreturn void sys_exit(int code)
{
	SYS1(exit_group, code);
	__builtin_trap();
}

#endif
