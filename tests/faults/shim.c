/* Sits between a process and the C library, and sees every call that changes the files of one log, and every
 * question for the time of day.
 *
 * FAULTS_LOG      the path of the log; its -wal, -journal, .lock and folder are watched with it
 * FAULTS_TRACE    where to write down each change, each sync and each answer, in order
 * FAULTS_CONTROL  a file with a `struct control`: which call fails, and how, and what time it is
 *
 * A change is written down before it is made and a sync after it has returned, so that a replay of the trace
 * never believes something durable that was not. The layout of both structs is known to shim.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NONE, MAIN, WAL, JOURNAL, SHM, LOCK, FOLDER, KINDS };
enum { OPEN = 1, WRITE = 2, SYNC = 4, TRUNCATE = 8, UNLINK = 16 };
enum { KILL = -1 };

struct control {
    int32_t calls;    /* which kinds of call are counted, a sum of the above; 0: none */
    int32_t files;    /* which files, a sum of 1 << kind */
    int32_t error;    /* errno, or KILL */
    int32_t first;    /* the first call that fails, from 1; 0: none, they are only counted */
    int32_t last;     /* the last one */
    int32_t delay_us; /* what each sync takes longer */
    int32_t counted;  /* calls so far */
    int32_t failed;   /* calls that failed */
    int32_t clock_s;  /* by how much the clock was set forward; back, below 0 */
};

struct record {
    char call; /* C create, W write, S sync, T truncate, U unlink, A answer */
    char kind;
    char unused[6];
    int64_t offset; /* the new size, for T */
    int64_t length; /* of the data that follows */
};

#define MOST 65536
static unsigned char kinds[MOST];
static char path_of_log[4096], folder[4096];
static int trace = -1;
static struct control *control;
static pthread_mutex_t in_order = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(name) *)real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void set_up(void) {
    const char *log = getenv("FAULTS_LOG"), *to = getenv("FAULTS_TRACE"), *by = getenv("FAULTS_CONTROL");
    if (!log || strlen(log) >= sizeof path_of_log) return;
    strcpy(path_of_log, log);
    strcpy(folder, log);
    *strrchr(folder, '/') = 0;
    if (to) trace = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (by) {
        int file = open(by, O_RDWR | O_CLOEXEC);
        if (file >= 0) {
            void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            if (at != MAP_FAILED) control = at;
            close(file);
        }
    }
}

static int kind_of(const char *path) {
    size_t length = strlen(path_of_log);
    if (!length || !path) return NONE;
    if (!strcmp(path, folder)) return FOLDER;
    if (strncmp(path, path_of_log, length)) return NONE;
    path += length;
    if (!*path) return MAIN;
    if (!strcmp(path, "-wal")) return WAL;
    if (!strcmp(path, "-journal")) return JOURNAL;
    if (!strcmp(path, "-shm")) return SHM;
    if (!strcmp(path, ".lock")) return LOCK;
    return NONE;
}

static int kind_of_fd(int fd) { return fd >= 0 && fd < MOST ? kinds[fd] : NONE; }

static void note(char call, int kind, int64_t offset, const struct iovec *data, int parts) {
    if (trace < 0) return;
    struct record record = {call, (char)kind, {0}, offset, 0};
    struct iovec all[9] = {{&record, sizeof record}};
    if (parts > 8) parts = 8;
    for (int i = 0; i < parts; i++) {
        all[i + 1] = data[i];
        record.length += (int64_t)data[i].iov_len;
    }
    int before = errno;
    pthread_mutex_lock(&in_order);
    ssize_t done = REAL(writev)(trace, all, parts + 1);
    pthread_mutex_unlock(&in_order);
    if (done != (ssize_t)sizeof record + record.length) abort();
    errno = before;
}

/* Whether this call is to fail now; errno is set then. */
static int fails(int call, int kind) {
    if (!control || kind == NONE || !(control->calls & call) || !(control->files & (1 << kind))) return 0;
    int number = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
    if (!control->first || number < control->first || number > control->last) return 0;
    if (control->error == KILL) kill(getpid(), SIGKILL);
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST);
    errno = control->error;
    return 1;
}

static int opened(int fd, int kind, int is_new, int flags) {
    if (fd < 0) return fd;
    if (fd < MOST) kinds[fd] = (unsigned char)kind;
    if (kind != NONE && is_new) note('C', kind, 0, NULL, 0);
    else if (kind != NONE && (flags & O_TRUNC)) note('T', kind, 0, NULL, 0);
    return fd;
}

