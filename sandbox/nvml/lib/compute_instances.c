/* Compute instances: profiles, placements, creation and destruction inside a GPU instance. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "nvml.h"
#include "session.h"

/* ---- profiles ---- */

static nvmlReturn_t profile_of(nvmlGpuInstance_t handle, unsigned profile, const void *out, GpuInstance *gi,
                               MigComputeProfile *found)
{
    nvmlReturn_t result = gpu_instance_of(handle, gi);
    if (result != NVML_SUCCESS)
        return result;
    if (out == NULL || profile >= NVML_COMPUTE_INSTANCE_PROFILE_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    bool exists = mig_compute_profile(gi->parent.board, gi->parent.now.gis[gi->gi].profile, profile, found);
    return exists ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static nvmlReturn_t info_of(nvmlGpuInstance_t handle, unsigned profile, unsigned engine_profile, const void *out,
                            nvmlComputeInstanceProfileInfo_t *info, char name[96])
{
    GpuInstance gi;
    MigComputeProfile found;
    if (engine_profile >= NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t result = profile_of(handle, profile, out, &gi, &found);
    if (result != NVML_SUCCESS)
        return result;
    const SimEngines *shared = &gi.parent.board->profiles[gi.parent.now.gis[gi.gi].profile].engines;
    *info = (nvmlComputeInstanceProfileInfo_t){
        .id = found.id,
        .sliceCount = found.slices,
        .instanceCount = found.start_count,
        .multiprocessorCount = found.multiprocessors,
        .sharedCopyEngineCount = shared->copy,
        .sharedDecoderCount = shared->decode,
        .sharedEncoderCount = shared->encode,
        .sharedJpegCount = shared->jpeg,
        .sharedOfaCount = shared->ofa,
    };
    snprintf(name, 96, "MIG %s", found.name);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t handle, unsigned int profile,
                                                          unsigned int engine_profile,
                                                          nvmlComputeInstanceProfileInfo_t *info)
{
    nvmlComputeInstanceProfileInfo_t found;
    char name[96];
    nvmlReturn_t result = info_of(handle, profile, engine_profile, info, &found, name);
    if (result == NVML_SUCCESS)
        *info = found;
    return result;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfoV(nvmlGpuInstance_t handle, unsigned int profile,
                                                           unsigned int engine_profile,
                                                           nvmlComputeInstanceProfileInfo_v2_t *info)
{
    nvmlComputeInstanceProfileInfo_t found;
    char name[96];
    nvmlReturn_t result = info_of(handle, profile, engine_profile, info, &found, name);
    if (result != NVML_SUCCESS)
        return result;
    if (info->version != NVML_STRUCT_VERSION(nvmlComputeInstanceProfileInfo_v2_t, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    info->id = found.id;
    info->sliceCount = found.sliceCount;
    info->instanceCount = found.instanceCount;
    info->multiprocessorCount = found.multiprocessorCount;
    info->sharedCopyEngineCount = found.sharedCopyEngineCount;
    info->sharedDecoderCount = found.sharedDecoderCount;
    info->sharedEncoderCount = found.sharedEncoderCount;
    info->sharedJpegCount = found.sharedJpegCount;
    info->sharedOfaCount = found.sharedOfaCount;
    memcpy(info->name, name, sizeof name);
    return NVML_SUCCESS;
}

/* ---- room: compute profile ids are the same numbers as their enum ---- */

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceRemainingCapacity(nvmlGpuInstance_t handle, unsigned int profile_id,
                                                                unsigned int *count)
{
    GpuInstance gi;
    MigComputeProfile profile;
    nvmlReturn_t result = profile_of(handle, profile_id, count, &gi, &profile);
    if (result == NVML_SUCCESS)
        *count = mig_compute_remaining(&gi.parent.now.gis[gi.gi], &profile);
    return result;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstancePossiblePlacements(nvmlGpuInstance_t handle, unsigned int profile_id,
                                                                 nvmlComputeInstancePlacement_t *placements,
                                                                 unsigned int *count)
{
    GpuInstance gi;
    MigComputeProfile profile;
    nvmlReturn_t result = profile_of(handle, profile_id, count, &gi, &profile);
    if (result != NVML_SUCCESS)
        return result;
    *count = profile.start_count;
    for (uint32_t i = 0; placements != NULL && i < profile.start_count; i++)
        placements[i] = (nvmlComputeInstancePlacement_t){.start = profile.starts[i], .size = profile.slices};
    return NVML_SUCCESS;
}

/* ---- creation ---- */

static bool random_uuid(uint8_t uuid[16])
{
    ssize_t got;
    do
        got = getrandom(uuid, 16, 0);
    while (got < 0 && errno == EINTR);
    uuid[6] = (uint8_t)((uuid[6] & 0x0F) | 0x50); /* NVIDIA's MIG UUIDs are of version 5, so tools may expect it */
    uuid[8] = (uint8_t)((uuid[8] & 0x3F) | 0x80);
    return got == 16;
}

static bool start_is_legal(const MigComputeProfile *profile, const nvmlComputeInstancePlacement_t *placement)
{
    for (uint32_t i = 0; i < profile->start_count; i++)
        if (profile->starts[i] == placement->start)
            return placement->size == profile->slices;
    return false;
}

static int free_slot(const SimGpuInstance *gi)
{
    for (unsigned ci = 0; ci < SIM_CI_SLOTS; ci++)
        if (!gi->cis[ci].live)
            return (int)ci;
    return -1;
}

static nvmlReturn_t create(nvmlGpuInstance_t handle, unsigned profile_id,
                           const nvmlComputeInstancePlacement_t *placement, nvmlComputeInstance_t *out)
{
    GpuInstance gi;
    MigComputeProfile profile;
    nvmlReturn_t result = profile_of(handle, profile_id, out, &gi, &profile);
    if (result != NVML_SUCCESS)
        return result;
    if (placement != NULL && !start_is_legal(&profile, placement))
        return NVML_ERROR_INVALID_ARGUMENT;
    if (require_privilege() == NVML_SUCCESS)
        sleep_mig_latency();

    Transaction change;
    result = change_gpu_instance(&gi, &change);
    if (result != NVML_SUCCESS)
        return result;
    SimGpuInstance *parent = &change.next.gis[gi.gi];
    int start = placement != NULL ? (int)placement->start : mig_compute_default_start(parent, &profile);
    int id = free_slot(parent);
    if (start < 0 || id < 0 || !mig_compute_fits(parent, &profile, (uint32_t)start))
        return transaction_end(&change, NVML_ERROR_INSUFFICIENT_RESOURCES);
    SimComputeInstance *instance = &parent->cis[id];
    *instance = (SimComputeInstance){
        .live = 1,
        .profile = profile.id,
        .start = (uint32_t)start,
        .size = profile.slices,
        .serial = ++change.next.next_serial,
    };
    if (!random_uuid(instance->uuid))
        return transaction_end(&change, NVML_ERROR_OPERATING_SYSTEM);
    result = transaction_commit(&change);
    if (result == NVML_SUCCESS) {
        gi.parent.now = change.next;
        *out = compute_instance_handle(&gi.parent, gi.gi, (unsigned)id);
    }
    return result;
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t handle, unsigned int profile_id,
                                                  nvmlComputeInstance_t *ci)
{
    return create(handle, profile_id, NULL, ci);
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstanceWithPlacement(nvmlGpuInstance_t handle, unsigned int profile_id,
                                                               const nvmlComputeInstancePlacement_t *placement,
                                                               nvmlComputeInstance_t *ci)
{
    return placement == NULL ? NVML_ERROR_INVALID_ARGUMENT : create(handle, profile_id, placement, ci);
}

nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t handle)
{
    ComputeInstance ci;
    nvmlReturn_t result = compute_instance_of(handle, &ci);
    if (result != NVML_SUCCESS)
        return result;
    if (require_privilege() == NVML_SUCCESS)
        sleep_mig_latency();
    Transaction change;
    result = change_compute_instance(&ci, &change);
    if (result != NVML_SUCCESS)
        return result;
    SimComputeInstance *instance = &change.next.gis[ci.parent.gi].cis[ci.ci];
    if (instance->holder != 0)
        return transaction_end(&change, NVML_ERROR_IN_USE);
    memset(instance, 0, sizeof *instance);
    return transaction_commit(&change);
}

/* ---- look-up ---- */

nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t handle, unsigned int profile_id,
                                                nvmlComputeInstance_t *cis, unsigned int *count)
{
    GpuInstance gi;
    MigComputeProfile profile;
    nvmlReturn_t result = profile_of(handle, profile_id, cis, &gi, &profile);
    if (result != NVML_SUCCESS)
        return result;
    if (count == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    const SimGpuInstance *parent = &gi.parent.now.gis[gi.gi];
    *count = 0;
    for (unsigned ci = 0; ci < SIM_CI_SLOTS; ci++)
        if (parent->cis[ci].live && parent->cis[ci].profile == profile.id)
            cis[(*count)++] = compute_instance_handle(&gi.parent, gi.gi, ci);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t handle, unsigned int id,
                                                   nvmlComputeInstance_t *ci)
{
    GpuInstance gi;
    nvmlReturn_t result = gpu_instance_of(handle, &gi);
    if (result != NVML_SUCCESS)
        return result;
    if (ci == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (id >= SIM_CI_SLOTS || !gi.parent.now.gis[gi.gi].cis[id].live)
        return NVML_ERROR_NOT_FOUND;
    *ci = compute_instance_handle(&gi.parent, gi.gi, id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t handle, nvmlComputeInstanceInfo_t *info)
{
    ComputeInstance ci;
    nvmlReturn_t result = compute_instance_of(handle, &ci);
    if (result != NVML_SUCCESS)
        return result;
    if (info == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    const Device *gpu = &ci.parent.parent;
    const SimComputeInstance *instance = &gpu->now.gis[ci.parent.gi].cis[ci.ci];
    *info = (nvmlComputeInstanceInfo_t){
        .device = mig_device_handle(gpu, ci.parent.gi, ci.ci),
        .gpuInstance = gpu_instance_handle(gpu, ci.parent.gi),
        .id = ci.ci,
        .profileId = instance->profile,
        .placement = {.start = instance->start, .size = instance->size},
    };
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo(nvmlComputeInstance_t handle, nvmlComputeInstanceInfo_t *info)
{
    return nvmlComputeInstanceGetInfo_v2(handle, info);
}
