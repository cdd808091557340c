/* The listings of `nvidia-smi mig`, in the tables that scripts and people parse. */
#include <stdio.h>

#include "exit_status.h"
#include "mig.h"

static int none_found(const char *what)
{
    printf("No %s found: Not Found\n", what);
    return status_of(NVML_ERROR_NOT_FOUND);
}

int mig_list_gpu_profiles(const MigOptions *options)
{
    static const char rule[] = "+-------------------------------------------------------------------------------+\n";
    printf("%s"
           "| GPU instance profiles:                                                        |\n"
           "| GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  |\n"
           "|                                Free/Total   GiB              CE    JPEG  OFA  |\n"
           "|===============================================================================|\n",
           rule);
    for (unsigned i = 0; i < options->gpus.count; i++) {
        const Gpu *gpu = &options->gpus.gpus[i];
        nvmlGpuInstanceProfileInfo_v2_t profiles[MAX_PROFILES];
        unsigned count = gpu_profiles(gpu, profiles);
        for (unsigned j = 0; j < count; j++) {
            const nvmlGpuInstanceProfileInfo_v2_t *info = &profiles[j];
            unsigned left = 0;
            api.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu->handle, info->id, &left);
            printf("|%4u  %-19s%3u%6u/%-9u%-11.2f%-2s%7u%6u%6u   |\n", gpu->index, info->name, info->id, left,
                   info->instanceCount, (double)info->memorySizeMB / 1024.0, info->isP2pSupported ? "Yes" : "No",
                   info->multiprocessorCount, info->decoderCount, info->encoderCount);
            printf("|%64u%6u%6u   |\n%s", info->copyEngineCount, info->jpegCount, info->ofaCount, rule);
        }
    }
    return 0;
}

int mig_list_gpu_placements(const MigOptions *options)
{
    for (unsigned i = 0; i < options->gpus.count; i++) {
        const Gpu *gpu = &options->gpus.gpus[i];
        nvmlGpuInstanceProfileInfo_v2_t profiles[MAX_PROFILES];
        unsigned profile_count = gpu_profiles(gpu, profiles);
        for (unsigned p = 0; p < profile_count; p++) {
            nvmlGpuInstancePlacement_t placements[MAX_LISTED];
            unsigned count = 0;
            nvmlReturn_t result =
                api.nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu->handle, profiles[p].id, placements, &count);
            if (result != NVML_SUCCESS) {
                printf("Failed to display GPU instance possible placements: %s\n", api.nvmlErrorString(result));
                return status_of(result);
            }
            printf("GPU %2u Profile ID %2u Placement%s: {", gpu->index, profiles[p].id, count == 1 ? " " : "s");
            for (unsigned j = 0; j < count; j++)
                printf("%s%u", j == 0 ? "" : ",", placements[j].start);
            printf("}:%u\n", count > 0 ? placements[0].size : 0);
        }
    }
    return 0;
}

int mig_list_gpu_instances(const MigOptions *options)
{
    static const char rule[] = "+---------------------------------------------------------+\n";
    bool any = false;
    for (unsigned i = 0; i < options->gpus.count; i++) {
        MigGpuInstance gis[MAX_MIG_DEVICES];
        unsigned count = gpu_instances(&options->gpus.gpus[i], &options->gis, gis);
        for (unsigned j = 0; j < count; j++) {
            if (!any)
                printf("%s"
                       "| GPU instances:                                          |\n"
                       "| GPU   Name               Profile  Instance   Placement  |\n"
                       "|                            ID       ID       Start:Size |\n"
                       "|=========================================================|\n",
                       rule);
            any = true;
            printf("|%4u  %-19s%5u%9u%11u:%-6u|\n%s", options->gpus.gpus[i].index, gis[j].profile,
                   gis[j].info.profileId, gis[j].info.id, gis[j].info.placement.start, gis[j].info.placement.size,
                   rule);
        }
    }
    return any ? 0 : none_found("GPU instances");
}

static void print_compute_profiles(const Gpu *gpu, const MigGpuInstance *gi, const char *rule)
{
    for (unsigned profile = 0; profile < NVML_COMPUTE_INSTANCE_PROFILE_COUNT; profile++) {
        nvmlComputeInstanceProfileInfo_v2_t info;
        unsigned left = 0;
        if (!compute_profile(gi, profile, &info))
            continue;
        api.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(gi->handle, info.id, &left);
        printf("|%4u%7u       %-17s%5u%c%6u/%-2u%12u%9u%6u%6u   |\n", gpu->index, gi->info.id, info.name, info.id,
               is_default_profile(gi, &info) ? '*' : ' ', left, info.instanceCount, info.multiprocessorCount,
               info.sharedDecoderCount, info.sharedEncoderCount, info.sharedOfaCount);
        printf("|%71u%6u         |\n%s", info.sharedCopyEngineCount, info.sharedJpegCount, rule);
    }
}

int mig_list_compute_profiles(const MigOptions *options)
{
    static const char rule[] =
        "+--------------------------------------------------------------------------------------+\n";
    bool any = false;
    for (unsigned i = 0; i < options->gpus.count; i++) {
        MigGpuInstance gis[MAX_MIG_DEVICES];
        unsigned count = gpu_instances(&options->gpus.gpus[i], &options->gis, gis);
        for (unsigned j = 0; j < count; j++) {
            if (!any)
                printf("%s"
                       "| Compute instance profiles:                                                           |\n"
                       "| GPU     GPU       Name             Profile  Instances   Exclusive       Shared       |\n"
                       "|       Instance                       ID     Free/Total     SM       DEC   ENC   OFA  |\n"
                       "|         ID                                                          CE    JPEG       |\n"
                       "|======================================================================================|\n",
                       rule);
            any = true;
            print_compute_profiles(&options->gpus.gpus[i], &gis[j], rule);
        }
    }
    return any ? 0 : none_found("GPU instances");
}

int mig_list_compute_instances(const MigOptions *options)
{
    static const char rule[] = "+--------------------------------------------------------------------+\n";
    bool any = false;
    for (unsigned i = 0; i < options->gpus.count; i++) {
        MigGpuInstance gis[MAX_MIG_DEVICES];
        unsigned count = gpu_instances(&options->gpus.gpus[i], &options->gis, gis);
        for (unsigned j = 0; j < count; j++) {
            MigComputeInstance cis[8];
            unsigned inside = compute_instances(&gis[j], &options->cis, cis);
            for (unsigned k = 0; k < inside; k++) {
                if (!any)
                    printf("%s"
                           "| Compute instances:                                                 |\n"
                           "| GPU     GPU       Name             Profile   Instance   Placement  |\n"
                           "|       Instance                       ID        ID       Start:Size |\n"
                           "|         ID                                                         |\n"
                           "|====================================================================|\n",
                           rule);
                any = true;
                printf("|%4u%7u       %-17s%5u%10u%11u:%-6u|\n%s", options->gpus.gpus[i].index,
                       gis[j].info.id, cis[k].profile, cis[k].info.profileId, cis[k].info.id,
                       cis[k].info.placement.start, cis[k].info.placement.size, rule);
            }
        }
    }
    return any ? 0 : none_found("compute instances");
}
