#include "session.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "visibility.h"

static struct {
    pthread_mutex_t lock; /* guards start and stop; calls read the rest after seeing `users` */
    _Atomic unsigned users;
    SimState *state;
    uint64_t install_id;
    unsigned gpu_count;
    unsigned gpus[SIM_MAX_GPUS];
} session = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The state lies beside the library, so that whoever can load the one finds the other. */
static bool find_state_file(char out[PATH_MAX])
{
    const char *override = getenv("NVML_SIM_STATE");
    if (override != NULL && *override != '\0')
        return snprintf(out, PATH_MAX, "%s", override) < PATH_MAX;
    Dl_info self;
    char library[PATH_MAX];
    if (dladdr((void *)(uintptr_t)find_state_file, &self) == 0 || self.dli_fname == NULL ||
        realpath(self.dli_fname, library) == NULL)
        return false;
    char *slash = strrchr(library, '/');
    return snprintf(out, PATH_MAX, "%.*s/" SIM_STATE_FILE, (int)(slash - library), library) < PATH_MAX;
}

static nvmlReturn_t start(void)
{
    char path[PATH_MAX];
    if (!find_state_file(path))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    /* Earlier mappings stay: another thread may still be inside a call. One is made per installation, so they are few. */
    SimState *state = malloc(sizeof *state);
    if (state == NULL)
        return NVML_ERROR_MEMORY;
    nvmlReturn_t result = sim_state_open(state, path);
    if (result == NVML_SUCCESS) {
        result = visibility_of_control_node(state);
        if (result != NVML_SUCCESS)
            sim_state_close(state);
    }
    if (result != NVML_SUCCESS) {
        free(state);
        return result;
    }
    if (session.state != NULL && session.state->inode == state->inode && session.state->device == state->device &&
        session.state->writable == state->writable) {
        sim_state_close(state);
        free(state);
        state = session.state;
    }
    session.state = state;
    session.install_id = state->file->install_id;
    session.gpu_count = 0;
    for (unsigned gpu = 0; gpu < state->file->gpu_count; gpu++)
        if (visibility_of_gpu(state, gpu))
            session.gpus[session.gpu_count++] = gpu;
    return NVML_SUCCESS;
}

nvmlReturn_t session_start(void)
{
    pthread_mutex_lock(&session.lock);
    nvmlReturn_t result = NVML_SUCCESS;
    bool stale = session.users > 0 && session.install_id != session.state->file->install_id;
    if (session.users == 0 || stale)
        result = start();
    if (result == NVML_SUCCESS)
        session.users++;
    pthread_mutex_unlock(&session.lock);
    return result;
}

nvmlReturn_t session_stop(void)
{
    pthread_mutex_lock(&session.lock);
    nvmlReturn_t result = session.users > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
    if (session.users > 0)
        session.users--;
    pthread_mutex_unlock(&session.lock);
    return result;
}

static void sleep_us(uint32_t microseconds)
{
    struct timespec left = {.tv_sec = microseconds / 1000000, .tv_nsec = (long)(microseconds % 1000000) * 1000};
    while (microseconds > 0 && nanosleep(&left, &left) != 0)
        ;
}

nvmlReturn_t session_state(SimState **state)
{
    if (session.users == 0)
        return NVML_ERROR_UNINITIALIZED;
    if (session.state->file->install_id != session.install_id)
        return NVML_ERROR_DRIVER_NOT_LOADED; /* reinstalled under us: as after a driver reload, initialise again */
    *state = session.state;
    return NVML_SUCCESS;
}

nvmlReturn_t session_enter(SimState **state)
{
    nvmlReturn_t result = session_state(state);
    if (result == NVML_SUCCESS)
        sleep_us(atomic_load_explicit(&session.state->file->call_latency_us, memory_order_relaxed));
    return result;
}

unsigned session_gpu_count(void)
{
    return session.gpu_count;
}

unsigned session_gpu_at(unsigned index)
{
    return session.gpus[index];
}

