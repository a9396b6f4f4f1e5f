/* A clock of its own for chronyd, preloaded: it starts VIRTUAL_CLOCK_S seconds off and is slewed and stepped like a real one.
 * The kernel's clock is never touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

static double offset_ns;
static double counted_ns;
static struct timex state;

static int real_time(clockid_t id, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(id, now);
}

/* Let the clock run on at the rate that was set. */
static void run_on(void)
{
    struct timespec now;
    real_time(CLOCK_MONOTONIC, &now);
    double monotonic_ns = now.tv_sec * 1e9 + now.tv_nsec;
    double ppm = (state.tick - 10000) * 100.0 + state.freq / 65536.0;
    if (counted_ns > 0)
        offset_ns += (monotonic_ns - counted_ns) * ppm / 1e6;
    counted_ns = monotonic_ns;
}

__attribute__((constructor)) static void start(void)
{
    const char *given = getenv("VIRTUAL_CLOCK_S");
    offset_ns = given ? atof(given) * 1e9 : 0;
    state.tick = 10000;
    state.tolerance = 32768000;
    state.precision = 1;
    state.status = STA_PLL | STA_UNSYNC;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int result = real_time(id, now);
    if (result == 0 && id == CLOCK_REALTIME) {
        run_on();
        long long all = now->tv_sec * 1000000000LL + now->tv_nsec + (long long)offset_ns;
        now->tv_sec = all / 1000000000LL;
        now->tv_nsec = all % 1000000000LL;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}

int clock_settime(clockid_t id, const struct timespec *wanted)
{
    struct timespec now;
    if (id != CLOCK_REALTIME) {
        errno = EINVAL;
        return -1;
    }
    clock_gettime(id, &now);
    offset_ns += (wanted->tv_sec - now.tv_sec) * 1e9 + wanted->tv_nsec - now.tv_nsec;
    return 0;
}

int settimeofday(const struct timeval *wanted, const struct timezone *zone)
{
    struct timespec precise = {wanted->tv_sec, wanted->tv_usec * 1000};
    (void)zone;
    return clock_settime(CLOCK_REALTIME, &precise);
}

int adjtimex(struct timex *asked)
{
    unsigned modes = asked->modes;
    run_on();
    if (modes & ADJ_SETOFFSET)
        offset_ns += asked->time.tv_sec * 1e9 + asked->time.tv_usec * ((modes & ADJ_NANO) ? 1.0 : 1000.0);
    if (modes & ADJ_FREQUENCY)
        state.freq = asked->freq;
    if (modes & ADJ_TICK)
        state.tick = asked->tick;
    if (modes & ADJ_STATUS)
        state.status = asked->status;
    *asked = state;
    asked->modes = modes;
    return TIME_OK;
}

int ntp_adjtime(struct timex *asked)
{
    return adjtimex(asked);
}

int clock_adjtime(clockid_t id, struct timex *asked)
{
    (void)id;
    return adjtimex(asked);
}

/* The kernel would stamp packets by its own clock. */
int setsockopt(int socket, int level, int name, const void *value, socklen_t length)
{
    static int (*real)(int, int, int, const void *, socklen_t);
    if (!real)
        real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    if (level == SOL_SOCKET && (name == SO_TIMESTAMP || name == SO_TIMESTAMPNS || name == SO_TIMESTAMPING)) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return real(socket, level, name, value, length);
}
