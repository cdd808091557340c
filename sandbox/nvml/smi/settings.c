/* What nvidia-smi changes on whole GPUs: MIG mode, compute mode, persistence, time slices, reset. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "exit_status.h"
#include "gpus.h"

/* Runs `change` on each GPU; the first failure decides the exit status, the others still get their turn. */
typedef nvmlReturn_t Change(const Gpu *gpu, const char *bus_id, unsigned value);

static int for_each(const char *which, unsigned value, const char *what, Change *change)
{
    GpuList list;
    int status = gpus_select(which, &list);
    if (status != 0)
        return status;
    for (unsigned i = 0; i < list.count; i++) {
        const Gpu *gpu = &list.gpus[i];
        char bus_id[32] = "";
        gpu_bus_id(gpu, bus_id);
        nvmlReturn_t result = gpu->lost != NVML_SUCCESS ? gpu->lost : change(gpu, bus_id, value);
        if (result == NVML_SUCCESS)
            continue;
        printf("Unable to %s for GPU %s: %s\n", what, bus_id, api.nvmlErrorString(result));
        if (status == 0)
            status = status_of(result);
    }
    printf(status == 0 ? "All done.\n" : "Terminating early due to previous errors.\n");
    return status;
}

static int choose(const char *text, const char *const *names, unsigned count, unsigned *value)
{
    for (unsigned i = 0; i < count; i++) {
        char digit[12];
        snprintf(digit, sizeof digit, "%u", i);
        if (names[i] != NULL && (strcasecmp(text, names[i]) == 0 || strcmp(text, digit) == 0)) {
            *value = i;
            return 0;
        }
    }
    printf("Invalid value \"%s\". It is one of:", text);
    for (unsigned i = 0; i < count; i++)
        if (names[i] != NULL)
            printf(" %u/%s", i, names[i]);
    printf("\n");
    return status_of(NVML_ERROR_INVALID_ARGUMENT);
}

static const char *const on_off[] = {"DISABLED", "ENABLED"};

static nvmlReturn_t change_mig_mode(const Gpu *gpu, const char *bus_id, unsigned mode)
{
    nvmlReturn_t activation;
    nvmlReturn_t result = api.nvmlDeviceSetMigMode(gpu->handle, mode, &activation);
    if (result != NVML_SUCCESS)
        return result;
    if (activation == NVML_SUCCESS) {
        printf("%s MIG Mode for GPU %s\n", mode ? "Enabled" : "Disabled", bus_id);
        return NVML_SUCCESS;
    }
    printf("Warning: MIG mode is in pending %s state for GPU %s:%s\n", mode ? "enable" : "disable", bus_id,
           api.nvmlErrorString(activation));
    if (activation == NVML_ERROR_IN_USE)
        printf("%s is currently being used by one or more other processes (e.g. CUDA application or a monitoring "
               "application such as another instance of nvidia-smi). Please first kill all processes using the device "
               "and retry the command or reboot the system to make MIG mode effective.\n",
               bus_id);
    else
        printf("Reboot the system or try nvidia-smi --gpu-reset to make MIG mode effective on GPU %s\n", bus_id);
    return NVML_SUCCESS;
}

int command_set_mig_mode(const char *which, const char *mode)
{
    unsigned value;
    int status = choose(mode, on_off, 2, &value);
    return status != 0 ? status
                       : for_each(which, value, value ? "enable MIG Mode" : "disable MIG Mode", change_mig_mode);
}

static const char *const compute_modes[] = {"DEFAULT", NULL, "PROHIBITED", "EXCLUSIVE_PROCESS"};

static nvmlReturn_t change_compute_mode(const Gpu *gpu, const char *bus_id, unsigned mode)
{
    nvmlReturn_t result = api.nvmlDeviceSetComputeMode(gpu->handle, mode);
    if (result == NVML_SUCCESS)
        printf("Set compute mode to %s for GPU %s.\n", compute_modes[mode], bus_id);
    return result;
}

int command_set_compute_mode(const char *which, const char *mode)
{
    unsigned value;
    int status = choose(mode, compute_modes, 4, &value);
    return status != 0 ? status : for_each(which, value, "set compute mode", change_compute_mode);
}

