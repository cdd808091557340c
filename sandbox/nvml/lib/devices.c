/* Everything NVML tells about one GPU or MIG device, except its partitioning, and the settings of a whole GPU. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "nvml.h"
#include "session.h"

#define MIB (1024ull * 1024ull)

enum { IDLE_CELSIUS = 31, IDLE_MILLIWATTS = 52000, ADDRESSING_MODE_HMM = 1, TIMESLICE_COUNT = 4 };

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
