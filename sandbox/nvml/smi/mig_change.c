/* The changes of `nvidia-smi mig`. A list stops at the first failure and keeps what it made, as the real tool does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_status.h"
#include "mig.h"

enum { LIST_TEXT = 512 };

static int failed(const char *what, nvmlReturn_t result)
{
    printf("Failed to %s: %s\n", what, api.nvmlErrorString(result));
    return status_of(result);
}

static const char *without_mig(const char *name)
{
    return strncmp(name, "MIG ", 4) == 0 ? name + 4 : name;
}

/* A profile is named by its id or its name. */
static bool names_profile(const char *wanted, unsigned id, const char *name)
{
    char *end;
    unsigned long number = strtoul(wanted, &end, 10);
    if (end != wanted && *end == '\0')
        return number == id;
    return strcmp(without_mig(wanted), without_mig(name)) == 0;
}

/* ---- GPU instances ---- */

static bool find_gpu_profile(const Gpu *gpu, const char *wanted, nvmlGpuInstanceProfileInfo_v2_t *info)
{
    nvmlGpuInstanceProfileInfo_v2_t profiles[MAX_PROFILES];
    unsigned count = gpu_profiles(gpu, profiles);
    for (unsigned i = 0; i < count; i++) {
        *info = profiles[i];
        if (names_profile(wanted, info->id, info->name))
            return true;
    }
    return false;
}

static nvmlReturn_t create_at(const Gpu *gpu, const nvmlGpuInstanceProfileInfo_v2_t *info, const char *start,
                              nvmlGpuInstance_t *out)
{
    if (start == NULL)
        return api.nvmlDeviceCreateGpuInstance(gpu->handle, info->id, out);
    nvmlGpuInstancePlacement_t places[MAX_LISTED];
    unsigned count = 0;
    nvmlReturn_t result = api.nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu->handle, info->id, places, &count);
    for (unsigned i = 0; result == NVML_SUCCESS && i < count; i++)
        if (places[i].start == strtoul(start, NULL, 10))
            return api.nvmlDeviceCreateGpuInstanceWithPlacement(gpu->handle, info->id, &places[i], out);
    return result != NVML_SUCCESS ? result : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t create_compute_instance(const Gpu *gpu, const MigGpuInstance *gi, const char *wanted);

static nvmlReturn_t create_gpu_instance(const Gpu *gpu, const char *wanted, bool with_compute_instance)
{
    char name[LIST_TEXT];
    snprintf(name, sizeof name, "%s", wanted);
    char *start = strchr(name, ':');
    if (start != NULL)
        *start++ = '\0';
    nvmlGpuInstanceProfileInfo_v2_t info;
    MigGpuInstance gi;
    nvmlReturn_t result = NVML_ERROR_INVALID_ARGUMENT;
    if (find_gpu_profile(gpu, name, &info))
        result = create_at(gpu, &info, start, &gi.handle);
    if (result == NVML_SUCCESS)
        result = api.nvmlGpuInstanceGetInfo(gi.handle, &gi.info);
    if (result != NVML_SUCCESS) {
        printf("Unable to create a GPU instance on GPU %2u using profile %s: %s\n", gpu->index, wanted,
               api.nvmlErrorString(result));
        return result;
    }
    memcpy(gi.profile, info.name, sizeof gi.profile);
    printf("Successfully created GPU instance ID %2u on GPU %2u using profile %s (ID %2u)\n", gi.info.id, gpu->index,
           info.name, info.id);
    return with_compute_instance ? create_compute_instance(gpu, &gi, NULL) : NVML_SUCCESS;
}

int mig_create_gpu_instances(const MigOptions *options)
{
    for (unsigned i = 0; i < options->gpus.count; i++) {
        char list[LIST_TEXT];
        snprintf(list, sizeof list, "%s", options->profiles);
        char *rest = list;
        for (char *name = strsep(&rest, ","); name != NULL; name = strsep(&rest, ",")) {
            nvmlReturn_t result = create_gpu_instance(&options->gpus.gpus[i], name, options->with_compute_instances);
            if (result != NVML_SUCCESS)
                return failed("create GPU instances", result);
        }
    }
    return 0;
}

int mig_destroy_gpu_instances(const MigOptions *options)
{
    bool any = false;
    for (unsigned i = 0; i < options->gpus.count; i++) {
        MigGpuInstance gis[MAX_MIG_DEVICES];
        unsigned count = gpu_instances(&options->gpus.gpus[i], &options->gis, gis);
        for (unsigned j = 0; j < count; j++) {
            nvmlReturn_t result = api.nvmlGpuInstanceDestroy(gis[j].handle);
            if (result != NVML_SUCCESS) {
                printf("Unable to destroy GPU instance ID %2u from GPU %2u: %s\n", gis[j].info.id,
                       options->gpus.gpus[i].index, api.nvmlErrorString(result));
                return failed("destroy GPU instances", result);
            }
            printf("Successfully destroyed GPU instance ID %2u from GPU %2u\n", gis[j].info.id,
                   options->gpus.gpus[i].index);
            any = true;
        }
    }
    if (any)
        return 0;
    printf("No GPU instances found: Not Found\n");
    return status_of(NVML_ERROR_NOT_FOUND);
}