int session_index_of(unsigned gpu)
{
    for (unsigned i = 0; i < session.gpu_count; i++)
        if (session.gpus[i] == gpu)
            return (int)i;
    return -1;
}

/* ---- handles: tag 16 bits, kind 4, gpu 8, gi 6, ci 6, serial 24 ---- */

enum { KIND_GPU = 1, KIND_MIG_DEVICE = 2, KIND_GPU_INSTANCE = 3, KIND_COMPUTE_INSTANCE = 4 };

#define HANDLE_TAG 0x4E56ull
#define SERIAL_MASK 0xFFFFFFu

typedef struct {
    unsigned kind, gpu, gi, ci;
    uint32_t serial;
} Decoded;

static void *encode(unsigned kind, unsigned gpu, unsigned gi, unsigned ci, uint32_t serial)
{
    return (void *)(uintptr_t)(HANDLE_TAG << 48 | (uint64_t)kind << 44 | (uint64_t)gpu << 36 | (uint64_t)gi << 30 |
                               (uint64_t)ci << 24 | (serial & SERIAL_MASK));
}

static bool decode(const void *handle, Decoded *out)
{
    uint64_t value = (uintptr_t)handle;
    out->kind = value >> 44 & 0xF;
    out->gpu = value >> 36 & 0xFF;
    out->gi = value >> 30 & 0x3F;
    out->ci = value >> 24 & 0x3F;
    out->serial = value & SERIAL_MASK;
    return value >> 48 == HANDLE_TAG && out->gpu < SIM_MAX_GPUS && out->gi < SIM_GI_SLOTS && out->ci < SIM_CI_SLOTS;
}

static bool serial_matches(uint32_t stored, uint32_t from_handle)
{
    return (stored & SERIAL_MASK) == (from_handle & SERIAL_MASK);
}

static bool gi_is(const SimGpuState *gpu, unsigned gi, uint32_t serial)
{
    return gpu->gis[gi].live && serial_matches(gpu->gis[gi].serial, serial);
}

static bool ci_is(const SimGpuState *gpu, unsigned gi, unsigned ci, uint32_t serial)
{
    return gpu->gis[gi].live && gpu->gis[gi].cis[ci].live && serial_matches(gpu->gis[gi].cis[ci].serial, serial);
}

nvmlDevice_t gpu_handle(unsigned gpu)
{
    return encode(KIND_GPU, gpu, 0, 0, 0);
}

nvmlDevice_t mig_device_handle(const Device *gpu, unsigned gi, unsigned ci)
{
    return encode(KIND_MIG_DEVICE, gpu->gpu, gi, ci, gpu->now.gis[gi].cis[ci].serial);
}

nvmlGpuInstance_t gpu_instance_handle(const Device *gpu, unsigned gi)
{
    return encode(KIND_GPU_INSTANCE, gpu->gpu, gi, 0, gpu->now.gis[gi].serial);
}

nvmlComputeInstance_t compute_instance_handle(const Device *gpu, unsigned gi, unsigned ci)
{
    return encode(KIND_COMPUTE_INSTANCE, gpu->gpu, gi, ci, gpu->now.gis[gi].cis[ci].serial);
}

