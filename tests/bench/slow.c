/* Slow storage. Preloaded into tgtd: reads of files whose name ends in .slow take 2 ms each, any
   number of them at once. Preloaded into a service with SLOW_SYNC in its environment: each fsync
   takes so many microseconds more. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 4096 };

static char slow[FILES];
static int (*real_open)(const char *, int);
static ssize_t (*real_pread)(int, void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static long more_for_sync;

__attribute__((constructor)) static void start(void) {
    *(void **)&real_open = dlsym(RTLD_NEXT, "__open_2");
    *(void **)&real_pread = dlsym(RTLD_NEXT, "pread64");
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *more = getenv("SLOW_SYNC");
    more_for_sync = more ? atol(more) : 0;
}

static void pause_for(long microseconds) {
    struct timespec wait = {0, microseconds * 1000};
    nanosleep(&wait, NULL);
}

int fsync(int file) {
    if (more_for_sync)
        pause_for(more_for_sync);
    return real_fsync(file);
}

int fdatasync(int file) {
    if (more_for_sync)
        pause_for(more_for_sync);
    return real_fdatasync(file);
}

/* What open() of two arguments is when tgtd is built with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags) {
    int file = real_open(path, flags);
    size_t length = strlen(path);
    if (file >= 0 && file < FILES)
        slow[file] = length > 5 && !strcmp(path + length - 5, ".slow");
    return file;
}

ssize_t pread64(int file, void *data, size_t length, off64_t offset) {
    if (file >= 0 && file < FILES && slow[file])
        pause_for(2000);
    return real_pread(file, data, length, offset);
}
