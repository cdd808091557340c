/* Event sets: what happened to which GPU since it was registered. */
#include <stdlib.h>
#include <time.h>

#include "nvml.h"
#include "session.h"

#define SUPPORTED_TYPES (NVML_EVENT_TYPE_SINGLE_BIT_ECC | NVML_EVENT_TYPE_DOUBLE_BIT_ECC | NVML_EVENT_TYPE_XID_CRITICAL)

/* Wake at least this often, so that a reinstalled driver is noticed in the middle of a long wait. */
enum { LONGEST_SLEEP_MS = 1000 };

struct nvmlEventSet_st {
    unsigned long long types[SIM_MAX_GPUS]; /* event types registered for each GPU */
    _Atomic uint32_t cursor;                /* the next event of the ring to look at */
};

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    SimState *state;
    if (set == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t result = session_enter(&state);
    if (result != NVML_SUCCESS)
        return result;
    *set = calloc(1, sizeof **set);
    if (*set == NULL)
        return NVML_ERROR_MEMORY;
    atomic_store(&(*set)->cursor, atomic_load(&state->file->event_head));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    if (set == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    free(set);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t handle, unsigned long long *types)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result == NVML_SUCCESS && types == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *types = SUPPORTED_TYPES;
    return result;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t handle, unsigned long long types, nvmlEventSet_t set)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (set == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if ((types & ~SUPPORTED_TYPES) != 0)
        return NVML_ERROR_NOT_SUPPORTED;
    set->types[device.gpu] |= types;
    return NVML_SUCCESS;
}

static bool take_event(const SimState *state, nvmlEventSet_t set, nvmlEventData_t *data)
{
    for (;;) {
        uint32_t head = atomic_load_explicit(&state->file->event_head, memory_order_acquire);
        uint32_t cursor = atomic_load(&set->cursor);
        if (head == cursor)
            return false;
        if (head - cursor > SIM_EVENT_RING) { /* slept too long: the oldest events are gone, as with a real queue */
            atomic_compare_exchange_strong(&set->cursor, &cursor, head - SIM_EVENT_RING);
            continue;
        }
        SimEvent event = state->file->events[cursor % SIM_EVENT_RING];
        if (!atomic_compare_exchange_strong(&set->cursor, &cursor, cursor + 1))
            continue;
        if (event.gpu >= SIM_MAX_GPUS || (set->types[event.gpu] & event.type) == 0)
            continue;
        *data = (nvmlEventData_t){
            .device = gpu_handle(event.gpu),
            .eventType = event.type,
            .eventData = event.data,
            .gpuInstanceId = event.gi,
            .computeInstanceId = event.ci,
        };
        return true;
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    if (set == NULL || data == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    uint64_t deadline = now_ms() + timeout_ms;
    for (;;) {
        SimState *state;
        nvmlReturn_t result = session_state(&state);
        if (result != NVML_SUCCESS)
            return result;
        if (take_event(state, set, data))
            return NVML_SUCCESS;
        uint64_t now = now_ms();
        if (now >= deadline)
            return NVML_ERROR_TIMEOUT;
        uint64_t left = deadline - now;
        sim_wait_for_event(state, atomic_load(&set->cursor),
                           left < LONGEST_SLEEP_MS ? (unsigned)left : LONGEST_SLEEP_MS);
    }
}

nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    return nvmlEventSetWait_v2(set, data, timeout_ms);
}
