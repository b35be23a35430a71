/* Stands between a process and its file system, and goes wrong at the n-th call that changes a journal's file.
 *
 * Loaded with LD_PRELOAD and armed through shim_arm(). Only files whose path contains the given text are watched. While
 * armed, syncs are not passed on: what is written lives in the kernel's memory, which outlives a killed process; for a
 * power cut, the shim itself remembers what was not yet synced, and takes back a random part of it, sector by sector.
 *
 * After a sync that fails, the kernel may count the pages as written although the disk never got them. LOSE_SYNC keeps
 * their old content in memory shared with later children; a later POWER_CUT brings it back wherever the page has not been
 * written anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, TORN, SHORT, FAIL, SYNC_FAILS_ONCE, POWER_CUT, LOSE_SYNC };
enum { WRITE, CHANGE, SYNC };
enum { SECTOR = 512, PAGE = 4096, LOST_MAX = 4096 };

struct undo {
    struct undo *before;
    char *path;
    off_t offset, old_size;
    size_t length, old_length;
    char old[];
};

struct lost_page {
    int used;
    off_t offset;
    char path[256];
    char old[PAGE];
};

static struct lost_page *lost;
static int mode, error_number;
static long at, calls;
static unsigned long long chance;
static char needle[PATH_MAX];
static struct undo *last;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_unlink)(const char *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void find_real(void)
{
    if (real_pwrite) return;
    real_write = dlsym(RTLD_NEXT, "write");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
}

void shim_arm(const char *path_part, int new_mode, long new_at, int new_error, unsigned long long seed)
{
    find_real();
    snprintf(needle, sizeof needle, "%s", path_part);
    mode = new_mode, at = new_at, error_number = new_error, chance = seed * 2862933555777941757ULL + 3037000493ULL;
    calls = 0;
}

/* Called once, before any child is forked. */
void shim_share(void)
{
    size_t size = LOST_MAX * sizeof *lost;
    lost = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void shim_forget_lost(void)
{
    for (int i = 0; i < LOST_MAX && lost[i].used; i++) lost[i].used = 0;
}

long shim_calls(void) { return calls; }

static int coin(void)
{
    chance = chance * 6364136223846793005ULL + 1442695040888963407ULL;
    return chance >> 63;
}

static int watched(int fd, char *path)
{
    char link[64];
    if (!mode) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, needle) != NULL;
}

static void take_back(struct undo *one)
{
    static const char zeros[SECTOR];
    int fd = open(one->path, O_RDWR);
    if (fd < 0) return;
    off_t end = one->offset + (off_t)one->length;
    for (off_t start = one->offset; start < end; start = (start / SECTOR + 1) * SECTOR) {
        off_t stop = (start / SECTOR + 1) * SECTOR < end ? (start / SECTOR + 1) * SECTOR : end;
        if (!coin()) continue;
        off_t kept = one->offset + (off_t)one->old_length;
        off_t middle = kept < start ? start : kept > stop ? stop : kept;
        if (middle > start) real_pwrite(fd, one->old + (start - one->offset), middle - start, start);
        if (stop > middle) real_pwrite(fd, zeros, stop - middle, middle);
    }
    struct stat now;
    if (!fstat(fd, &now) && now.st_size > one->old_size && coin()) real_ftruncate(fd, one->old_size);
    close(fd);
}

/* Keep the content that the pages of unsynced writes had at the last sync. */
static void lose(const char *path)
{
    for (struct undo *one = last; one; one = one->before) {
        if (strcmp(one->path, path)) continue;
        off_t end = one->offset + (off_t)one->length;
        for (off_t page = one->offset / PAGE * PAGE; page < end; page += PAGE) {
            int i = 0;
            while (i < LOST_MAX - 1 && lost[i].used && (lost[i].offset != page || strcmp(lost[i].path, path))) i++;
            if (!lost[i].used) {
                int fd = open(path, O_RDONLY);
                lost[i].used = 1, lost[i].offset = page;
                snprintf(lost[i].path, sizeof lost[i].path, "%s", path);
                memset(lost[i].old, 0, PAGE);
                if (pread64(fd, lost[i].old, PAGE, page) < 0) abort();
                close(fd);
            }
            off_t from = page > one->offset ? page : one->offset, to = page + PAGE < end ? page + PAGE : end;
            memcpy(lost[i].old + (from - page), one->old + (from - one->offset), (size_t)(to - from));
        }
    }
}

