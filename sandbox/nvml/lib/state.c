#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const char sim_magic[8] = {'N', 'V', 'M', 'L', 'S', 'I', 'M', '1'};

_Static_assert(sizeof(SimGpuState) % sizeof(uint32_t) == 0, "snapshots copy whole words");
_Static_assert(_Alignof(SimGpuState) == _Alignof(uint32_t), "snapshots copy whole words");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "atomics must work between processes");

/* The root is three directories above the library directory; an unusual place has the state's own directory as root. */
static nvmlReturn_t find_root(SimState *state)
{
    char resolved[PATH_MAX];
    if (realpath(state->path, resolved) == NULL)
        snprintf(resolved, sizeof resolved, "%s", state->path);
    char *slash = strrchr(resolved, '/');
    if (slash != NULL)
        *slash = '\0';
    size_t length = strlen(resolved), tail = strlen("/" SIM_LIBRARY_DIR);
    if (length >= tail && strcmp(resolved + length - tail, "/" SIM_LIBRARY_DIR) == 0)
        resolved[length - tail] = '\0';
    if (strlen(resolved) >= sizeof state->root)
        return NVML_ERROR_OPERATING_SYSTEM;
    memcpy(state->root, resolved, strlen(resolved) + 1);
    return NVML_SUCCESS;
}

static nvmlReturn_t map_file(SimState *state, int fd, const struct stat *info)
{
    int protection = state->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *address = mmap(NULL, sizeof(SimFile), protection, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED)
        return errno == ENOMEM ? NVML_ERROR_MEMORY : NVML_ERROR_OPERATING_SYSTEM;
    state->file = address;
    state->device = info->st_dev;
    state->inode = info->st_ino;
    return NVML_SUCCESS;
}

nvmlReturn_t sim_state_open(SimState *state, const char *path)
{
    memset(state, 0, sizeof *state);
    snprintf(state->path, sizeof state->path, "%s", path);
    state->writable = true;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        state->writable = false;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return errno == ENOENT ? NVML_ERROR_DRIVER_NOT_LOADED : NVML_ERROR_NO_PERMISSION;

    struct stat info;
    nvmlReturn_t result = NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    if (fstat(fd, &info) == 0 && info.st_size == (off_t)sizeof(SimFile))
        result = map_file(state, fd, &info);
    close(fd);
    if (result != NVML_SUCCESS)
        return result;
    if (memcmp(state->file->magic, sim_magic, sizeof sim_magic) != 0 || state->file->layout != SIM_LAYOUT) {
        sim_state_close(state);
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    }
    result = find_root(state);
    if (result != NVML_SUCCESS)
        sim_state_close(state);
    return result;
}

void sim_state_close(SimState *state)
{
    if (state->file != NULL)
        munmap(state->file, sizeof(SimFile));
    state->file = NULL;
}

int sim_state_create(SimState *state, const char *path)
{
    memset(state, 0, sizeof *state);
    snprintf(state->path, sizeof state->path, "%s", path);
    state->writable = true;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    struct stat info;
    int error = 0;
    if (fchmod(fd, 0644) != 0 || ftruncate(fd, sizeof(SimFile)) != 0 || fstat(fd, &info) != 0)
        error = errno;
    else if (map_file(state, fd, &info) != NVML_SUCCESS)
        error = ENOMEM;
    close(fd);
    if (error != 0)
        return error;
    /* Sessions that are still open see another install_id first and stop trusting the tables that follow. */
    memset(state->file->magic, 0, sizeof state->file->magic);
    state->file->install_id = 0;
    atomic_thread_fence(memory_order_seq_cst);
    memset((char *)state->file + offsetof(SimFile, driver_version), 0,
           sizeof(SimFile) - offsetof(SimFile, driver_version));
    return find_root(state) == NVML_SUCCESS ? 0 : ENAMETOOLONG;
}

