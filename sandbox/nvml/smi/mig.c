/* `nvidia-smi mig`: its arguments, and the walk over instances that its commands share. */
#include "mig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "exit_status.h"

static const char usage[] =
    "mig -- Multi Instance GPU management (simulated GPUs).\n"
    "\n"
    "Usage: nvidia-smi mig [options]\n"
    "    -h     | --help                            Display help information.\n"
    "    -i     | --id                              GPU index, UUID or bus id, or a list; default: all with MIG.\n"
    "    -gi    | --gpu-instance-id                 GPU instance ids; default: all.\n"
    "    -ci    | --compute-instance-id             Compute instance ids; default: all.\n"
    "    -lgip  | --list-gpu-instance-profiles      List GPU instance profiles.\n"
    "    -lgipp | --list-gpu-instance-possible-placements\n"
    "    -lgi   | --list-gpu-instances              List GPU instances.\n"
    "    -cgi   | --create-gpu-instance             Profile names or ids, each with :START for a placement.\n"
    "    -C     | --default-compute-instance        With -cgi: create the default compute instances too.\n"
    "    -dgi   | --destroy-gpu-instance            Destroy GPU instances.\n"
    "    -lcip  | --list-compute-instance-profiles  List compute instance profiles.\n"
    "    -lci   | --list-compute-instances          List compute instances.\n"
    "    -cci   | --create-compute-instance         Profile names or ids; without one, the default profile.\n"
    "    -dci   | --destroy-compute-instance        Destroy compute instances.\n";

typedef int Command(const MigOptions *options);

static const struct {
    const char *brief, *full;
    Command *run;
} commands[] = {
    {"-lgip", "--list-gpu-instance-profiles", mig_list_gpu_profiles},
    {"-lgipp", "--list-gpu-instance-possible-placements", mig_list_gpu_placements},
    {"-lgi", "--list-gpu-instances", mig_list_gpu_instances},
    {"-dgi", "--destroy-gpu-instance", mig_destroy_gpu_instances},
    {"-lcip", "--list-compute-instance-profiles", mig_list_compute_profiles},
    {"-lci", "--list-compute-instances", mig_list_compute_instances},
    {"-dci", "--destroy-compute-instance", mig_destroy_compute_instances},
};

static bool is(const char *argument, const char *brief, const char *full)
{
    return strcmp(argument, brief) == 0 || strcmp(argument, full) == 0;
}

static bool parse_ids(const char *text, IdList *out)
{
    out->given = true;
    out->count = 0;
    while (out->count < MAX_LISTED) {
        char *end;
        unsigned long id = strtoul(text, &end, 10);
        if (end == text || id > 4096 || (*end != ',' && *end != '\0'))
            return false;
        out->numbers[out->count++] = (unsigned)id;
        if (*end == '\0')
            return true;
        text = end + 1;
    }
    return false;
}

static int refuse(const char *argument, const char *why)
{
    printf("Option \"%s\" %s. Please run 'nvidia-smi mig -h' for help.\n", argument, why);
    return status_of(NVML_ERROR_INVALID_ARGUMENT);
}

/* Keeps the GPUs that have MIG enabled; a tool that finds none says so and stops, as the real one does. */
static int keep_mig_gpus(GpuList *list)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < list->count; i++)
        if (gpu_mig_enabled(&list->gpus[i]))
            list->gpus[kept++] = list->gpus[i];
    list->count = kept;
    if (kept > 0)
        return 0;
    printf("No MIG-enabled devices found.\n");
    return status_of(NVML_ERROR_NOT_FOUND);
}

int command_mig(int count, char **arguments)
{
    MigOptions options = {0};
    const char *which = NULL;
    Command *command = NULL;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        const char *next = i + 1 < count ? arguments[i + 1] : NULL;
        bool has_list = next != NULL && next[0] != '-';
        if (is(argument, "-h", "--help"))
            return fputs(usage, stdout) < 0;
        if (is(argument, "-C", "--default-compute-instance")) {
            options.with_compute_instances = true;
        } else if (is(argument, "-cci", "--create-compute-instance")) {
            command = mig_create_compute_instances;
            options.profiles = has_list ? arguments[++i] : NULL;
        } else if (is(argument, "-cgi", "--create-gpu-instance")) {
            if (!has_list)
                return refuse(argument, "needs profile names or ids");
            command = mig_create_gpu_instances;
            options.profiles = arguments[++i];
        } else if (is(argument, "-i", "--id")) {
            if (!has_list)
                return refuse(argument, "needs a GPU");
            which = arguments[++i];
        } else if (is(argument, "-gi", "--gpu-instance-id") || is(argument, "-ci", "--compute-instance-id")) {
            if (!has_list || !parse_ids(next, argument[1] == 'g' || argument[2] == 'g' ? &options.gis : &options.cis))
                return refuse(argument, "needs ids, for example 1,2");
            i++;
        } else {
            Command *found = NULL;
            for (size_t j = 0; j < sizeof commands / sizeof *commands; j++)
                if (is(argument, commands[j].brief, commands[j].full))
                    found = commands[j].run;
            if (found == NULL)
                return refuse(argument, "is not recognized");
            command = found;
        }
    }
    if (command == NULL) {
        fputs(usage, stdout);
        return status_of(NVML_ERROR_INVALID_ARGUMENT);
    }
    int status = api_load();
    if (status == 0)
        status = gpus_select(which, &options.gpus);
    if (status == 0)
        status = keep_mig_gpus(&options.gpus);
    return status != 0 ? status : command(&options);
}

