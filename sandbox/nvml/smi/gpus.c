#include "gpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exit_status.h"

static unsigned all_gpus(GpuList *out)
{
    unsigned count = 0;
    out->count = 0;
    api.nvmlDeviceGetCount_v2(&count);
    for (unsigned i = 0; i < count && i < MAX_GPUS; i++) {
        Gpu *gpu = &out->gpus[out->count++];
        gpu->index = i;
        gpu->lost = api.nvmlDeviceGetHandleByIndex_v2(i, &gpu->handle);
    }
    return out->count;
}

/* "0:10:1c.0", "0000:10:1C.0" and "00000000:10:1C.0" are the same place. */
static bool same_bus_id(const char *a, const char *b)
{
    unsigned left[4] = {0}, right[4] = {0};
    return sscanf(a, "%x:%x:%x.%x", &left[0], &left[1], &left[2], &left[3]) >= 3 &&
           sscanf(b, "%x:%x:%x.%x", &right[0], &right[1], &right[2], &right[3]) >= 3 &&
           memcmp(left, right, sizeof left) == 0;
}

static bool is_named(const Gpu *gpu, const char *name)
{
    char *end;
    unsigned long index = strtoul(name, &end, 10);
    if (end != name && *end == '\0')
        return index == gpu->index;
    char uuid[96] = "", bus_id[32] = "";
    if (gpu->lost != NVML_SUCCESS)
        return false;
    api.nvmlDeviceGetUUID(gpu->handle, uuid, sizeof uuid);
    gpu_bus_id(gpu, bus_id);
    return strcasecmp(uuid, name) == 0 || same_bus_id(name, bus_id);
}

int gpus_select(const char *which, GpuList *out)
{
    GpuList all;
    if (all_gpus(&all) == 0) {
        printf("No devices were found\n");
        return status_of(NVML_ERROR_NOT_FOUND);
    }
    if (which == NULL) {
        *out = all;
        return 0;
    }
    out->count = 0;
    char names[1024];
    snprintf(names, sizeof names, "%s", which);
    char *rest = names;
    for (char *name = strsep(&rest, ","); name != NULL; name = strsep(&rest, ",")) {
        bool found = false;
        for (unsigned i = 0; i < all.count && !found; i++) {
            found = is_named(&all.gpus[i], name);
            if (found && out->count < MAX_GPUS)
                out->gpus[out->count++] = all.gpus[i];
        }
        if (!found) {
            printf("No devices were found: no GPU is called \"%s\"; `nvidia-smi -L` lists indexes and UUIDs\n", name);
            return status_of(NVML_ERROR_NOT_FOUND);
        }
    }
    return 0;
}

void gpu_bus_id(const Gpu *gpu, char out[32])
{
    nvmlPciInfo_t pci;
    if (gpu->lost != NVML_SUCCESS || api.nvmlDeviceGetPciInfo_v3(gpu->handle, &pci) != NVML_SUCCESS)
        pci.busId[0] = '\0';
    memcpy(out, pci.busId, 32);
}

bool gpu_mig_enabled(const Gpu *gpu)
{
    unsigned current = 0, pending = 0;
    return gpu->lost == NVML_SUCCESS &&
           api.nvmlDeviceGetMigMode(gpu->handle, &current, &pending) == NVML_SUCCESS && current != 0;
}

unsigned gpu_mig_devices(const Gpu *gpu, MigDevice out[MAX_MIG_DEVICES])
{
    unsigned limit = 0, found = 0;
    if (gpu->lost != NVML_SUCCESS)
        return 0;
    api.nvmlDeviceGetMaxMigDeviceCount(gpu->handle, &limit);
    for (unsigned i = 0; i < limit && found < MAX_MIG_DEVICES; i++) {
        MigDevice *device = &out[found];
        char name[96] = "";
        if (api.nvmlDeviceGetMigDeviceHandleByIndex(gpu->handle, i, &device->handle) != NVML_SUCCESS)
            continue;
        if (api.nvmlDeviceGetName(device->handle, name, sizeof name) != NVML_SUCCESS ||
            api.nvmlDeviceGetUUID(device->handle, device->uuid, sizeof device->uuid) != NVML_SUCCESS ||
            api.nvmlDeviceGetGpuInstanceId(device->handle, &device->gi) != NVML_SUCCESS ||
            api.nvmlDeviceGetComputeInstanceId(device->handle, &device->ci) != NVML_SUCCESS)
            continue; /* destroyed since */
        const char *profile = strstr(name, " MIG ");
        snprintf(device->name, sizeof device->name, "%s", profile != NULL ? profile + strlen(" MIG ") : name);
        device->index = i;
        found++;
    }
    return found;
}

void gpu_complain(const Gpu *gpu)
{
    printf("Unable to determine the device handle for GPU%u: %s\n", gpu->index, api.nvmlErrorString(gpu->lost));
}
