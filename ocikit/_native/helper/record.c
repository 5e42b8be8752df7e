/*
 * The log of a container: a line of it for each line that was written, by whom and when.
 *
 * A log never keeps a container from writing: what cannot be written down is lost, and counted. A file that has become
 * too long is put aside under its name and a number, and a new one is begun.
 */
#include "monitor.h"

/* Longer lines are written down in parts. */
#define LINE 16384

static struct {
	int directory;
	const char *name;
	unsigned format;
	unsigned files;
	uint64_t most;	/* bytes of a file: it ends with the line that reaches them */
	uint64_t began; /* with how many it began */
	uint64_t lost;	/* of the files before it */
	int torn;	/* its last line is not whole */
	struct text_out out;
} record = {.directory = NO_FD, .out = {.fd = NO_FD}};

static struct {
	unsigned length;
	char bytes[LINE];
} lines[STREAMS];

static const char *const names[STREAMS] = {"stdout", "stderr"};

uint64_t log_lost(void)
{
	return record.lost + record.out.lost;
}

/* Whatever somebody has put there: nobody is waited for who might read it. */
#define NEW_FILE (O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

static void open_file(void)
{
	long fd = sys_openat(record.directory, record.name, NEW_FILE, 0600);
	long length = fd < 0 ? fd : SYS3(lseek, fd, 0, 2 /* SEEK_END */);

	record.lost += record.out.lost;
	record.out = (struct text_out){.fd = fd < 0 ? NO_FD : (int)fd, .error = fd < 0 ? fd : 0};
	record.began = length < 0 ? 0 : (uint64_t)length;
}

void log_open(int directory, const char *name, unsigned format, uint64_t most, unsigned files)
{
	record.directory = directory;
	record.name = name;
	record.format = format;
	record.most = most;
	record.files = files;
	if (directory != NO_FD)
		open_file();
}

/* The name of a file that was put aside: "log.1" is the newest of them. */
static int aside(char *into, size_t room, unsigned number)
{
	char digits[10];
	unsigned count = 0;
	size_t at = 0;

	while (record.name[at] && at < room - sizeof(digits) - 2) {
		into[at] = record.name[at];
		at++;
	}
	if (record.name[at])
		return 0;
	into[at++] = '.';
	do
		digits[count++] = (char)('0' + number % 10);
	while ((number /= 10) && count < sizeof(digits));
	while (count > 0)
		into[at++] = digits[--count];
	into[at] = '\0';
	return 1;
}

static void rotate(void)
{
	char from[280];
	char to[280];

	sys_close(record.out.fd);
	for (unsigned number = record.files - 1; number > 0; number--) {
		const char *source = number > 1 ? from : record.name;

		if ((number > 1 && !aside(from, sizeof(from), number - 1)) || !aside(to, sizeof(to), number))
			break;
		SYS4(renameat, record.directory, source, record.directory, to);
	}
	/* With one file alone, what was in it is given up. */
	if (record.files <= 1)
		SYS3(unlinkat, record.directory, record.name, 0);
	open_file();
}

/* The length of the UTF-8 character that begins here; 0 when none does. */
static unsigned character(const unsigned char *at, size_t left)
{
	unsigned length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;

	if (length == 0 || length > left)
		return 0;
	for (unsigned i = 1; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than need be, half of a pair, or beyond the last one. */
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f))
		return 0;
	if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}

static void out_escaped(struct text_out *out, const char *prefix, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";
	char digits[2] = {hex[byte >> 4], hex[byte & 15]};

	out_text(out, prefix);
	out_bytes(out, digits, 2);
}

/* A string of JSON. A byte that is no text becomes a lone half of a pair, U+DC80 to U+DCFF, from which a reader makes the
 * byte again: nothing that a program has written is lost. */
static void out_json(struct text_out *out, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length;) {
		const unsigned char *at = (const unsigned char *)bytes + i;
		unsigned count = character(at, length - i);

		if (count == 0)
			out_escaped(out, "\\udc", *at);
		else if (*at < 0x20 || *at == 0x7f)
			out_escaped(out, "\\u00", *at);
		else if (*at == '"' || *at == '\\')
			out_text(out, *at == '"' ? "\\\"" : "\\\\");
		else
			out_bytes(out, bytes + i, count);
		i += count ? count : 1;
	}
}

static void write_json(unsigned stream, const struct moment *now, size_t length, int ended)
{
	struct text_out *out = &record.out;

	out_text(out, "{\"log\":\"");
	out_json(out, lines[stream].bytes, length);
	out_text(out, ended ? "\\n\",\"stream\":\"" : "\",\"stream\":\"");
	out_text(out, names[stream]);
	out_text(out, "\",\"time\":\"");
	out_time(out, now);
	out_text(out, "\"}\n");
}

static void write_cri(unsigned stream, const struct moment *now, size_t length, int ended)
{
	struct text_out *out = &record.out;

	out_time(out, now);
	out_text(out, " ");
	out_text(out, names[stream]);
	out_text(out, ended ? " F " : " P ");
	out_bytes(out, lines[stream].bytes, length);
	out_text(out, "\n");
}

/* What was said so far reaches the file. */
static void settle(void)
{
	out_flush(&record.out);
	if (!record.out.error)
		return;
	/* There may be room again later: the next line begins on a line of its own then. */
	record.torn = 1;
	if (record.out.fd == NO_FD)
		open_file();
	else
		record.out.error = 0;
}

/* Write down the first bytes of the line, and keep the rest. */
static void write_line(unsigned stream, unsigned length, int ended)
{
	struct moment now = time_now();

	if (record.out.fd != NO_FD && record.began + record.out.written + record.out.length >= record.most) {
		settle();
		rotate();
	}
	if (record.torn)
		out_text(&record.out, "\n");
	record.torn = 0;
	if (record.format == WIRE_LOG_CRI)
		write_cri(stream, &now, length, ended);
	else
		write_json(stream, &now, length, ended);
	for (unsigned i = length; i < lines[stream].length; i++)
		lines[stream].bytes[i - length] = lines[stream].bytes[i];
	lines[stream].length -= length;
}

/* Where a line that is too long is cut: not in the middle of a character. */
static unsigned cut(unsigned stream)
{
	unsigned at = LINE;

	for (unsigned back = 0; back < 3; back++)
		if (((unsigned char)lines[stream].bytes[--at] & 0xc0) == 0xc0)
			return at;
	return LINE;
}

void log_write(unsigned stream, const char *bytes, size_t length)
{
	if (record.directory == NO_FD)
		return;
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\n') {
			write_line(stream, lines[stream].length, 1);
			continue;
		}
		if (lines[stream].length == LINE)
			write_line(stream, cut(stream), 0);
		lines[stream].bytes[lines[stream].length++] = bytes[i];
	}
	settle();
}

void log_end(unsigned stream)
{
	if (lines[stream].length > 0)
		write_line(stream, lines[stream].length, 0);
	settle();
}
