/* nvidia-smi --query-gpu=FIELDS --format=csv[,noheader][,nounits] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "exit_status.h"
#include "gpus.h"

#define MIB (1024ull * 1024ull)

enum { NOT_AVAILABLE = 0, AVAILABLE = 1, TEXT = 160, MAX_FIELDS = 64 };

/* Writes a value without its unit; NOT_AVAILABLE prints as [N/A]. */
typedef int Show(const Gpu *gpu, char out[TEXT]);

static int show_index(const Gpu *gpu, char out[TEXT])
{
    snprintf(out, TEXT, "%u", gpu->index);
    return AVAILABLE;
}

static int show_count(const Gpu *gpu, char out[TEXT])
{
    unsigned count = 0;
    (void)gpu;
    api.nvmlDeviceGetCount_v2(&count);
    snprintf(out, TEXT, "%u", count);
    return AVAILABLE;
}

static int show_name(const Gpu *gpu, char out[TEXT])
{
    return api.nvmlDeviceGetName(gpu->handle, out, TEXT) == NVML_SUCCESS;
}

static int show_uuid(const Gpu *gpu, char out[TEXT])
{
    return api.nvmlDeviceGetUUID(gpu->handle, out, TEXT) == NVML_SUCCESS;
}

static int show_bus_id(const Gpu *gpu, char out[TEXT])
{
    gpu_bus_id(gpu, out);
    return AVAILABLE;
}

static int show_driver(const Gpu *gpu, char out[TEXT])
{
    (void)gpu;
    return api.nvmlSystemGetDriverVersion(out, TEXT) == NVML_SUCCESS;
}

static int show_capability(const Gpu *gpu, char out[TEXT])
{
    int major, minor;
    if (api.nvmlDeviceGetCudaComputeCapability(gpu->handle, &major, &minor) != NVML_SUCCESS)
        return NOT_AVAILABLE;
    snprintf(out, TEXT, "%d.%d", major, minor);
    return AVAILABLE;
}

static int show_memory(const Gpu *gpu, char out[TEXT], size_t which)
{
    nvmlMemory_t memory;
    if (api.nvmlDeviceGetMemoryInfo(gpu->handle, &memory) != NVML_SUCCESS)
        return NOT_AVAILABLE;
    unsigned long long bytes;
    memcpy(&bytes, (const char *)&memory + which, sizeof bytes);
    snprintf(out, TEXT, "%llu", bytes / MIB);
    return AVAILABLE;
}

static int show_memory_total(const Gpu *gpu, char out[TEXT])
{
    return show_memory(gpu, out, offsetof(nvmlMemory_t, total));
}

static int show_memory_used(const Gpu *gpu, char out[TEXT])
{
    return show_memory(gpu, out, offsetof(nvmlMemory_t, used));
}

static int show_memory_free(const Gpu *gpu, char out[TEXT])
{
    return show_memory(gpu, out, offsetof(nvmlMemory_t, free));
}

static int show_mig_mode(const Gpu *gpu, char out[TEXT], bool want_pending)
{
    unsigned current, pending;
    if (api.nvmlDeviceGetMigMode(gpu->handle, &current, &pending) != NVML_SUCCESS)
        return NOT_AVAILABLE;
    snprintf(out, TEXT, "%s", (want_pending ? pending : current) ? "Enabled" : "Disabled");
    return AVAILABLE;
}

static int show_mig_current(const Gpu *gpu, char out[TEXT])
{
    return show_mig_mode(gpu, out, false);
}

static int show_mig_pending(const Gpu *gpu, char out[TEXT])
{
    return show_mig_mode(gpu, out, true);
}

static int show_compute_mode(const Gpu *gpu, char out[TEXT])
{
    static const char *const names[] = {"Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process"};
    unsigned mode;
    if (api.nvmlDeviceGetComputeMode(gpu->handle, &mode) != NVML_SUCCESS || mode >= 4)
        return NOT_AVAILABLE;
    snprintf(out, TEXT, "%s", names[mode]);
    return AVAILABLE;
}

static int show_persistence(const Gpu *gpu, char out[TEXT])
{
    unsigned mode;
    if (api.nvmlDeviceGetPersistenceMode(gpu->handle, &mode) != NVML_SUCCESS)
        return NOT_AVAILABLE;
    snprintf(out, TEXT, "%s", mode ? "Enabled" : "Disabled");
    return AVAILABLE;
}

