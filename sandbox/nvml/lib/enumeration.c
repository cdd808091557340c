/* Finding devices: by index, UUID or PCI address. */
#include <stdio.h>
#include <strings.h>

#include "nvml.h"
#include "session.h"
#include "visibility.h"

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    SimState *state;
    if (count == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t result = session_enter(&state);
    if (result == NVML_SUCCESS)
        *count = session_gpu_count();
    return result;
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count)
{
    return nvmlDeviceGetCount_v2(count);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    SimState *state;
    nvmlReturn_t result = session_enter(&state);
    if (result != NVML_SUCCESS)
        return result;
    if (device == NULL || index >= session_gpu_count())
        return NVML_ERROR_INVALID_ARGUMENT;
    Device found;
    result = device_at(session_gpu_at(index), &found);
    if (result == NVML_SUCCESS)
        *device = gpu_handle(found.gpu);
    return result;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

static bool find_mig_device(const Device *gpu, const char *uuid, nvmlDevice_t *device)
{
    char text[48];
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++) {
        for (unsigned ci = 0; gpu->now.gis[gi].live && ci < SIM_CI_SLOTS; ci++) {
            if (!gpu->now.gis[gi].cis[ci].live)
                continue;
            format_uuid("MIG-", gpu->now.gis[gi].cis[ci].uuid, text);
            SimState *state;
            if (strcasecmp(text, uuid) == 0 && session_state(&state) == NVML_SUCCESS &&
                visibility_of_mig_device(state, gpu->gpu, gi, ci)) {
                *device = mig_device_handle(gpu, gi, ci);
                return true;
            }
        }
    }
    return false;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    SimState *state;
    nvmlReturn_t result = session_enter(&state);
    if (result != NVML_SUCCESS)
        return result;
    if (uuid == NULL || device == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < session_gpu_count(); i++) {
        Device gpu;
        char text[48];
        result = device_at(session_gpu_at(i), &gpu);
        format_uuid("GPU-", gpu.identity->uuid, text);
        if (strcasecmp(text, uuid) == 0) {
            if (result == NVML_SUCCESS)
                *device = gpu_handle(gpu.gpu);
            return result;
        }
        if (result == NVML_SUCCESS && find_mig_device(&gpu, uuid, device))
            return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device)
{
    SimState *state;
    nvmlReturn_t result = session_enter(&state);
    if (result != NVML_SUCCESS)
        return result;
    unsigned domain = 0, bus, slot, function = 0;
    if (bus_id == NULL || device == NULL ||
        (sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3 &&
         sscanf(bus_id, "%x:%x.%x", &bus, &slot, &function) < 2))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < session_gpu_count(); i++) {
        Device gpu;
        result = device_at(session_gpu_at(i), &gpu);
        const SimGpu *at = gpu.identity;
        if (at->pci_domain != domain || at->pci_bus != bus || at->pci_device != slot || at->pci_function != function)
            continue;
        if (result == NVML_SUCCESS)
            *device = gpu_handle(gpu.gpu);
        return result;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *bus_id, nvmlDevice_t *device)
{
    return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}
