#include "plan.h"

#include <linux/mman.h>
#include <linux/stat.h>

/* How many strings each step takes, from the one table. */
static const uint16_t strings_of[WIRE_OP_COUNT] = {
#define STRINGS(name, strings) [WIRE_OP_##name] = (strings),
	WIRE_OPS(STRINGS)
#undef STRINGS
};

#define PLAN_MAXIMUM (64U << 20)

static char *plan;
static int slots[WIRE_SLOTS];

static uint32_t padded(uint32_t length)
{
	return (length + 1 + 3) & ~3U; /* the NUL, then up to a multiple of 4 */
}

/* Do the strings of a step lie inside it, each with its NUL? */
static int strings_fit(const struct wire_step *head)
{
	const char *at = (const char *)(head + 1);
	const char *end = (const char *)head + head->length;

	for (unsigned i = 0; i < head->strings; i++) {
		uint32_t length;

		if (end - at < (long)sizeof(length))
			return 0;
		length = *(const uint32_t *)at;
		at += sizeof(length);
		if (length >= PLAN_MAXIMUM || end - at < (long)padded(length) || at[length] != '\0')
			return 0;
		at += padded(length);
	}
	return 1;
}

static int step_is_sound(const struct wire_step *head, uint32_t left)
{
	if (left < sizeof(*head) || head->length < sizeof(*head) || head->length > left || head->length % 8)
		return 0;
	if (head->op >= WIRE_OP_COUNT)
		return 0;
	if (strings_of[head->op] == WIRE_ANY ? head->strings == 0 : head->strings != strings_of[head->op])
		return 0;
	return strings_fit(head);
}

/* A map that is private and writable: execve wants arguments that are not const, and gets them from here. */
static long map(int fd)
{
	struct statx about;
	long result = SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &about);

	if (result < 0)
		return result;
	if (about.stx_size < sizeof(struct wire_plan) || about.stx_size > PLAN_MAXIMUM)
		return -E_PROTO;
	result = SYS6(mmap, 0, about.stx_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (result < 0 && result > -4096)
		return result;
	plan = (char *)result;
	return (long)about.stx_size;
}

long plan_open(int fd)
{
	const struct wire_plan *head;
	long length = map(fd);
	uint32_t offset = sizeof(*head);

	if (length < 0)
		return length;
	head = (const struct wire_plan *)plan;
	if (head->magic != WIRE_MAGIC || head->version != WIRE_VERSION || head->length != (uint32_t)length)
		return -E_PROTO;
	if (head->passed > WIRE_PASSED)
		return -E_PROTO;
	for (uint32_t i = 0; i < head->steps; i++) {
		const struct wire_step *step = (const struct wire_step *)(plan + offset);

		if (!step_is_sound(step, (uint32_t)length - offset))
			return -E_PROTO;
		offset += step->length;
	}
	for (int i = 0; i < WIRE_SLOTS; i++)
		slots[i] = NO_FD;
	return head->steps;
}

int plan_passed(void)
{
	return (int)((const struct wire_plan *)plan)->passed;
}

struct step plan_step(uint32_t index, uint32_t *offset)
{
	const struct wire_step *head;

	if (*offset == 0)
		*offset = sizeof(struct wire_plan);
	head = (const struct wire_step *)(plan + *offset);
	*offset += head->length;
	return (struct step){
		.arg = head->arg,
		.index = index,
		.op = head->op,
		.strings = head->strings,
		.cursor = (char *)(head + 1),
	};
}

struct text text_next(struct step *step)
{
	uint32_t length = *(uint32_t *)step->cursor;
	char *bytes = step->cursor + sizeof(length);

	step->cursor = bytes + padded(length);
	return (struct text){.bytes = bytes, .length = length};
}

long slot_set(unsigned long long slot, long fd)
{
	if (fd < 0)
		return fd;
	if (slot >= WIRE_SLOTS) {
		sys_close((int)fd);
		return -E_BADF;
	}
	slot_close(slot);
	slots[slot] = (int)fd;
	return 0;
}

void slot_close(unsigned long long slot)
{
	if (slot >= WIRE_SLOTS || slots[slot] == NO_FD)
		return;
	sys_close(slots[slot]);
	slots[slot] = NO_FD;
}

int slot_get(unsigned long long slot)
{
	if (slot == WIRE_NO_SLOT)
		return AT_FDCWD;
	return slot < WIRE_SLOTS ? slots[slot] : NO_FD;
}
