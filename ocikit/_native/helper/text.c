/* Text without a libc: what a monitor writes, and the few things it reads. */
#include "monitor.h"

#include <linux/time.h>

void out_flush(struct text_out *out)
{
	unsigned done = 0;

	while (done < out->length && !out->error) {
		long wrote = SYS3(write, out->fd, out->bytes + done, out->length - done);

		if (wrote == -E_INTR)
			continue;
		if (wrote <= 0)
			out->error = wrote ? wrote : -E_IO;
		else
			done += (unsigned)wrote;
	}
	out->written += done;
	out->lost += out->length - done;
	out->length = 0;
}

void out_bytes(struct text_out *out, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (out->length == sizeof(out->bytes))
			out_flush(out);
		out->bytes[out->length++] = bytes[i];
	}
}

void out_text(struct text_out *out, const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	out_bytes(out, text, length);
}

void out_number(struct text_out *out, uint64_t number, unsigned digits)
{
	char text[20];
	unsigned at = sizeof(text);

	do {
		text[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number && at > 0);
	while (sizeof(text) - at < digits && at > 0)
		text[--at] = '0';
	out_bytes(out, text + at, sizeof(text) - at);
}

/* The proleptic Gregorian calendar in eras of 400 years, each beginning on the first of March: the day that some years
 * have and others have not is the last one of a year then. */
#define DAYS_BEFORE_1970 719468
#define DAYS_OF_ERA 146097

void out_time(struct text_out *out, const struct moment *moment)
{
	uint64_t seconds = moment->seconds > 0 ? (uint64_t)moment->seconds : 0;
	uint64_t days = seconds / 86400 + DAYS_BEFORE_1970;
	uint64_t second = seconds % 86400;
	uint64_t of_era = days % DAYS_OF_ERA;
	uint64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	uint64_t march = (5 * of_year + 2) / 153; /* months since March */
	uint64_t month = march < 10 ? march + 3 : march - 9;

	out_number(out, days / DAYS_OF_ERA * 400 + year_of_era + (month <= 2), 4);
	out_text(out, "-");
	out_number(out, month, 2);
	out_text(out, "-");
	out_number(out, of_year - (153 * march + 2) / 5 + 1, 2);
	out_text(out, "T");
	out_number(out, second / 3600, 2);
	out_text(out, ":");
	out_number(out, second / 60 % 60, 2);
	out_text(out, ":");
	out_number(out, second % 60, 2);
	out_text(out, ".");
	out_number(out, (uint64_t)moment->nanoseconds, 9);
	out_text(out, "Z");
}

struct moment time_now(void)
{
	struct moment now = {0, 0};

	SYS2(clock_gettime, CLOCK_REALTIME, &now);
	return now;
}

int64_t time_monotonic(void)
{
	struct moment now = {0, 0};

	SYS2(clock_gettime, CLOCK_MONOTONIC, &now);
	return now.seconds * 1000 + now.nanoseconds / 1000000;
}

uint64_t number_at(const char *text)
{
	uint64_t number = 0;

	while (*text >= '0' && *text <= '9')
		number = number * 10 + (uint64_t)(*text++ - '0');
	return number;
}
