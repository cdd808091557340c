/* Processes on a device. Nothing runs on simulated GPUs, but a test can say that a process holds one. */
#include <stddef.h>

#include "nvml.h"
#include "session.h"

enum { MAX_HOLDERS = 1 + SIM_GI_SLOTS * SIM_CI_SLOTS }; /* of the whole GPU and of each compute instance */

static unsigned holders(const Device *device, nvmlProcessInfo_t out[MAX_HOLDERS])
{
    unsigned count = 0;
    if (!device->is_mig && device->now.holder != 0)
        out[count++] = (nvmlProcessInfo_t){device->now.holder, 0, NVML_INSTANCE_ID_NONE, NVML_INSTANCE_ID_NONE};
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++) {
        for (unsigned ci = 0; device->now.gis[gi].live && ci < SIM_CI_SLOTS; ci++) {
            const SimComputeInstance *instance = &device->now.gis[gi].cis[ci];
            bool asked = !device->is_mig || (device->gi == gi && device->ci == ci);
            if (asked && instance->live && instance->holder != 0)
                out[count++] = (nvmlProcessInfo_t){instance->holder, 0, gi, ci};
        }
    }
    return count;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count,
                                                     nvmlProcessInfo_t *processes)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (count == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlProcessInfo_t found[MAX_HOLDERS];
    unsigned room = *count;
    *count = holders(&device, found);
    if (*count > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    if (*count > 0 && processes == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < *count; i++)
        processes[i] = found[i];
    return NVML_SUCCESS;
}

static nvmlReturn_t no_processes(nvmlDevice_t handle, unsigned int *count)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result == NVML_SUCCESS && count == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *count = 0;
    return result;
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count,
                                                      nvmlProcessInfo_t *processes)
{
    (void)processes;
    return no_processes(handle, count);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count,
                                                        nvmlProcessInfo_t *processes)
{
    (void)processes;
    return no_processes(handle, count);
}
