/* GPU instances: profiles, placements, creation and destruction. */
#include <stdio.h>
#include <string.h>

#include "nvml.h"
#include "session.h"
#include "visibility.h"

/* ---- profiles ---- */

/* Profiles can be read with MIG mode off, as recent driver branches allow. */
static nvmlReturn_t profile_of(nvmlDevice_t handle, unsigned profile, const void *out, Device *device)
{
    nvmlReturn_t result = gpu_of(handle, device);
    if (result != NVML_SUCCESS)
        return result;
    if (out == NULL || profile >= NVML_GPU_INSTANCE_PROFILE_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    return device->board->profiles[profile].present ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static nvmlReturn_t profile_of_id(nvmlDevice_t handle, unsigned profile_id, const void *out, Device *device,
                                  unsigned *profile)
{
    nvmlReturn_t result = gpu_of(handle, device);
    if (result != NVML_SUCCESS)
        return result;
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    int found = mig_profile_of_id(device->board, profile_id);
    if (found < 0)
        return NVML_ERROR_NOT_SUPPORTED;
    *profile = (unsigned)found;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t handle, unsigned int profile,
                                                 nvmlGpuInstanceProfileInfo_t *info)
{
    Device device;
    nvmlReturn_t result = profile_of(handle, profile, info, &device);
    if (result != NVML_SUCCESS)
        return result;
    const SimProfile *from = &device.board->profiles[profile];
    *info = (nvmlGpuInstanceProfileInfo_t){
        .id = from->id,
        .sliceCount = from->slices,
        .instanceCount = from->max_instances,
        .multiprocessorCount = from->engines.multiprocessors,
        .copyEngineCount = from->engines.copy,
        .decoderCount = from->engines.decode,
        .encoderCount = from->engines.encode,
        .jpegCount = from->engines.jpeg,
        .ofaCount = from->engines.ofa,
        .memorySizeMB = from->memory_mib,
    };
    return NVML_SUCCESS;
}

/* `version` is the first field of every versioned struct, so it tells which one the caller has. */
static nvmlReturn_t give_versioned(const SimProfile *from, void *out)
{
    unsigned version;
    memcpy(&version, out, sizeof version);
    char name[96];
    snprintf(name, sizeof name, "MIG %s", from->name);
    if (version == NVML_STRUCT_VERSION(nvmlGpuInstanceProfileInfo_v2_t, 2)) {
        nvmlGpuInstanceProfileInfo_v2_t info = {
            .version = version,
            .id = from->id,
            .sliceCount = from->slices,
            .instanceCount = from->max_instances,
            .multiprocessorCount = from->engines.multiprocessors,
            .copyEngineCount = from->engines.copy,
            .decoderCount = from->engines.decode,
            .encoderCount = from->engines.encode,
            .jpegCount = from->engines.jpeg,
            .ofaCount = from->engines.ofa,
            .memorySizeMB = from->memory_mib,
        };
        memcpy(info.name, name, sizeof name);
        memcpy(out, &info, sizeof info);
        return NVML_SUCCESS;
    }
    if (version == NVML_STRUCT_VERSION(nvmlGpuInstanceProfileInfo_v3_t, 3)) {
        nvmlGpuInstanceProfileInfo_v3_t info = {
            .version = version,
            .id = from->id,
            .sliceCount = from->slices,
            .instanceCount = from->max_instances,
            .multiprocessorCount = from->engines.multiprocessors,
            .copyEngineCount = from->engines.copy,
            .decoderCount = from->engines.decode,
            .encoderCount = from->engines.encode,
            .jpegCount = from->engines.jpeg,
            .ofaCount = from->engines.ofa,
            .memorySizeMB = from->memory_mib,
        };
        memcpy(info.name, name, sizeof name);
        memcpy(out, &info, sizeof info);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t handle, unsigned int profile,
                                                  nvmlGpuInstanceProfileInfo_v2_t *info)
{
    Device device;
    nvmlReturn_t result = profile_of(handle, profile, info, &device);
    return result != NVML_SUCCESS ? result : give_versioned(&device.board->profiles[profile], info);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoByIdV(nvmlDevice_t handle, unsigned int profile_id,
                                                      nvmlGpuInstanceProfileInfo_v2_t *info)
{
    Device device;
    unsigned profile;
    nvmlReturn_t result = profile_of_id(handle, profile_id, info, &device, &profile);
    return result != NVML_SUCCESS ? result : give_versioned(&device.board->profiles[profile], info);
}

/* ---- room ---- */

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t handle, unsigned int profile_id,
                                                           nvmlGpuInstancePlacement_t *placements,
                                                           unsigned int *count)
{
    Device device;
    unsigned profile;
    nvmlReturn_t result = profile_of_id(handle, profile_id, count, &device, &profile);
    if (result == NVML_SUCCESS)
        result = require_privilege();
    if (result != NVML_SUCCESS)
        return result;
    const SimProfile *from = &device.board->profiles[profile];
    *count = from->start_count; /* an answer only: NVML does not read how much room the caller has */
    for (uint32_t i = 0; placements != NULL && i < from->start_count; i++)
        placements[i] = (nvmlGpuInstancePlacement_t){.start = from->starts[i], .size = from->size};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements(nvmlDevice_t handle, unsigned int profile_id,
                                                        nvmlGpuInstancePlacement_t *placements, unsigned int *count)
{
    return nvmlDeviceGetGpuInstancePossiblePlacements_v2(handle, profile_id, placements, count);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t handle, unsigned int profile_id,
                                                       unsigned int *count)
{
    Device device;
    unsigned profile;
    nvmlReturn_t result = profile_of_id(handle, profile_id, count, &device, &profile);
    if (result != NVML_SUCCESS)
        return result;
    if (!device.now.mig_current)
        return NVML_ERROR_NOT_SUPPORTED;
    *count = mig_remaining(device.board, &device.now, profile);
    return NVML_SUCCESS;
}

/* ---- creation ---- */

static nvmlReturn_t create(nvmlDevice_t handle, unsigned profile_id, const nvmlGpuInstancePlacement_t *placement,
                           nvmlGpuInstance_t *out)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (device.board->max_mig_devices == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    int profile = mig_profile_of_id(device.board, profile_id);
    if (out == NULL || profile < 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    const SimProfile *wanted = &device.board->profiles[profile];
    if (placement != NULL && !mig_placement_is_legal(wanted, placement->start, placement->size))
        return NVML_ERROR_INVALID_ARGUMENT;
    if (require_privilege() == NVML_SUCCESS)
        sleep_mig_latency();

    Transaction change;
    result = change_gpu(&device, &change);
    if (result != NVML_SUCCESS)
        return result;
    if (!change.next.mig_current)
        return transaction_end(&change, NVML_ERROR_NOT_SUPPORTED);
    int start = placement != NULL ? (int)placement->start
                                  : mig_default_start(device.board, &change.next, (unsigned)profile);
    if (start < 0 || !mig_fits(device.board, &change.next, (unsigned)profile, (uint32_t)start))
        return transaction_end(&change, NVML_ERROR_INSUFFICIENT_RESOURCES);
    unsigned id = mig_gi_id(device.board, (uint32_t)start, wanted->size);
    change.next.gis[id] = (SimGpuInstance){
        .live = 1,
        .profile = (uint32_t)profile,
        .start = (uint32_t)start,
        .size = wanted->size,
        .serial = ++change.next.next_serial,
    };
    result = transaction_commit(&change);
    if (result == NVML_SUCCESS) {
        device.now = change.next;
        *out = gpu_instance_handle(&device, id);
    }
    return result;
}

nvmlReturn_t nvmlDeviceCreateGpuInstance(nvmlDevice_t handle, unsigned int profile_id, nvmlGpuInstance_t *gi)
{
    return create(handle, profile_id, NULL, gi);
}

nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t handle, unsigned int profile_id,
                                                      const nvmlGpuInstancePlacement_t *placement,
                                                      nvmlGpuInstance_t *gi)
{
    return placement == NULL ? NVML_ERROR_INVALID_ARGUMENT : create(handle, profile_id, placement, gi);
}

nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t handle)
{
    GpuInstance gi;
    nvmlReturn_t result = gpu_instance_of(handle, &gi);
    if (result != NVML_SUCCESS)
        return result;
    if (require_privilege() == NVML_SUCCESS)
        sleep_mig_latency();
    Transaction change;
    result = change_gpu_instance(&gi, &change);
    if (result != NVML_SUCCESS)
        return result;
    SimGpuInstance *instance = &change.next.gis[gi.gi];
    if (mig_has_compute_instances(instance))
        return transaction_end(&change, NVML_ERROR_IN_USE);
    memset(instance, 0, sizeof *instance);
    return transaction_commit(&change);
}

/* ---- look-up ---- */

/* An administrator sees every instance; in a container only those whose capability was handed in. */
static bool is_visible(const Device *device, unsigned gi)
{
    SimState *state;
    return session_state(&state) == NVML_SUCCESS &&
           (state->writable || visibility_of_gpu_instance(state, device->gpu, gi));
}

nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t handle, unsigned int profile_id, nvmlGpuInstance_t *gis,
                                       unsigned int *count)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (gis == NULL || count == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!device.now.mig_current)
        return NVML_ERROR_NOT_SUPPORTED;
    int profile = mig_profile_of_id(device.board, profile_id);
    if (profile < 0)
        return NVML_ERROR_NOT_FOUND;
    *count = 0; /* the caller made room for the profile's instanceCount */
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++)
        if (device.now.gis[gi].live && device.now.gis[gi].profile == (uint32_t)profile && is_visible(&device, gi))
            gis[(*count)++] = gpu_instance_handle(&device, gi);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t handle, unsigned int id, nvmlGpuInstance_t *gi)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (gi == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!device.now.mig_current)
        return NVML_ERROR_NOT_SUPPORTED;
    if (id >= SIM_GI_SLOTS || !device.now.gis[id].live || !is_visible(&device, id))
        return NVML_ERROR_NOT_FOUND;
    *gi = gpu_instance_handle(&device, id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t handle, nvmlGpuInstanceInfo_t *info)
{
    GpuInstance gi;
    nvmlReturn_t result = gpu_instance_of(handle, &gi);
    if (result != NVML_SUCCESS)
        return result;
    if (info == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    const SimGpuInstance *instance = &gi.parent.now.gis[gi.gi];
    *info = (nvmlGpuInstanceInfo_t){
        .device = gpu_handle(gi.parent.gpu),
        .id = gi.gi,
        .profileId = gi.parent.board->profiles[instance->profile].id,
        .placement = {.start = instance->start, .size = instance->size},
    };
    return NVML_SUCCESS;
}
