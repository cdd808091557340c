/* nvidia-smi -L: the text that scripts parse, so it is the real tool's to the letter. */
#include <stdio.h>

#include "commands.h"
#include "exit_status.h"
#include "gpus.h"

int command_list(const char *which)
{
    GpuList list;
    int status = gpus_select(which, &list);
    if (status != 0)
        return status;
    for (unsigned i = 0; i < list.count; i++) {
        const Gpu *gpu = &list.gpus[i];
        if (gpu->lost != NVML_SUCCESS) {
            gpu_complain(gpu);
            status = status_of(gpu->lost);
            continue;
        }
        char name[96] = "", uuid[96] = "";
        api.nvmlDeviceGetName(gpu->handle, name, sizeof name);
        api.nvmlDeviceGetUUID(gpu->handle, uuid, sizeof uuid);
        printf("GPU %u: %s (UUID: %s)\n", gpu->index, name, uuid);
        MigDevice devices[MAX_MIG_DEVICES];
        unsigned count = gpu_mig_devices(gpu, devices);
        for (unsigned j = 0; j < count; j++)
            printf("  MIG %-11s Device %2u: (UUID: %s)\n", devices[j].name, devices[j].index, devices[j].uuid);
    }
    return status;
}
