/* Loaded with LD_PRELOAD: writes down every change to the files under $SHIM_ROOT, in order, so that
 * a test can rebuild the disk as it was at any moment; and lets a test make the disk fail.
 *
 * Trace ($SHIM_TRACE), one record an operation, numbers in native byte order:
 *   u8 kind, i32 fd, i64 a, i64 b, u32 length of path, path, u32 length of data, data
 *   'O' open (a = created)  'W' write (a = offset)  'T' truncate (a = length)  'S' sync  'C' close
 *   'R' rename (data = new path)  'U' unlink  'M' mkdir  'D' rmdir
 *
 * Failing ($SHIM_CONTROL, a file that the test writes while the process runs):
 *   "eio"    every sync answers EIO       "enospc"  every write answers ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FDS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char tracked[FDS];
static const char *root, *control;
static int trace = -1;

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_close)(int);
static int (*real_rename)(const char *, const char *), (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t), (*real_rmdir)(const char *);
static int (*real_unlinkat)(int, const char *, int);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_close = dlsym(RTLD_NEXT, "close");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_rmdir = dlsym(RTLD_NEXT, "rmdir");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
    root = getenv("SHIM_ROOT");
    control = getenv("SHIM_CONTROL");
    const char *path = getenv("SHIM_TRACE");
    if (path) trace = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int ours(const char *path) { return root && !strncmp(path, root, strlen(root)); }
static int ours_fd(int fd) { return fd >= 0 && fd < FDS && tracked[fd]; }

static int failing(const char *what) {
    char word[16] = "";
    if (!control) return 0;
    int fd = real_open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t size = read(fd, word, sizeof word - 1);
    real_close(fd);
    return size > 0 && !strncmp(word, what, strlen(what));
}

static void note(char kind, int fd, int64_t a, int64_t b, const char *path, const void *data,
                 uint32_t size) {
    if (trace < 0) return;
    uint32_t length = path ? strlen(path) : 0;
    char *record = malloc(1 + 4 + 8 + 8 + 4 + length + 4 + size), *at = record;
    *at++ = kind;
    memcpy(at, &fd, 4), at += 4;
    memcpy(at, &a, 8), at += 8;
    memcpy(at, &b, 8), at += 8;
    memcpy(at, &length, 4), at += 4;
    memcpy(at, path ? path : "", length), at += length;
    memcpy(at, &size, 4), at += 4;
    if (size) memcpy(at, data, size), at += size;
    if (real_write(trace, record, at - record) != at - record) abort();
    free(record);
}

static int opened(const char *path, int flags, mode_t mode) {
    struct stat before;
    if (!ours(path)) return real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    int created = stat(path, &before) != 0;
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        tracked[fd] = 1;
        note('O', fd, created, 0, path, NULL, 0);
        if (flags & O_TRUNC) note('T', fd, 0, 0, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name, ...)                                      \
    int name(__VA_ARGS__ const char *path, int flags, ...) { \
        mode_t mode = 0;                                     \
        if (flags & (O_CREAT | O_TMPFILE)) {                 \
            va_list rest;                                    \
            va_start(rest, flags);                           \
            mode = va_arg(rest, int);                        \
            va_end(rest);                                    \
        }                                                    \
        return opened(path, flags, mode);                    \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (ours_fd(fd)) {
        tracked[fd] = 0;
        note('C', fd, 0, 0, NULL, NULL, 0);
    }
    int result = real_close(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!ours_fd(fd)) return real_write(fd, data, size);
    if (failing("enospc")) return errno = ENOSPC, -1;
    pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t result = real_write(fd, data, size);
    if (result > 0) note('W', fd, offset, 0, NULL, data, result);
    pthread_mutex_unlock(&lock);
    return result;
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset) {
    if (!ours_fd(fd)) return real_pwrite(fd, data, size, offset);
    if (failing("enospc")) return errno = ENOSPC, -1;
    pthread_mutex_lock(&lock);
    ssize_t result = real_pwrite(fd, data, size, offset);
    if (result > 0) note('W', fd, offset, 0, NULL, data, result);
    pthread_mutex_unlock(&lock);
    return result;
}
ssize_t pwrite(int fd, const void *d, size_t n, off_t at) { return written(fd, d, n, at); }
ssize_t pwrite64(int fd, const void *d, size_t n, off64_t at) { return written(fd, d, n, at); }

static int truncated(int fd, off_t size) {
    if (!ours_fd(fd)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int result = real_ftruncate(fd, size);
    if (!result) note('T', fd, size, 0, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size); }

static int synced(int fd, int (*real)(int)) {
    if (!ours_fd(fd)) return real(fd);
    if (failing("eio")) return errno = EIO, -1;
    pthread_mutex_lock(&lock);
    int result = real(fd);
    if (!result) note('S', fd, 0, 0, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int rename(const char *old, const char *new) {
    pthread_mutex_lock(&lock);
    int result = real_rename(old, new);
    if (!result && ours(new)) note('R', -1, 0, 0, old, new, strlen(new));
    pthread_mutex_unlock(&lock);
    return result;
}

#define ON_PATH(name, kind, extra, argument)                                  \
    int name(const char *path extra) {                                        \
        pthread_mutex_lock(&lock);                                            \
        int result = real_##name(path argument);                              \
        if (!result && ours(path)) note(kind, -1, 0, 0, path, NULL, 0);       \
        pthread_mutex_unlock(&lock);                                          \
        return result;                                                        \
    }
#define COMMA ,
ON_PATH(unlink, 'U', , )
ON_PATH(rmdir, 'D', , )
ON_PATH(mkdir, 'M', COMMA mode_t mode, COMMA mode)

/* shutil.rmtree walks with folder descriptors */
int unlinkat(int folder, const char *name, int flags) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    pthread_mutex_lock(&lock);
    ssize_t size = folder == AT_FDCWD ? 0 : readlink(link, path, sizeof path - 512);
    int result = real_unlinkat(folder, name, flags);
    if (!result && size >= 0) {
        snprintf(path + size, sizeof path - size, size ? "/%s" : "%s", name);
        if (ours(path)) note(flags & AT_REMOVEDIR ? 'D' : 'U', -1, 0, 0, path, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}