#define OPENING(name, ...)                                                                   \
    int kind = kind_of(path), is_new = 0;                                                    \
    mode_t mode = 0;                                                                         \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                   \
        va_list rest;                                                                        \
        va_start(rest, flags);                                                               \
        mode = va_arg(rest, mode_t);                                                         \
        va_end(rest);                                                                        \
    }                                                                                        \
    if (kind != NONE && kind != FOLDER) {                                                    \
        is_new = (flags & O_CREAT) && access(path, F_OK) != 0;                               \
        if ((flags & O_ACCMODE) != O_RDONLY && fails(OPEN, kind)) return -1;                 \
    }                                                                                        \
    return opened(REAL(name)(__VA_ARGS__, flags, mode), kind, is_new, flags);

int open(const char *path, int flags, ...) { OPENING(open, path) }
int open64(const char *path, int flags, ...) { OPENING(open64, path) }
int openat(int at, const char *path, int flags, ...) { OPENING(openat, at, path) }
int openat64(int at, const char *path, int flags, ...) { OPENING(openat64, at, path) }

int close(int fd) {
    if (fd >= 0 && fd < MOST) kinds[fd] = NONE;
    return REAL(close)(fd);
}

static int writing(int fd, const void *data, size_t length, int64_t offset) {
    int kind = kind_of_fd(fd);
    if (kind == NONE || kind == SHM) return 0;
    if (fails(WRITE, kind)) return -1;
    struct iovec part = {(void *)data, length};
    note('W', kind, offset, &part, 1);
    return 0;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return writing(fd, data, length, offset) ? -1 : REAL(pwrite)(fd, data, length, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return writing(fd, data, length, offset) ? -1 : REAL(pwrite64)(fd, data, length, offset);
}
ssize_t write(int fd, const void *data, size_t length) {
    if (kind_of_fd(fd) != NONE && writing(fd, data, length, lseek(fd, 0, SEEK_CUR))) return -1;
    return REAL(write)(fd, data, length);
}

#define SYNCING(name)                                                \
    int kind = kind_of_fd(fd);                                       \
    if (kind == NONE) return REAL(name)(fd);                         \
    if (fails(SYNC, kind)) return -1;                                \
    if (control && control->delay_us) usleep((useconds_t)control->delay_us); \
    int result = REAL(name)(fd);                                     \
    if (!result) note('S', kind, 0, NULL, 0);                        \
    return result;

int fsync(int fd) { SYNCING(fsync) }
int fdatasync(int fd) { SYNCING(fdatasync) }

#define TRUNCATING(name)                                   \
    int kind = kind_of_fd(fd);                             \
    if (kind != NONE && kind != SHM) {                     \
        if (fails(TRUNCATE, kind)) return -1;              \
        note('T', kind, (int64_t)size, NULL, 0);           \
    }                                                      \
    return REAL(name)(fd, size);

int ftruncate(int fd, off_t size) { TRUNCATING(ftruncate) }
int ftruncate64(int fd, off64_t size) { TRUNCATING(ftruncate64) }

int unlink(const char *path) {
    int kind = kind_of(path);
    if (fails(UNLINK, kind)) return -1;
    if (kind != NONE) note('U', kind, 0, NULL, 0);
    return REAL(unlink)(path);
}

/* An answer counts from the moment its first byte could leave. */
static void answering(const struct iovec *data, int parts) {
    if (trace < 0) return;
    for (int i = 0; i < parts; i++)
        if (memmem(data[i].iov_base, data[i].iov_len, "\"event_id\": \"", 13)) {
            note('A', NONE, 0, data, parts);
            return;
        }
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    struct iovec part = {(void *)data, length};
    answering(&part, 1);
    return REAL(send)(fd, data, length, flags);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    answering(message->msg_iov, (int)message->msg_iovlen);
    return REAL(sendmsg)(fd, message, flags);
}

/* The time of day can be set; the clock that deadlines go by cannot. */
static int32_t clock_s(void) {
    return control ? __atomic_load_n(&control->clock_s, __ATOMIC_RELAXED) : 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = REAL(clock_gettime)(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += clock_s();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int result = REAL(gettimeofday)(now, zone);
    if (!result) now->tv_sec += clock_s();
    return result;
}

time_t time(time_t *now) {
    time_t result = REAL(time)(NULL) + clock_s();
    if (now) *now = result;
    return result;
}
