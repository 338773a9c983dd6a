/* Faults of the machine for one process: a disk that is slow, or full, and a clock that jumps.

   Loaded before a program (LD_PRELOAD), it stands between it and the C library. How things are is in the 24 bytes of the
   file that DUCKHERDER_FAULTS names, and may change at any time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
    /* Before whatever is written to, read from or synced with a file. */
    int64_t disk_delay_us;
    /* What the wall clock is ahead. */
    int64_t clock_ahead_us;
    /* Not 0: whatever is written to a file finds no room. */
    int64_t disk_full;
};

static const volatile struct faults *faults;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DUCKHERDER_FAULTS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *map = mmap(NULL, sizeof(struct faults), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED)
        faults = map;
}

static int is_file(int file) {
    struct stat status;
    int before = errno;
    int found = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    errno = before;
    return found;
}

static void wait_for_disk(int file) {
    int64_t us = faults ? faults->disk_delay_us : 0;
    if (us <= 0 || !is_file(file))
        return;
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    int before = errno;
    while (nanosleep(&left, &left) != 0) {
    }
    errno = before;
}

static int no_room(int file) {
    if (!faults || !faults->disk_full || !is_file(file))
        return 0;
    errno = ENOSPC;
    return 1;
}

#define NEXT(name)                                                                                                     \
    static __typeof__(&name) next;                                                                                     \
    if (!next)                                                                                                         \
        next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

#define READS(name, parameters, ...)                                                                                   \
    ssize_t name parameters {                                                                                          \
        NEXT(name)                                                                                                     \
        wait_for_disk(file);                                                                                           \
        return next(__VA_ARGS__);                                                                                      \
    }
#define WRITES(type, name, parameters, ...)                                                                            \
    type name parameters {                                                                                             \
        NEXT(name)                                                                                                     \
        wait_for_disk(file);                                                                                           \
        if (no_room(file))                                                                                             \
            return -1;                                                                                                 \
        return next(__VA_ARGS__);                                                                                      \
    }
#define SYNCS(name)                                                                                                    \
    int name(int file) {                                                                                               \
        NEXT(name)                                                                                                     \
        wait_for_disk(file);                                                                                           \
        return next(file);                                                                                             \
    }

READS(read, (int file, void *data, size_t size), file, data, size)
READS(pread, (int file, void *data, size_t size, off_t at), file, data, size, at)
READS(pread64, (int file, void *data, size_t size, off64_t at), file, data, size, at)
READS(readv, (int file, const struct iovec *parts, int count), file, parts, count)
READS(preadv, (int file, const struct iovec *parts, int count, off_t at), file, parts, count, at)
READS(preadv64, (int file, const struct iovec *parts, int count, off64_t at), file, parts, count, at)
WRITES(ssize_t, write, (int file, const void *data, size_t size), file, data, size)
WRITES(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), file, data, size, at)
WRITES(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), file, data, size, at)
WRITES(ssize_t, writev, (int file, const struct iovec *parts, int count), file, parts, count)
WRITES(ssize_t, pwritev, (int file, const struct iovec *parts, int count, off_t at), file, parts, count, at)
WRITES(ssize_t, pwritev64, (int file, const struct iovec *parts, int count, off64_t at), file, parts, count, at)
WRITES(ssize_t, sendfile, (int file, int from, off_t *at, size_t size), file, from, at, size)
WRITES(ssize_t, sendfile64, (int file, int from, off64_t *at, size_t size), file, from, at, size)
WRITES(ssize_t, copy_file_range, (int from, off64_t *at, int file, off64_t *to, size_t size, unsigned flags), from, at,
       file, to, size, flags)
WRITES(int, fallocate, (int file, int mode, off_t at, off_t size), file, mode, at, size)
WRITES(int, fallocate64, (int file, int mode, off64_t at, off64_t size), file, mode, at, size)
SYNCS(fsync)
SYNCS(fdatasync)

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime)
    int result = next(clock, now);
    int64_t us = faults ? faults->clock_ahead_us : 0;
    if (result == 0 && us != 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t since = (int64_t)now->tv_sec * 1000000 + now->tv_nsec / 1000 + us;
        now->tv_sec = since / 1000000;
        now->tv_nsec = since % 1000000 * 1000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}