void sim_state_seal(SimState *state, uint64_t install_id)
{
    state->file->layout = SIM_LAYOUT;
    state->file->size = sizeof(SimFile);
    atomic_thread_fence(memory_order_seq_cst);
    state->file->install_id = install_id;
    memcpy(state->file->magic, sim_magic, sizeof sim_magic);
}

/* Each critical section opens the file anew: flock belongs to an open file description, so threads and forked children
 * of one process exclude each other just as strangers do. */
int sim_lock_path(const char *state_path)
{
    char path[SIM_PATH_MAX + sizeof ".lock"];
    snprintf(path, sizeof path, "%s.lock", state_path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    while (flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            int error = errno;
            close(fd);
            errno = error;
            return -1;
        }
    }
    return fd;
}

nvmlReturn_t sim_lock(const SimState *state, int *lock_fd)
{
    struct stat info;
    if (!state->writable)
        return NVML_ERROR_NO_PERMISSION;
    if (stat(state->path, &info) != 0)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    int fd = sim_lock_path(state->path);
    if (fd < 0)
        return errno == EROFS || errno == EACCES || errno == EPERM ? NVML_ERROR_NO_PERMISSION
                                                                   : NVML_ERROR_OPERATING_SYSTEM;
    if (stat(state->path, &info) != 0 || info.st_ino != state->inode || info.st_dev != state->device) {
        close(fd); /* the installation was removed and perhaps made again: this mapping leads nowhere */
        return NVML_ERROR_DRIVER_NOT_LOADED;
    }
    *lock_fd = fd;
    return NVML_SUCCESS;
}

void sim_unlock(int lock_fd)
{
    close(lock_fd);
}

/* Word by word through relaxed atomics: a writer may be filling this copy for its next publication, in which case the
 * generation has moved on and the caller throws the words away. */
static void copy_state(SimGpuState *to, const SimGpuState *from)
{
    const uint32_t *source = (const uint32_t *)from;
    uint32_t *target = (uint32_t *)to;
    for (size_t i = 0; i < sizeof(SimGpuState) / sizeof(uint32_t); i++)
        __atomic_store_n(target + i, __atomic_load_n(source + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

void sim_snapshot(const SimState *state, unsigned gpu, SimGpuState *out)
{
    SimGpu *shared = &state->file->gpus[gpu];
    for (;;) {
        uint64_t before = atomic_load_explicit(&shared->generation, memory_order_acquire);
        copy_state(out, &shared->copies[before & 1]);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&shared->generation, memory_order_relaxed) == before)
            return;
    }
}

void sim_publish(SimState *state, unsigned gpu, const SimGpuState *next)
{
    SimGpu *shared = &state->file->gpus[gpu];
    uint64_t generation = atomic_load_explicit(&shared->generation, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    copy_state(&shared->copies[(generation + 1) & 1], next);
    atomic_store_explicit(&shared->generation, generation + 1, memory_order_release);
}

void sim_emit(SimState *state, const SimEvent *event)
{
    SimFile *file = state->file;
    uint32_t head = atomic_load_explicit(&file->event_head, memory_order_relaxed);
    file->events[head % SIM_EVENT_RING] = *event;
    atomic_store_explicit(&file->event_head, head + 1, memory_order_release);
    syscall(SYS_futex, &file->event_head, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void sim_wait_for_event(const SimState *state, uint32_t seen, unsigned timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    long result = syscall(SYS_futex, &state->file->event_head, FUTEX_WAIT, seen, &timeout, NULL, 0);
    if (result != 0 && errno != EAGAIN && errno != ETIMEDOUT && errno != EINTR) {
        struct timespec nap = {.tv_nsec = 5000000}; /* a sandbox without futex on this mapping: poll */
        nanosleep(&nap, NULL);
    }
}

const SimBoard *sim_board(const SimState *state, unsigned gpu)
{
    return &state->file->boards[state->file->gpus[gpu].board % SIM_MAX_BOARDS];
}
