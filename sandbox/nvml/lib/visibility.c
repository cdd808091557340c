#include "visibility.h"

#include <errno.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "capabilities.h"

/* 0, or the error open() would give. access() asks the device cgroup as open() does, but knows nothing of "nodev". */
static int refusal(const char *path, int mode)
{
    if (access(path, mode) != 0)
        return errno;
    struct statvfs mount;
    return statvfs(path, &mount) == 0 && (mount.f_flag & ST_NODEV) != 0 ? EACCES : 0;
}

nvmlReturn_t visibility_of_control_node(const SimState *state)
{
    char path[SIM_PATH_MAX];
    snprintf(path, sizeof path, "%s/dev/nvidiactl", state->root);
    switch (refusal(path, R_OK | W_OK)) {
    case 0:
        return NVML_SUCCESS;
    case EACCES:
        return NVML_ERROR_NO_PERMISSION;
    case EPERM:
        return NVML_ERROR_UNKNOWN; /* what users of containers know after their device cgroup was rewritten */
    default:
        return NVML_ERROR_DRIVER_NOT_LOADED;
    }
}

bool visibility_of_gpu(const SimState *state, unsigned gpu)
{
    char path[SIM_PATH_MAX];
    snprintf(path, sizeof path, "%s/dev/nvidia%u", state->root, state->file->gpus[gpu].minor);
    return refusal(path, R_OK | W_OK) == 0;
}

static bool capability_is_visible(const SimState *state, unsigned minor_number)
{
    char path[SIM_PATH_MAX];
    snprintf(path, sizeof path, "%s/dev/nvidia-caps/nvidia-cap%u", state->root, minor_number);
    return refusal(path, R_OK) == 0;
}

bool visibility_of_gpu_instance(const SimState *state, unsigned gpu, unsigned gi)
{
    return capability_is_visible(state, capabilities_gi_minor(state->file->gpus[gpu].minor, gi));
}

bool visibility_of_mig_device(const SimState *state, unsigned gpu, unsigned gi, unsigned ci)
{
    return visibility_of_gpu_instance(state, gpu, gi) &&
           capability_is_visible(state, capabilities_ci_minor(state->file->gpus[gpu].minor, gi, ci));
}