nvmlReturn_t device_at(unsigned gpu, Device *device)
{
    if (gpu >= session.state->file->gpu_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    memset(device, 0, offsetof(Device, now));
    device->gpu = gpu;
    device->board = sim_board(session.state, gpu);
    device->identity = &session.state->file->gpus[gpu];
    sim_snapshot(session.state, gpu, &device->now);
    return device->now.lost ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

nvmlReturn_t device_of(nvmlDevice_t handle, Device *device)
{
    SimState *state;
    Decoded decoded;
    nvmlReturn_t result = session_enter(&state);
    if (result != NVML_SUCCESS)
        return result;
    if (!decode(handle, &decoded) || (decoded.kind != KIND_GPU && decoded.kind != KIND_MIG_DEVICE))
        return NVML_ERROR_INVALID_ARGUMENT;
    result = device_at(decoded.gpu, device);
    if (result != NVML_SUCCESS || decoded.kind == KIND_GPU)
        return result;
    if (!ci_is(&device->now, decoded.gi, decoded.ci, decoded.serial))
        return NVML_ERROR_INVALID_ARGUMENT;
    device->is_mig = true;
    device->gi = decoded.gi;
    device->ci = decoded.ci;
    return NVML_SUCCESS;
}

nvmlReturn_t gpu_of(nvmlDevice_t handle, Device *device)
{
    nvmlReturn_t result = device_of(handle, device);
    return result == NVML_SUCCESS && device->is_mig ? NVML_ERROR_NOT_SUPPORTED : result;
}

static nvmlReturn_t instance_of(const void *handle, unsigned kind, Decoded *decoded, Device *gpu)
{
    SimState *state;
    nvmlReturn_t result = session_enter(&state);
    if (result != NVML_SUCCESS)
        return result;
    if (!decode(handle, decoded) || decoded->kind != kind)
        return NVML_ERROR_INVALID_ARGUMENT;
    return device_at(decoded->gpu, gpu);
}

nvmlReturn_t gpu_instance_of(nvmlGpuInstance_t handle, GpuInstance *gi)
{
    Decoded decoded;
    nvmlReturn_t result = instance_of(handle, KIND_GPU_INSTANCE, &decoded, &gi->parent);
    if (result != NVML_SUCCESS)
        return result;
    gi->gi = decoded.gi;
    gi->serial = decoded.serial;
    return gi_is(&gi->parent.now, gi->gi, gi->serial) ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t compute_instance_of(nvmlComputeInstance_t handle, ComputeInstance *ci)
{
    Decoded decoded;
    nvmlReturn_t result = instance_of(handle, KIND_COMPUTE_INSTANCE, &decoded, &ci->parent.parent);
    if (result != NVML_SUCCESS)
        return result;
    ci->parent.gi = decoded.gi;
    ci->parent.serial = ci->parent.parent.now.gis[decoded.gi].serial;
    ci->ci = decoded.ci;
    ci->serial = decoded.serial;
    return ci_is(&ci->parent.parent.now, decoded.gi, decoded.ci, decoded.serial) ? NVML_SUCCESS
                                                                                : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t require_privilege(void)
{
    return session.state->writable ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}

void sleep_mig_latency(void)
{
    sleep_us(atomic_load_explicit(&session.state->file->mig_latency_us, memory_order_relaxed));
}

nvmlReturn_t change_gpu(const Device *gpu, Transaction *change)
{
    nvmlReturn_t result = require_privilege();
    if (result != NVML_SUCCESS)
        return result;
    result = transaction_begin(change, session.state, gpu->gpu);
    if (result != NVML_SUCCESS)
        return result;
    return change->next.lost ? transaction_end(change, NVML_ERROR_GPU_IS_LOST) : NVML_SUCCESS;
}

nvmlReturn_t change_gpu_instance(const GpuInstance *gi, Transaction *change)
{
    nvmlReturn_t result = change_gpu(&gi->parent, change);
    if (result != NVML_SUCCESS)
        return result;
    return gi_is(&change->next, gi->gi, gi->serial) ? NVML_SUCCESS
                                                    : transaction_end(change, NVML_ERROR_INVALID_ARGUMENT);
}

nvmlReturn_t change_compute_instance(const ComputeInstance *ci, Transaction *change)
{
    nvmlReturn_t result = change_gpu(&ci->parent.parent, change);
    if (result != NVML_SUCCESS)
        return result;
    return ci_is(&change->next, ci->parent.gi, ci->ci, ci->serial)
               ? NVML_SUCCESS
               : transaction_end(change, NVML_ERROR_INVALID_ARGUMENT);
}

nvmlReturn_t give_string(const char *text, char *out, unsigned length)
{
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(out, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

void format_uuid(const char *prefix, const uint8_t u[16], char out[48])
{
    snprintf(out, 48, "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", prefix, u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}