static void find_again(const char *path, off_t offset, size_t length)
{
    for (int i = 0; lost && i < LOST_MAX && lost[i].used; i++)
        if (offset < lost[i].offset + PAGE && offset + (off_t)length > lost[i].offset && !strcmp(lost[i].path, path))
            lost[i].used = 2;
}

static void die(void)
{
    if (mode == POWER_CUT) {
        for (; last; last = last->before) take_back(last);
        for (int i = 0; lost && i < LOST_MAX && lost[i].used; i++) {
            int fd = lost[i].used == 1 ? open(lost[i].path, O_RDWR) : -1;
            struct stat now;
            if (fd >= 0 && !fstat(fd, &now) && now.st_size > lost[i].offset) {
                off_t left = now.st_size - lost[i].offset;
                real_pwrite(fd, lost[i].old, left < PAGE ? (size_t)left : PAGE, lost[i].offset);
            }
            if (fd >= 0) close(fd);
        }
    }
    kill(getpid(), SIGKILL);
    pause();
}

/* Count a call; return 1 if it is to fail with errno set. */
static int strike(int kind, const char *path)
{
    calls++;
    if (mode == LOSE_SYNC && kind == SYNC && calls >= at) {
        lose(path);
        errno = EIO;
        return 1;
    }
    if (mode == SYNC_FAILS_ONCE && kind == SYNC && calls >= at) {
        mode = COUNT;
        errno = EIO;
        return 1;
    }
    if (mode == FAIL && calls >= at && !(kind != WRITE && error_number == ENOSPC)) {
        errno = error_number;
        return 1;
    }
    if (calls == at && (mode == KILL || mode == POWER_CUT || (mode == TORN && kind != WRITE))) die();
    return 0;
}

static void remember(int fd, const char *path, off_t offset, size_t length)
{
    struct stat now;
    find_again(path, offset, length);
    if ((mode != POWER_CUT && mode != LOSE_SYNC) || strstr(path, "-shm") || fstat(fd, &now)) return;
    struct undo *one = calloc(1, sizeof *one + length);
    one->path = strdup(path), one->offset = offset, one->length = length, one->old_size = now.st_size;
    ssize_t had = pread64(fd, one->old, length, offset);
    one->old_length = had < 0 ? 0 : (size_t)had;
    one->before = last, last = one;
}

static void forget(const char *path)
{
    for (struct undo **link = &last; *link;) {
        struct undo *one = *link;
        if (strcmp(one->path, path)) { link = &one->before; continue; }
        *link = one->before;
        free(one->path), free(one);
    }
}

/* Return how much of a write is let through; -1 if it fails. */
static ssize_t allowed(int fd, const char *path, size_t length, off_t offset)
{
    if (strike(WRITE, path)) return -1;
    remember(fd, path, offset, length);
    return calls == at && (mode == TORN || mode == SHORT) && length > 1 ? (ssize_t)(length / 2) : (ssize_t)length;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
    char path[PATH_MAX];
    find_real();
    if (!watched(fd, path)) return real_pwrite(fd, bytes, length, offset);
    ssize_t some = allowed(fd, path, length, offset);
    ssize_t written = some < 0 ? -1 : real_pwrite(fd, bytes, (size_t)some, offset);
    if (calls == at && mode == TORN) die();
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length)
{
    char path[PATH_MAX];
    find_real();
    if (!watched(fd, path)) return real_write(fd, bytes, length);
    ssize_t some = allowed(fd, path, length, lseek(fd, 0, SEEK_CUR));
    ssize_t written = some < 0 ? -1 : real_write(fd, bytes, (size_t)some);
    if (calls == at && mode == TORN) die();
    return written;
}

int ftruncate64(int fd, off_t size)
{
    char path[PATH_MAX];
    struct stat now;
    find_real();
    if (!watched(fd, path)) return real_ftruncate(fd, size);
    if (strike(CHANGE, path)) return -1;
    if (!fstat(fd, &now) && now.st_size > size) remember(fd, path, size, (size_t)(now.st_size - size));
    return real_ftruncate(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int unlink(const char *path)
{
    find_real();
    if (mode && strstr(path, needle)) {
        if (strike(CHANGE, path)) return -1;
        forget(path);
    }
    return real_unlink(path);
}

static int synced(int fd, int (*real)(int))
{
    char path[PATH_MAX];
    if (!watched(fd, path)) return real(fd);
    if (strike(SYNC, path)) return -1;
    forget(path);
    return 0;
}

int fsync(int fd) { find_real(); return synced(fd, real_fsync); }
int fdatasync(int fd) { find_real(); return synced(fd, real_fdatasync); }