static nvmlReturn_t change_persistence_mode(const Gpu *gpu, const char *bus_id, unsigned mode)
{
    nvmlReturn_t result = api.nvmlDeviceSetPersistenceMode(gpu->handle, mode);
    if (result == NVML_SUCCESS)
        printf("%s persistence mode for GPU %s.\n", mode ? "Enabled" : "Disabled", bus_id);
    return result;
}

int command_set_persistence_mode(const char *which, const char *mode)
{
    unsigned value;
    int status = choose(mode, on_off, 2, &value);
    return status != 0 ? status : for_each(which, value, "set persistence mode", change_persistence_mode);
}

static nvmlReturn_t change_by_reset(const Gpu *gpu, const char *bus_id, unsigned unused)
{
    (void)unused;
    nvmlReturn_t result = api.nvmlSimDeviceReset(gpu->handle);
    if (result == NVML_SUCCESS)
        printf("GPU %s was successfully reset.\n", bus_id);
    return result;
}

int command_reset(const char *which)
{
    return for_each(which, 0, "reset this GPU", change_by_reset);
}

/* ---- compute-policy ---- */

static const char policy_usage[] =
    "compute-policy -- Control and query compute policies (simulated GPUs).\n"
    "\n"
    "Usage: nvidia-smi compute-policy [options]\n"
    "    -h   | --help               Display help information.\n"
    "    -i   | --id                 GPU index, UUID or bus id; default: all.\n"
    "    -l   | --list               Show the compute policies.\n"
    "         | --set-timeslice=     0/DEFAULT, 1/SHORT, 2/MEDIUM, 3/LONG\n";

static const char *const timeslices[] = {"DEFAULT", "SHORT", "MEDIUM", "LONG"};

static nvmlReturn_t change_timeslice(const Gpu *gpu, const char *bus_id, unsigned value)
{
    nvmlReturn_t result = api.nvmlSimDeviceSetTimeslice(gpu->handle, value);
    if (result == NVML_SUCCESS)
        printf("Successfully set timeslice config for GPU %s\n", bus_id);
    return result;
}

static int list_timeslices(const char *which)
{
    GpuList list;
    int status = gpus_select(which, &list);
    if (status != 0)
        return status;
    printf("+--------------------------------------+\n"
           "| GPU compute policies:                |\n"
           "| GPU    Name              Value       |\n"
           "|======================================|\n");
    for (unsigned i = 0; i < list.count; i++) {
        unsigned value = 0;
        if (list.gpus[i].lost == NVML_SUCCESS &&
            api.nvmlSimDeviceGetTimeslice(list.gpus[i].handle, &value) == NVML_SUCCESS && value < 4)
            printf("| %3u    Timeslice         %-8s    |\n", list.gpus[i].index, timeslices[value]);
    }
    printf("+--------------------------------------+\n");
    return 0;
}

int command_compute_policy(int count, char **arguments)
{
    const char *which = NULL, *timeslice = NULL;
    bool list = false;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        bool has_next = i + 1 < count;
        if ((strcmp(argument, "-i") == 0 || strcmp(argument, "--id") == 0) && has_next)
            which = arguments[++i];
        else if (strncmp(argument, "--id=", 5) == 0)
            which = argument + 5;
        else if (strcmp(argument, "--set-timeslice") == 0 && has_next)
            timeslice = arguments[++i];
        else if (strncmp(argument, "--set-timeslice=", 16) == 0)
            timeslice = argument + 16;
        else if (strcmp(argument, "-l") == 0 || strcmp(argument, "--list") == 0)
            list = true;
        else if (strcmp(argument, "-h") == 0 || strcmp(argument, "--help") == 0)
            return fputs(policy_usage, stdout) < 0;
        else {
            printf("Option \"%s\" is not recognized. Please run 'nvidia-smi compute-policy -h'.\n", argument);
            return status_of(NVML_ERROR_INVALID_ARGUMENT);
        }
    }
    if (timeslice != NULL) {
        unsigned value;
        int status = choose(timeslice, timeslices, 4, &value);
        return status != 0 ? status : for_each(which, value, "set timeslice config", change_timeslice);
    }
    if (list)
        return list_timeslices(which);
    fputs(policy_usage, stdout);
    return status_of(NVML_ERROR_INVALID_ARGUMENT);
}
