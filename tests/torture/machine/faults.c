/* Lets the n-th call that changes a file of one folder fail.

Preloaded into a program whose environment names the folder (FAULTS_FOLDER) and a control file
(FAULTS_CONTROL), which is mapped and may change at any time: see struct control. Of the first
write that fails, half reaches the file, of those that fail after it nothing. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    int countdown; /* this many calls from now on; 0: none. -1: each one fails */
    int error;     /* with this errno */
    int lasting;   /* whether all that come after it fail, too */
    char failed[116]; /* what it was: the function, and the file's path within the folder */
};

static struct control *control;
static char folder[4096];

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_CONTROL");
    const char *where = getenv("FAULTS_FOLDER");
    if (!path || !where) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) abort();
    snprintf(folder, sizeof folder, "%s", where);
    control = map;
    unsetenv("LD_PRELOAD"); /* what this program starts is left alone */
}

static int within(const char *path) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

enum { DONE, BY_HALVES, NOT_AT_ALL };

/* How much is to be done of this call, which is one of ours. */
static int fails(const char *function, const char *path) {
    int left = __atomic_load_n(&control->countdown, __ATOMIC_SEQ_CST);
    if (left == 0) return DONE;
    errno = control->error;
    if (left < 0) return NOT_AT_ALL;
    if (__atomic_sub_fetch(&control->countdown, 1, __ATOMIC_SEQ_CST) > 0) return DONE;
    path += strlen(folder);
    snprintf(control->failed, sizeof control->failed, "%s %s", function, *path ? path + 1 : ".");
    if (control->lasting) control->countdown = -1;
    return BY_HALVES;
}

static int path_fails(const char *function, const char *path) {
    return control && within(path) && fails(function, path);
}

static int file_fails(const char *function, int file) {
    char link[64], path[4096];
    if (!control) return DONE;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return DONE;
    path[length] = 0;
    return within(path) ? fails(function, path) : DONE;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = mode_of(flags, rest);                     \
        va_end(rest);                                           \
        if (path_fails(#name, path)) return -1;                 \
        return REAL(name)(path, flags, mode);                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                            \
    int name(int at, const char *path, int flags, ...) {        \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = mode_of(flags, rest);                     \
        va_end(rest);                                           \
        if (path_fails(#name, path)) return -1;                 \
        return REAL(name)(at, path, flags, mode);               \
    }
OPENAT(openat)
OPENAT(openat64)

#define SYNC(name) \
    int name(int file) { return file_fails(#name, file) ? -1 : REAL(name)(file); }
SYNC(fsync)
SYNC(fdatasync)

/* Do the call, with all of `count`, half of it, or none. */
#define WRITTEN(name, count, call)                   \
    switch (file_fails(#name, file)) {               \
    case BY_HALVES:                                  \
        count /= 2;                                  \
        if (call < 0) return -1;                     \
        errno = control->error;                      \
        return -1;                                   \
    case NOT_AT_ALL:                                 \
        return -1;                                   \
    }                                                \
    return call;

ssize_t write(int file, const void *bytes, size_t count) {
    WRITTEN(write, count, REAL(write)(file, bytes, count))
}

#define PWRITE(name, offset_type)                                                      \
    ssize_t name(int file, const void *bytes, size_t count, offset_type offset) {      \
        WRITTEN(name, count, REAL(name)(file, bytes, count, offset))                   \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset_type)                                                     \
    ssize_t name(int file, const struct iovec *parts, int count, offset_type offset) { \
        WRITTEN(name, count, REAL(name)(file, parts, count, offset))                   \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define CUT(name, offset_type)                             \
    int name(int file, offset_type length) {               \
        if (file_fails(#name, file)) return -1;            \
        return REAL(name)(file, length);                   \
    }
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)

int unlink(const char *path) { return path_fails("unlink", path) ? -1 : REAL(unlink)(path); }

int unlinkat(int at, const char *path, int flags) {
    return path_fails("unlinkat", path) ? -1 : REAL(unlinkat)(at, path, flags);
}

int rename(const char *old, const char *new) {
    return path_fails("rename", new) ? -1 : REAL(rename)(old, new);
}

int mkdir(const char *path, mode_t mode) {
    return path_fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode);
}
