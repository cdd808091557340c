/* Enumeration and everything NVML tells about one GPU or MIG device, except its partitioning. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nvml.h"
#include "session.h"
#include "visibility.h"

#define MIB (1024ull * 1024ull)

enum { IDLE_CELSIUS = 31, IDLE_MILLIWATTS = 52000, ADDRESSING_MODE_HMM = 1, TIMESLICE_COUNT = 4 };

enum { MAX_HOLDERS = 1 + SIM_GI_SLOTS * SIM_CI_SLOTS }; /* of the whole GPU and of each compute instance */

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

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *name, unsigned int length)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS || !device.is_mig)
        return result != NVML_SUCCESS ? result : give_string(device.board->product_name, name, length);
    char profile[48], text[160];
    const SimGpuInstance *gi = &device.now.gis[device.gi];
    mig_device_profile_name(device.board, gi, &gi->cis[device.ci], profile, sizeof profile);
    snprintf(text, sizeof text, "%s MIG %s", device.board->product_name, profile);
    return give_string(text, name, length);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *uuid, unsigned int length)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    char text[48];
    if (device.is_mig)
        format_uuid("MIG-", device.now.gis[device.gi].cis[device.ci].uuid, text);
    else
        format_uuid("GPU-", device.identity->uuid, text);
    return give_string(text, uuid, length);
}

/* Most queries give one number of a GPU. MIG devices have none of their own unless the name says so. */
#define GPU_NUMBER(function, type, expression)                   \
    nvmlReturn_t function(nvmlDevice_t handle, type *out)        \
    {                                                            \
        Device device;                                           \
        nvmlReturn_t result = gpu_of(handle, &device);           \
        if (result == NVML_SUCCESS && out == NULL)               \
            result = NVML_ERROR_INVALID_ARGUMENT;                \
        if (result == NVML_SUCCESS)                              \
            *out = (type)(expression);                           \
        return result;                                           \
    }
/* The same for what a MIG device answers with its GPU's number. */
#define DEVICE_NUMBER(function, type, expression)                \
    nvmlReturn_t function(nvmlDevice_t handle, type *out)        \
    {                                                            \
        Device device;                                           \
        nvmlReturn_t result = device_of(handle, &device);        \
        if (result == NVML_SUCCESS && out == NULL)               \
            result = NVML_ERROR_INVALID_ARGUMENT;                \
        if (result == NVML_SUCCESS)                              \
            *out = (type)(expression);                           \
        return result;                                           \
    }

