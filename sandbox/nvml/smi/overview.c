/* nvidia-smi without arguments, and --version. The only places with no counterpart in the real tool are the labels that
 * say the GPUs are simulated. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "gpus.h"

#define MIB (1024ull * 1024ull)

static const char *compute_mode_name(unsigned mode)
{
    static const char *const names[] = {"Default", "E. Thread", "Prohibited", "E. Process"};
    return mode < 4 ? names[mode] : "N/A";
}

static void versions(char driver[80], int *cuda)
{
    driver[0] = '\0';
    *cuda = 0;
    api.nvmlSystemGetDriverVersion(driver, 80);
    api.nvmlSystemGetCudaDriverVersion(cuda);
}

int command_version(void)
{
    char driver[80], nvml[80] = "";
    int cuda;
    versions(driver, &cuda);
    api.nvmlSystemGetNVMLVersion(nvml, sizeof nvml);
    printf("NVIDIA-SMI version  : %s (simulated)\n", SIM_DRIVER_VERSION);
    printf("NVML version        : %s (simulated)\n", nvml);
    printf("DRIVER version      : %s (simulated)\n", driver);
    printf("CUDA Version        : %d.%d\n", cuda / 1000, cuda % 1000 / 10);
    return 0;
}

static void print_gpu(const Gpu *gpu)
{
    char name[96] = "", bus_id[32] = "", usage[32];
    unsigned persistence = 0, mode = 0, celsius = 0, milliwatts = 0, current = 0, pending = 0;
    nvmlMemory_t memory = {0};
    nvmlUtilization_t utilization;
    api.nvmlDeviceGetName(gpu->handle, name, sizeof name);
    gpu_bus_id(gpu, bus_id);
    api.nvmlDeviceGetPersistenceMode(gpu->handle, &persistence);
    api.nvmlDeviceGetComputeMode(gpu->handle, &mode);
    api.nvmlDeviceGetTemperature(gpu->handle, 0, &celsius);
    api.nvmlDeviceGetPowerUsage(gpu->handle, &milliwatts);
    api.nvmlDeviceGetMemoryInfo(gpu->handle, &memory);
    nvmlReturn_t has_mig = api.nvmlDeviceGetMigMode(gpu->handle, &current, &pending);
    if (api.nvmlDeviceGetUtilizationRates(gpu->handle, &utilization) == NVML_SUCCESS)
        snprintf(usage, sizeof usage, "%u%%", utilization.gpu);
    else
        snprintf(usage, sizeof usage, "N/A");
    const char *mig = has_mig != NVML_SUCCESS ? "N/A" : current ? "Enabled" : "Disabled";

    printf("|%4u  %-28.28s%5s  |   %-16s Off |%21s |\n", gpu->index, name, persistence ? "On" : "Off", bus_id,
           current ? "On" : "0");
    printf("| N/A  %3uC    P0%15uW /   N/A |%8lluMiB / %6lluMiB |%8s%13s |\n", celsius, milliwatts / 1000,
           memory.used / MIB, memory.total / MIB, usage, compute_mode_name(mode));
    printf("|%41s|%24s|%21s |\n", "", "", mig);
    printf("+-----------------------------------------+------------------------+----------------------+\n");
}

static void print_mig_devices(const GpuList *list)
{
    printf("\n"
           "+-----------------------------------------------------------------------------------------+\n"
           "| MIG devices:                                                                            |\n"
           "+------------------+----------------------------------+-----------+-----------------------+\n"
           "| GPU  GI  CI  MIG |              Shared Memory-Usage |        Vol|        Shared         |\n"
           "|      ID  ID  Dev |                                  | SM     Unc| CE ENC  DEC  OFA  JPG |\n"
           "|                  |                                  |        ECC|                       |\n"
           "|==================+==================================+===========+=======================|\n");
    bool any = false;
    for (unsigned i = 0; i < list->count; i++) {
        MigDevice devices[MAX_MIG_DEVICES];
        unsigned count = gpu_mig_devices(&list->gpus[i], devices);
        for (unsigned j = 0; j < count; j++) {
            nvmlMemory_t memory = {0};
            nvmlDeviceAttributes_t has = {0};
            api.nvmlDeviceGetMemoryInfo(devices[j].handle, &memory);
            api.nvmlDeviceGetAttributes_v2(devices[j].handle, &has);
            printf("| %2u  %3u  %2u  %2u  |    %12lluMiB / %6lluMiB   |%3u      0 | %2u  %2u   %2u   %2u   %2u |\n",
                   list->gpus[i].index, devices[j].gi, devices[j].ci, devices[j].index, memory.used / MIB,
                   memory.total / MIB, has.multiprocessorCount, has.sharedCopyEngineCount, has.sharedEncoderCount,
                   has.sharedDecoderCount, has.sharedOfaCount, has.sharedJpegCount);
            printf("+------------------+----------------------------------+-----------+-----------------------+\n");
            any = true;
        }
    }
    if (!any)
        printf("|  No MIG devices found                                                                   |\n"
               "+-----------------------------------------------------------------------------------------+\n");
}

static void print_processes(const GpuList *list)
{
    printf("\n"
           "+-----------------------------------------------------------------------------------------+\n"
           "| Processes:                                                                              |\n"
           "|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |\n"
           "|        ID   ID                                                               Usage      |\n"
           "|=========================================================================================|\n");
    bool any = false;
    for (unsigned i = 0; i < list->count; i++) {
        nvmlProcessInfo_t processes[128];
        unsigned count = 128;
        if (list->gpus[i].lost != NVML_SUCCESS ||
            api.nvmlDeviceGetComputeRunningProcesses_v3(list->gpus[i].handle, &count, processes) != NVML_SUCCESS)
            continue;
        for (unsigned j = 0; j < count; j++) {
            char gi[12] = "N/A", ci[12] = "N/A";
            if (processes[j].gpuInstanceId != NVML_INSTANCE_ID_NONE) {
                snprintf(gi, sizeof gi, "%u", processes[j].gpuInstanceId);
                snprintf(ci, sizeof ci, "%u", processes[j].computeInstanceId);
            }
            printf("| %4u  %3s  %3s  %15u      C   %-34s %10s |\n", list->gpus[i].index, gi, ci, processes[j].pid,
                   "(simulated)", "0MiB");
            any = true;
        }
    }
    if (!any)
        printf("|  No running processes found                                                             |\n");
    printf("+-----------------------------------------------------------------------------------------+\n");
}

int command_overview(const char *which)
{
    GpuList list;
    int status = gpus_select(which, &list);
    if (status != 0)
        return status;
    char driver[80], cuda_text[16], date[64];
    int cuda;
    versions(driver, &cuda);
    snprintf(cuda_text, sizeof cuda_text, "%d.%d", cuda / 1000, cuda % 1000 / 10);
    time_t now = time(NULL);
    strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", localtime(&now));
    printf("%s\n"
           "+-----------------------------------------------------------------------------------------+\n"
           "| NVIDIA-SMI %-12s (simulated) Driver Version: %-14s CUDA Version: %-6s |\n"
           "| These GPUs are SIMULATED by the GPU sandbox: there is no hardware behind this table.    |\n"
           "+-----------------------------------------+------------------------+----------------------+\n"
           "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |\n"
           "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |\n"
           "|                                         |                        |               MIG M. |\n"
           "|=========================================+========================+======================|\n",
           date, SIM_DRIVER_VERSION, driver, cuda_text);
    bool mig = false;
    for (unsigned i = 0; i < list.count; i++) {
        mig = mig || gpu_mig_enabled(&list.gpus[i]);
        if (list.gpus[i].lost == NVML_SUCCESS)
            print_gpu(&list.gpus[i]);
        else
            gpu_complain(&list.gpus[i]);
    }
    if (mig)
        print_mig_devices(&list);
    print_processes(&list);
    return 0;
}