static int show_temperature(const Gpu *gpu, char out[TEXT])
{
    unsigned celsius;
    if (api.nvmlDeviceGetTemperature(gpu->handle, 0, &celsius) != NVML_SUCCESS)
        return NOT_AVAILABLE;
    snprintf(out, TEXT, "%u", celsius);
    return AVAILABLE;
}

static int show_utilization(const Gpu *gpu, char out[TEXT])
{
    nvmlUtilization_t utilization;
    if (api.nvmlDeviceGetUtilizationRates(gpu->handle, &utilization) != NVML_SUCCESS)
        return NOT_AVAILABLE;
    snprintf(out, TEXT, "%u", utilization.gpu);
    return AVAILABLE;
}

typedef struct {
    const char *name, *also, *unit;
    Show *show;
} Field;

static const Field fields[] = {
    {"index", NULL, NULL, show_index},
    {"count", NULL, NULL, show_count},
    {"name", "gpu_name", NULL, show_name},
    {"uuid", "gpu_uuid", NULL, show_uuid},
    {"pci.bus_id", "gpu_bus_id", NULL, show_bus_id},
    {"driver_version", NULL, NULL, show_driver},
    {"compute_cap", NULL, NULL, show_capability},
    {"memory.total", NULL, "MiB", show_memory_total},
    {"memory.used", NULL, "MiB", show_memory_used},
    {"memory.free", NULL, "MiB", show_memory_free},
    {"mig.mode.current", NULL, NULL, show_mig_current},
    {"mig.mode.pending", NULL, NULL, show_mig_pending},
    {"compute_mode", NULL, NULL, show_compute_mode},
    {"persistence_mode", NULL, NULL, show_persistence},
    {"temperature.gpu", NULL, NULL, show_temperature},
    {"utilization.gpu", NULL, "%", show_utilization},
};

static const Field *find_field(const char *name)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i].name, name) == 0 || (fields[i].also != NULL && strcmp(fields[i].also, name) == 0))
            return &fields[i];
    return NULL;
}

static bool has_option(const char *format, const char *option)
{
    char words[256];
    snprintf(words, sizeof words, "%s", format);
    char *rest = words;
    for (char *word = strsep(&rest, ","); word != NULL; word = strsep(&rest, ","))
        if (strcmp(word, option) == 0)
            return true;
    return false;
}

static void print_row(const Gpu *gpu, const Field *const *wanted, size_t count, bool units)
{
    for (size_t i = 0; i < count; i++) {
        char text[TEXT];
        bool known = wanted[i]->show(gpu, text) == AVAILABLE;
        printf("%s%s", i == 0 ? "" : ", ", known ? text : "[N/A]");
        if (known && units && wanted[i]->unit != NULL)
            printf(" %s", wanted[i]->unit);
    }
    printf("\n");
}

int command_query_gpu(const char *which, const char *names, const char *format)
{
    if (format == NULL || !has_option(format, "csv")) {
        printf("Option --format=csv is missing: a query of fields needs it, for example --format=csv,noheader\n");
        return status_of(NVML_ERROR_INVALID_ARGUMENT);
    }
    const Field *wanted[MAX_FIELDS];
    size_t count = 0;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", names);
    char *rest = copy;
    for (char *name = strsep(&rest, ","); name != NULL && count < MAX_FIELDS; name = strsep(&rest, ",")) {
        name += strspn(name, " ");
        wanted[count] = find_field(name);
        if (wanted[count++] == NULL) {
            printf("Field \"%s\" is not a valid field to query.\n\nThe simulated GPUs know:", name);
            for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
                printf(" %s", fields[i].name);
            printf("\n");
            return status_of(NVML_ERROR_INVALID_ARGUMENT);
        }
    }
    GpuList list;
    int status = gpus_select(which, &list);
    if (status != 0)
        return status;
    bool units = !has_option(format, "nounits");
    if (!has_option(format, "noheader")) {
        for (size_t i = 0; i < count; i++) {
            printf("%s%s", i == 0 ? "" : ", ", wanted[i]->name);
            if (wanted[i]->unit != NULL)
                printf(" [%s]", wanted[i]->unit);
        }
        printf("\n");
    }
    for (unsigned i = 0; i < list.count; i++) {
        if (list.gpus[i].lost == NVML_SUCCESS) {
            print_row(&list.gpus[i], wanted, count, units);
        } else {
            gpu_complain(&list.gpus[i]);
            status = status_of(list.gpus[i].lost);
        }
    }
    return status;
}
