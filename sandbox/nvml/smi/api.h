/*
 * The NVML library that nvidia-smi found at run time.
 *
 * Owns loading it and the table of its functions; refuses a library that is not the simulated one, so that this program
 * never reports or changes a real GPU.
 */
#ifndef SMI_API_H
#define SMI_API_H

#include "nvml.h"

#define SMI_CALLS(X)                              \
    X(nvmlInit_v2)                                \
    X(nvmlErrorString)                            \
    X(nvmlSystemGetDriverVersion)                 \
    X(nvmlSystemGetNVMLVersion)                   \
    X(nvmlSystemGetCudaDriverVersion)             \
    X(nvmlDeviceGetCount_v2)                      \
    X(nvmlDeviceGetHandleByIndex_v2)              \
    X(nvmlDeviceGetName)                          \
    X(nvmlDeviceGetUUID)                          \
    X(nvmlDeviceGetPciInfo_v3)                    \
    X(nvmlDeviceGetCudaComputeCapability)         \
    X(nvmlDeviceGetMemoryInfo)                    \
    X(nvmlDeviceGetAttributes_v2)                 \
    X(nvmlDeviceGetPersistenceMode)               \
    X(nvmlDeviceSetPersistenceMode)               \
    X(nvmlDeviceGetComputeMode)                   \
    X(nvmlDeviceSetComputeMode)                   \
    X(nvmlDeviceGetTemperature)                   \
    X(nvmlDeviceGetPowerUsage)                    \
    X(nvmlDeviceGetUtilizationRates)              \
    X(nvmlDeviceGetComputeRunningProcesses_v3)    \
    X(nvmlDeviceGetMigMode)                       \
    X(nvmlDeviceSetMigMode)                       \
    X(nvmlDeviceGetMaxMigDeviceCount)             \
    X(nvmlDeviceGetMigDeviceHandleByIndex)        \
    X(nvmlDeviceGetGpuInstanceId)                 \
    X(nvmlDeviceGetComputeInstanceId)             \
    X(nvmlDeviceGetGpuInstanceProfileInfoV)       \
    X(nvmlDeviceGetGpuInstancePossiblePlacements_v2) \
    X(nvmlDeviceGetGpuInstanceRemainingCapacity)  \
    X(nvmlDeviceCreateGpuInstance)                \
    X(nvmlDeviceCreateGpuInstanceWithPlacement)   \
    X(nvmlDeviceGetGpuInstances)                  \
    X(nvmlGpuInstanceGetInfo)                     \
    X(nvmlGpuInstanceDestroy)                     \
    X(nvmlGpuInstanceGetComputeInstanceProfileInfoV) \
    X(nvmlGpuInstanceGetComputeInstanceRemainingCapacity) \
    X(nvmlGpuInstanceCreateComputeInstance)       \
    X(nvmlGpuInstanceGetComputeInstances)         \
    X(nvmlComputeInstanceGetInfo_v2)              \
    X(nvmlComputeInstanceDestroy)                 \
    X(nvmlSimDeviceReset)                         \
    X(nvmlSimDeviceGetTimeslice)                  \
    X(nvmlSimDeviceSetTimeslice)

typedef struct {
#define X(name) __typeof__(name) *name;
    SMI_CALLS(X)
#undef X
} SmiApi;

extern SmiApi api;

/* 0, or an exit status after saying what is wrong. */
int api_load(void);

#endif
