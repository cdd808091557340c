/*
 * What every NVML call needs first: is the library initialised, what does this handle mean, may this process see it.
 *
 * Owns the process's one mapping of the state, the list of GPUs that were visible at nvmlInit, and the encoding of
 * handles. It answers no NVML question itself.
 *
 * Handles are numbers with a tag, a kind, the position of the object and the serial number of its creation. So a handle
 * to a destroyed instance is recognised even after its place is taken again, nothing needs freeing, and a wild pointer
 * is refused instead of followed.
 */
#ifndef SIM_SESSION_H
#define SIM_SESSION_H

#include "mig.h"
#include "state.h"
#include "transaction.h"

/* A GPU or MIG device, with a snapshot of its GPU taken for this call. */
typedef struct {
    unsigned gpu;
    bool is_mig;
    unsigned gi, ci; /* of a MIG device */
    const SimBoard *board;
    const SimGpu *identity;
    SimGpuState now;
} Device;

typedef struct {
    Device parent;
    unsigned gi;
    uint32_t serial;
} GpuInstance;

typedef struct {
    GpuInstance parent;
    unsigned ci;
    uint32_t serial;
} ComputeInstance;

nvmlReturn_t session_start(void);
nvmlReturn_t session_stop(void);

/* NVML_SUCCESS with the mapped state, or why there is none. session_enter begins a call: it also sleeps the configured
 * latency. */
nvmlReturn_t session_enter(SimState **state);
nvmlReturn_t session_state(SimState **state);

/* The GPUs that were visible when the library was initialised, in PCI order. */
unsigned session_gpu_count(void);
unsigned session_gpu_at(unsigned index);
int session_index_of(unsigned gpu); /* -1 for a GPU that is not visible */

/* Resolve a handle and take the snapshot. device_of accepts MIG devices, gpu_of gives NOT_SUPPORTED for them. */
nvmlReturn_t device_of(nvmlDevice_t handle, Device *device);
nvmlReturn_t gpu_of(nvmlDevice_t handle, Device *device);
nvmlReturn_t gpu_instance_of(nvmlGpuInstance_t handle, GpuInstance *gi);
nvmlReturn_t compute_instance_of(nvmlComputeInstance_t handle, ComputeInstance *ci);

/* Loads a device by position, as a handle to it would. */
nvmlReturn_t device_at(unsigned gpu, Device *device);

nvmlDevice_t gpu_handle(unsigned gpu);
nvmlDevice_t mig_device_handle(const Device *gpu, unsigned gi, unsigned ci);
nvmlGpuInstance_t gpu_instance_handle(const Device *gpu, unsigned gi);
nvmlComputeInstance_t compute_instance_handle(const Device *gpu, unsigned gi, unsigned ci);

/* NO_PERMISSION unless this process could change the GPUs: that is what "privileged" means here. */
nvmlReturn_t require_privilege(void);

/* Begin a change to a GPU or instance: privilege, latency of MIG work, lock, and that handles still hold under it. */
nvmlReturn_t change_gpu(const Device *gpu, Transaction *change);
nvmlReturn_t change_gpu_instance(const GpuInstance *gi, Transaction *change);
nvmlReturn_t change_compute_instance(const ComputeInstance *ci, Transaction *change);
void sleep_mig_latency(void);

/* Fails with INSUFFICIENT_SIZE rather than cut a string. */
nvmlReturn_t give_string(const char *text, char *out, unsigned length);
void format_uuid(const char *prefix, const uint8_t uuid[16], char out[48]);

#endif