bool ids_contain(const IdList *ids, unsigned id)
{
    for (unsigned i = 0; i < ids->count; i++)
        if (ids->numbers[i] == id)
            return true;
    return !ids->given;
}

unsigned gpu_profiles(const Gpu *gpu, nvmlGpuInstanceProfileInfo_v2_t out[MAX_PROFILES])
{
    unsigned count = 0;
    for (unsigned profile = 0; profile < MAX_PROFILES; profile++) {
        nvmlGpuInstanceProfileInfo_v2_t info = {.version = NVML_STRUCT_VERSION(nvmlGpuInstanceProfileInfo_v2_t, 2)};
        if (api.nvmlDeviceGetGpuInstanceProfileInfoV(gpu->handle, profile, &info) != NVML_SUCCESS)
            continue;
        unsigned at = count++;
        for (; at > 0 && out[at - 1].sliceCount > info.sliceCount; at--)
            out[at] = out[at - 1];
        out[at] = info;
    }
    return count;
}

bool compute_profile(const MigGpuInstance *gi, unsigned profile, nvmlComputeInstanceProfileInfo_v2_t *out)
{
    out->version = NVML_STRUCT_VERSION(nvmlComputeInstanceProfileInfo_v2_t, 2);
    return api.nvmlGpuInstanceGetComputeInstanceProfileInfoV(gi->handle, profile,
                                                             NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED,
                                                             out) == NVML_SUCCESS;
}

unsigned gpu_instances(const Gpu *gpu, const IdList *only, MigGpuInstance out[MAX_MIG_DEVICES])
{
    nvmlGpuInstanceProfileInfo_v2_t profiles[MAX_PROFILES];
    unsigned profile_count = gpu_profiles(gpu, profiles), found = 0;
    for (unsigned profile = 0; profile < profile_count; profile++) {
        nvmlGpuInstance_t handles[MAX_LISTED];
        unsigned count = 0;
        if (api.nvmlDeviceGetGpuInstances(gpu->handle, profiles[profile].id, handles, &count) != NVML_SUCCESS)
            continue;
        for (unsigned i = 0; i < count && found < MAX_MIG_DEVICES; i++) {
            MigGpuInstance *gi = &out[found];
            gi->handle = handles[i];
            if (api.nvmlGpuInstanceGetInfo(gi->handle, &gi->info) != NVML_SUCCESS || !ids_contain(only, gi->info.id))
                continue;
            memcpy(gi->profile, profiles[profile].name, sizeof gi->profile);
            found++;
        }
    }
    return found;
}

unsigned compute_instances(const MigGpuInstance *gi, const IdList *only, MigComputeInstance out[8])
{
    unsigned found = 0;
    for (unsigned profile = 0; profile < NVML_COMPUTE_INSTANCE_PROFILE_COUNT; profile++) {
        nvmlComputeInstanceProfileInfo_v2_t info;
        nvmlComputeInstance_t handles[MAX_LISTED];
        unsigned count = 0;
        if (!compute_profile(gi, profile, &info) ||
            api.nvmlGpuInstanceGetComputeInstances(gi->handle, info.id, handles, &count) != NVML_SUCCESS)
            continue;
        for (unsigned i = 0; i < count && found < 8; i++) {
            MigComputeInstance *ci = &out[found];
            ci->handle = handles[i];
            if (api.nvmlComputeInstanceGetInfo_v2(ci->handle, &ci->info) != NVML_SUCCESS ||
                !ids_contain(only, ci->info.id))
                continue;
            memcpy(ci->profile, info.name, sizeof ci->profile);
            found++;
        }
    }
    return found;
}

bool is_default_profile(const MigGpuInstance *gi, const nvmlComputeInstanceProfileInfo_v2_t *info)
{
    /* Two profiles fill a double-memory 1g instance; the one with all its multiprocessors comes last. */
    nvmlComputeInstanceProfileInfo_v2_t later;
    if (strcmp(info->name, gi->profile) != 0)
        return false;
    for (unsigned profile = info->id + 1; profile < NVML_COMPUTE_INSTANCE_PROFILE_COUNT; profile++)
        if (compute_profile(gi, profile, &later) && strcmp(later.name, gi->profile) == 0)
            return false;
    return true;
}