/* ---- compute instances ---- */

static bool find_compute_profile(const MigGpuInstance *gi, const char *wanted,
                                 nvmlComputeInstanceProfileInfo_v2_t *info)
{
    for (unsigned profile = 0; profile < NVML_COMPUTE_INSTANCE_PROFILE_COUNT; profile++)
        if (compute_profile(gi, profile, info) &&
            (wanted == NULL ? is_default_profile(gi, info) : names_profile(wanted, info->id, info->name)))
            return true;
    return false;
}

static nvmlReturn_t create_compute_instance(const Gpu *gpu, const MigGpuInstance *gi, const char *wanted)
{
    nvmlComputeInstanceProfileInfo_v2_t profile;
    nvmlComputeInstance_t handle;
    nvmlComputeInstanceInfo_t info;
    nvmlReturn_t result = NVML_ERROR_INVALID_ARGUMENT;
    if (find_compute_profile(gi, wanted, &profile))
        result = api.nvmlGpuInstanceCreateComputeInstance(gi->handle, profile.id, &handle);
    if (result == NVML_SUCCESS)
        result = api.nvmlComputeInstanceGetInfo_v2(handle, &info);
    if (result != NVML_SUCCESS)
        printf("Unable to create a compute instance on GPU %2u GPU instance ID %2u using profile %s: %s\n",
               gpu->index, gi->info.id, wanted != NULL ? wanted : "default", api.nvmlErrorString(result));
    else
        printf("Successfully created compute instance ID %2u on GPU %2u GPU instance ID %2u using profile %s "
               "(ID %2u)\n",
               info.id, gpu->index, gi->info.id, profile.name, profile.id);
    return result;
}

static nvmlReturn_t create_in(const Gpu *gpu, const MigGpuInstance *gi, const char *profiles)
{
    if (profiles == NULL)
        return create_compute_instance(gpu, gi, NULL);
    char list[LIST_TEXT];
    snprintf(list, sizeof list, "%s", profiles);
    char *rest = list;
    nvmlReturn_t result = NVML_SUCCESS;
    for (char *name = strsep(&rest, ","); name != NULL && result == NVML_SUCCESS; name = strsep(&rest, ","))
        result = create_compute_instance(gpu, gi, name);
    return result;
}

int mig_create_compute_instances(const MigOptions *options)
{
    bool any = false;
    for (unsigned i = 0; i < options->gpus.count; i++) {
        MigGpuInstance gis[MAX_MIG_DEVICES];
        unsigned count = gpu_instances(&options->gpus.gpus[i], &options->gis, gis);
        for (unsigned j = 0; j < count; j++) {
            nvmlReturn_t result = create_in(&options->gpus.gpus[i], &gis[j], options->profiles);
            if (result != NVML_SUCCESS)
                return failed("create compute instances", result);
            any = true;
        }
    }
    if (any)
        return 0;
    printf("No GPU instances found: Not Found\n");
    return status_of(NVML_ERROR_NOT_FOUND);
}

int mig_destroy_compute_instances(const MigOptions *options)
{
    bool any = false;
    for (unsigned i = 0; i < options->gpus.count; i++) {
        MigGpuInstance gis[MAX_MIG_DEVICES];
        unsigned count = gpu_instances(&options->gpus.gpus[i], &options->gis, gis);
        for (unsigned j = 0; j < count; j++) {
            MigComputeInstance cis[8];
            unsigned inside = compute_instances(&gis[j], &options->cis, cis);
            for (unsigned k = 0; k < inside; k++) {
                nvmlReturn_t result = api.nvmlComputeInstanceDestroy(cis[k].handle);
                if (result != NVML_SUCCESS) {
                    printf("Unable to destroy compute instance ID %2u from GPU %2u GPU instance ID %2u: %s\n",
                           cis[k].info.id, options->gpus.gpus[i].index, gis[j].info.id, api.nvmlErrorString(result));
                    return failed("destroy compute instances", result);
                }
                printf("Successfully destroyed compute instance ID %2u from GPU %2u GPU instance ID %2u\n",
                       cis[k].info.id, options->gpus.gpus[i].index, gis[j].info.id);
                any = true;
            }
        }
    }
    if (any)
        return 0;
    printf("No compute instances found: Not Found\n");
    return status_of(NVML_ERROR_NOT_FOUND);
}
