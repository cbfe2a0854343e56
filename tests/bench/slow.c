/* Storage that takes 2 ms for each read, and any number of reads at once: preloaded into tgtd, for
   files whose name ends in .slow. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 4096 };

static char slow[FILES];
static int (*real_open)(const char *, int);
static ssize_t (*real_pread)(int, void *, size_t, off64_t);

__attribute__((constructor)) static void start(void) {
    *(void **)&real_open = dlsym(RTLD_NEXT, "__open_2");
    *(void **)&real_pread = dlsym(RTLD_NEXT, "pread64");
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
    if (file >= 0 && file < FILES && slow[file]) {
        struct timespec wait = {0, 2000000};
        nanosleep(&wait, NULL);
    }
    return real_pread(file, data, length, offset);
}
