/* Prints the rate of this machine's time stamp counter in kHz.
 *
 * Under QEMU's TCG a guest's rdtsc returns the host's counter. The guest would measure its rate against an emulated
 * timer, which goes wrong on a busy host, and all its clocks with it; so the host measures and tells the guest
 * (kernel parameter tsc_early_khz). Of five samples the one read with the least disturbance counts.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#if !defined(__x86_64__)
/* No time stamp counter: print nothing, and the guest measures for itself. */
int main(void) { return 0; }
#else
#include <x86intrin.h>

static uint64_t nanos(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The clock, and the counter at that moment; returns the ticks the reading took. */
static uint64_t sample(uint64_t *clock, double *ticks)
{
	uint64_t before = __rdtsc();

	*clock = nanos();
	uint64_t after = __rdtsc();
	*ticks = (double)before + (double)(after - before) / 2;
	return after - before;
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	uint64_t least = UINT64_MAX;
	double khz = 0;

	for (int round = 0; round < 5; round++) {
		uint64_t clock0, clock1;
		double ticks0, ticks1;
		uint64_t error = sample(&clock0, &ticks0);

		nanosleep(&pause, NULL);
		error += sample(&clock1, &ticks1);
		if (error < least) {
			least = error;
			khz = (ticks1 - ticks0) * 1e6 / (double)(clock1 - clock0);
		}
	}
	printf("%.0f\n", khz);
	return 0;
}
#endif