GPU_NUMBER(nvmlDeviceGetIndex, unsigned int, session_index_of(device.gpu))
GPU_NUMBER(nvmlDeviceGetMinorNumber, unsigned int, device.identity->minor)
GPU_NUMBER(nvmlDeviceGetModuleId, unsigned int, device.identity->module_id)
GPU_NUMBER(nvmlDeviceGetVirtualizationMode, unsigned int, NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH)
GPU_NUMBER(nvmlDeviceGetPersistenceMode, unsigned int, device.now.persistence)
GPU_NUMBER(nvmlDeviceGetComputeMode, unsigned int, device.now.compute_mode)
GPU_NUMBER(nvmlDeviceGetPowerUsage, unsigned int, IDLE_MILLIWATTS)
GPU_NUMBER(nvmlSimDeviceGetTimeslice, unsigned int, device.now.timeslice)
DEVICE_NUMBER(nvmlDeviceGetBrand, unsigned int, device.board->brand)
DEVICE_NUMBER(nvmlDeviceGetArchitecture, unsigned int, device.board->architecture)

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, unsigned int sensor, unsigned int *celsius)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result == NVML_SUCCESS && (celsius == NULL || sensor != 0))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *celsius = IDLE_CELSIUS;
    return result;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *utilization)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (utilization == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.now.mig_current)
        return NVML_ERROR_NOT_SUPPORTED; /* a partitioned GPU has no utilisation as a whole */
    *utilization = (nvmlUtilization_t){0};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *pci)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (pci == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    const SimGpu *at = device.identity;
    memset(pci, 0, sizeof *pci);
    pci->domain = at->pci_domain;
    pci->bus = at->pci_bus;
    pci->device = at->pci_device;
    pci->pciDeviceId = device.board->pci_device_id;
    pci->pciSubSystemId = device.board->pci_subsystem_id;
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%04X:%02X:%02X.%X", at->pci_domain & 0xFFFF,
             at->pci_bus & 0xFF, at->pci_device & 0x1F, at->pci_function & 7);
    snprintf(pci->busId, sizeof pci->busId, "%08X:%02X:%02X.%X", at->pci_domain, at->pci_bus & 0xFF,
             at->pci_device & 0x1F, at->pci_function & 7);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t handle, nvmlPciInfo_t *pci)
{
    return nvmlDeviceGetPciInfo_v3(handle, pci);
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t handle, nvmlPciInfo_t *pci)
{
    return nvmlDeviceGetPciInfo_v3(handle, pci);
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int *major, int *minor)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (major == NULL || minor == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *major = (int)device.board->cc_major;
    *minor = (int)device.board->cc_minor;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAddressingMode(nvmlDevice_t handle, nvmlDeviceAddressingMode_t *mode)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (mode == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (mode->version != NVML_STRUCT_VERSION(nvmlDeviceAddressingMode_t, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    mode->value = ADDRESSING_MODE_HMM;
    return NVML_SUCCESS;
}

static uint64_t memory_bytes(const Device *device)
{
    if (!device->is_mig)
        return device->board->memory_mib * MIB;
    return device->board->profiles[device->now.gis[device->gi].profile].memory_mib * MIB;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (memory == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    uint64_t total = memory_bytes(&device);
    *memory = (nvmlMemory_t){.total = total, .free = total};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *memory)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (memory == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    uint64_t total = memory_bytes(&device);
    *memory = (nvmlMemory_v2_t){.version = memory->version, .total = total, .free = total};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t handle, nvmlDeviceAttributes_t *attributes)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (attributes == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!device.is_mig)
        return NVML_ERROR_NOT_SUPPORTED;
    const SimGpuInstance *gi = &device.now.gis[device.gi];
    const SimProfile *profile = &device.board->profiles[gi->profile];
    MigComputeProfile compute;
    if (!mig_compute_profile(device.board, gi->profile, gi->cis[device.ci].profile, &compute))
        return NVML_ERROR_UNKNOWN;
    *attributes = (nvmlDeviceAttributes_t){
        .multiprocessorCount = compute.multiprocessors,
        .sharedCopyEngineCount = profile->engines.copy,
        .sharedDecoderCount = profile->engines.decode,
        .sharedEncoderCount = profile->engines.encode,
        .sharedJpegCount = profile->engines.jpeg,
        .sharedOfaCount = profile->engines.ofa,
        .gpuInstanceSliceCount = profile->slices,
        .computeInstanceSliceCount = compute.slices,
        .memorySizeMB = profile->memory_mib,
    };
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes(nvmlDevice_t handle, nvmlDeviceAttributes_t *attributes)
{
    return nvmlDeviceGetAttributes_v2(handle, attributes);
}

/* Settings an administrator makes on a whole GPU. */
static nvmlReturn_t set_number(nvmlDevice_t handle, size_t field, uint32_t value, uint32_t limit)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (value >= limit)
        return NVML_ERROR_INVALID_ARGUMENT;
    Transaction change;
    result = change_gpu(&device, &change);
    if (result != NVML_SUCCESS)
        return result;
    memcpy((char *)&change.next + field, &value, sizeof value);
    return transaction_commit(&change);
}

nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t handle, unsigned int mode)
{
    return set_number(handle, offsetof(SimGpuState, persistence), mode, 2);
}

nvmlReturn_t nvmlDeviceSetComputeMode(nvmlDevice_t handle, unsigned int mode)
{
    return set_number(handle, offsetof(SimGpuState, compute_mode), mode, NVML_COMPUTEMODE_COUNT);
}

nvmlReturn_t nvmlSimDeviceSetTimeslice(nvmlDevice_t handle, unsigned int timeslice)
{
    return set_number(handle, offsetof(SimGpuState, timeslice), timeslice, TIMESLICE_COUNT);
}

/* Simulated clients: nothing runs on these GPUs, but a test can say that a process holds one. */
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
