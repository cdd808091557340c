/*
 * nvml-sim: what an operator, a fault or a power switch does to the simulated GPUs.
 *
 * Owns the changes that NVML has no call for: installation, reset, reboot, loss, XID errors, latency and pretended
 * clients. It goes through the same lock and transactions as the library, so it may run at any time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "capabilities.h"
#include "description.h"
#include "mig.h"
#include "transaction.h"

enum { EXIT_USAGE = 2, XID_FALLEN_OFF_THE_BUS = 79 };

static const char usage[] =
    "nvml-sim changes simulated GPUs in ways that NVML has no call for.\n"
    "\n"
    "usage: nvml-sim STATE init DESCRIPTION     make or replace the GPUs\n"
    "       nvml-sim STATE list                 all GPUs as JSON\n"
    "       nvml-sim STATE reset GPU            as nvidia-smi --gpu-reset: a pending MIG mode takes effect\n"
    "       nvml-sim STATE reboot               all GPUs; instances vanish\n"
    "       nvml-sim STATE lose GPU             the GPU falls off the bus (XID 79) until reset or reboot\n"
    "       nvml-sim STATE xid GPU CODE [GI CI] report an XID error\n"
    "       nvml-sim STATE latency CALL MIG     microseconds per NVML call, and more for each MIG change\n"
    "       nvml-sim STATE hold GPU PID [GI CI] pretend that a process uses the GPU or MIG device; PID 0 ends it\n"
    "GPU is an index from 0; STATE is the path of " SIM_STATE_FILE "\n";

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "nvml-sim: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

static const char *reason(nvmlReturn_t result)
{
    switch (result) {
    case NVML_ERROR_DRIVER_NOT_LOADED:
        return "there is no such state; install the GPUs first";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "the state was made by another version; install the GPUs again";
    case NVML_ERROR_NO_PERMISSION:
        return "no permission to change it; run as root, and where the driver root is writable";
    case NVML_ERROR_IN_USE:
        return "a process holds the GPU; end it first";
    default:
        return "the operating system refused";
    }
}

static bool parse(const char *text, unsigned long limit, unsigned *out)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || value >= limit)
        return false;
    *out = (unsigned)value;
    return true;
}

/* ---- installation ---- */

static int install(const char *path, const char *description)
{
    FILE *text = fopen(description, "r");
    if (text == NULL)
        return fail(description, strerror(errno));
    SimFile *wanted = calloc(1, sizeof *wanted);
    bool good = wanted != NULL && description_read(text, description, wanted);
    fclose(text);
    if (!good) {
        free(wanted);
        return EXIT_FAILURE;
    }
    int lock = sim_lock_path(path);
    if (lock < 0) {
        free(wanted);
        return fail(path, strerror(errno));
    }
    SimState state;
    uint64_t install_id;
    int error = sim_state_create(&state, path);
    if (error == 0 && getrandom(&install_id, sizeof install_id, 0) != sizeof install_id)
        error = errno;
    if (error == 0) {
        size_t from = offsetof(SimFile, driver_version);
        memcpy((char *)state.file + from, (char *)wanted + from, sizeof *wanted - from);
        for (unsigned gpu = 0; gpu < state.file->gpu_count; gpu++)
            capabilities_reconcile(&state, gpu, &wanted->gpus[gpu].copies[0]);
        sim_state_seal(&state, install_id | 1);
        sim_state_close(&state);
    }
    sim_unlock(lock);
    free(wanted);
    return error == 0 ? EXIT_SUCCESS : fail(path, strerror(error));
}

/* ---- list ---- */

static void print_uuid(const char *prefix, const uint8_t uuid[16])
{
    printf("\"%s", prefix);
    for (unsigned i = 0; i < 16; i++)
        printf(i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
    printf("\"");
}

static void list_instances(const SimBoard *board, const SimGpuState *now)
{
    const char *gi_comma = "";
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++) {
        const SimGpuInstance *instance = &now->gis[gi];
        if (!instance->live)
            continue;
        printf("%s{\"id\":%u,\"profile\":\"%s\",\"start\":%u,\"size\":%u,\"compute_instances\":[", gi_comma, gi,
               board->profiles[instance->profile].name, instance->start, instance->size);
        gi_comma = ",";
        const char *ci_comma = "";
        for (unsigned ci = 0; ci < SIM_CI_SLOTS; ci++) {
            if (!instance->cis[ci].live)
                continue;
            char name[48];
            mig_device_profile_name(board, instance, &instance->cis[ci], name, sizeof name);
            printf("%s{\"id\":%u,\"profile\":\"%s\",\"holder\":%u,\"uuid\":", ci_comma, ci, name,
                   instance->cis[ci].holder);
            print_uuid("MIG-", instance->cis[ci].uuid);
            printf("}");
            ci_comma = ",";
        }
        printf("]}");
    }
}

static int list(SimState *state)
{
    printf("{\"simulated\":true,\"driver_version\":\"%s\",\"call_latency_us\":%u,\"mig_latency_us\":%u,\"gpus\":[",
           state->file->driver_version, atomic_load(&state->file->call_latency_us),
           atomic_load(&state->file->mig_latency_us));
    for (unsigned gpu = 0; gpu < state->file->gpu_count; gpu++) {
        const SimGpu *identity = &state->file->gpus[gpu];
        const SimBoard *board = sim_board(state, gpu);
        SimGpuState now;
        sim_snapshot(state, gpu, &now);
        printf("%s{\"index\":%u,\"minor\":%u,\"product_name\":\"%s\",\"memory_mib\":%llu,\"mig_capable\":%s,"
               "\"mig_current\":%s,\"mig_pending\":%s,\"lost\":%s,\"numa_node\":%d,\"compute_mode\":%u,"
               "\"timeslice\":%u,\"holder\":%u,\"pci_bus_id\":\"%04x:%02x:%02x.%x\",\"uuid\":",
               gpu == 0 ? "" : ",", gpu, identity->minor, board->product_name, (unsigned long long)board->memory_mib,
               board->max_mig_devices > 0 ? "true" : "false", now.mig_current ? "true" : "false",
               now.mig_pending ? "true" : "false", now.lost ? "true" : "false", identity->numa_node, now.compute_mode,
               now.timeslice, now.holder, identity->pci_domain, identity->pci_bus, identity->pci_device,
               identity->pci_function);
        print_uuid("GPU-", identity->uuid);
        printf(",\"gpu_instances\":[");
        list_instances(board, &now);
        printf("]}");
    }
    printf("]}\n");
    return EXIT_SUCCESS;
}

/* ---- changes ---- */

static nvmlReturn_t reset(SimState *state, unsigned gpu)
{
    Transaction change;
    nvmlReturn_t result = transaction_begin(&change, state, gpu);
    if (result != NVML_SUCCESS)
        return result;
    if (mig_is_held(&change.next) && !change.next.lost)
        return transaction_end(&change, NVML_ERROR_IN_USE);
    mig_reset(&change.next);
    return transaction_commit(&change);
}

static nvmlReturn_t reboot(SimState *state)
{
    for (unsigned gpu = 0; gpu < state->file->gpu_count; gpu++) {
        Transaction change;
        nvmlReturn_t result = transaction_begin(&change, state, gpu);
        if (result != NVML_SUCCESS)
            return result;
        mig_reset(&change.next);
        change.next.persistence = change.next.compute_mode = change.next.timeslice = 0;
        if (!sim_board(state, gpu)->mode_survives_reboot)
            change.next.mig_current = change.next.mig_pending = 0;
        result = transaction_commit(&change);
        if (result != NVML_SUCCESS)
            return result;
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t report(SimState *state, unsigned gpu, unsigned code, unsigned gi, unsigned ci, bool lose)
{
    Transaction change;
    nvmlReturn_t result = transaction_begin(&change, state, gpu);
    if (result != NVML_SUCCESS)
        return result;
    SimEvent event = {.gpu = gpu, .gi = gi, .ci = ci, .type = NVML_EVENT_TYPE_XID_CRITICAL, .data = code};
    change.next.lost |= lose;
    sim_emit(state, &event);
    return transaction_commit(&change);
}

static nvmlReturn_t hold(SimState *state, unsigned gpu, unsigned pid, unsigned gi, unsigned ci)
{
    Transaction change;
    nvmlReturn_t result = transaction_begin(&change, state, gpu);
    if (result != NVML_SUCCESS)
        return result;
    if (gi == NVML_INSTANCE_ID_NONE) {
        change.next.holder = pid;
    } else if (gi < SIM_GI_SLOTS && ci < SIM_CI_SLOTS && change.next.gis[gi].cis[ci].live) {
        change.next.gis[gi].cis[ci].holder = pid;
    } else {
        fprintf(stderr, "nvml-sim: GPU %u has no compute instance %u in GPU instance %u\n", gpu, ci, gi);
        return transaction_end(&change, NVML_ERROR_NOT_FOUND);
    }
    return transaction_commit(&change);
}

static nvmlReturn_t set_latency(SimState *state, unsigned call_us, unsigned mig_us)
{
    int lock;
    nvmlReturn_t result = sim_lock(state, &lock);
    if (result != NVML_SUCCESS)
        return result;
    atomic_store(&state->file->call_latency_us, call_us);
    atomic_store(&state->file->mig_latency_us, mig_us);
    sim_unlock(lock);
    return NVML_SUCCESS;
}

static int run(SimState *state, const char *command, int count, char **arguments)
{
    unsigned numbers[4] = {0, 0, NVML_INSTANCE_ID_NONE, NVML_INSTANCE_ID_NONE};
    for (int i = 0; i < count; i++) {
        if (i >= 4 || !parse(arguments[i], 1ul << 32, &numbers[i])) {
            fprintf(stderr, "nvml-sim: %s: %s is not a number it takes\n%s", command, arguments[i], usage);
            return EXIT_USAGE;
        }
    }
    bool of_gpu = strcmp(command, "latency") != 0 && count > 0;
    if (of_gpu && numbers[0] >= state->file->gpu_count) {
        fprintf(stderr, "nvml-sim: no GPU %u: there are %u, numbered from 0\n", numbers[0], state->file->gpu_count);
        return EXIT_FAILURE;
    }
    nvmlReturn_t result;
    if (strcmp(command, "list") == 0 && count == 0)
        return list(state);
    if (strcmp(command, "reset") == 0 && count == 1)
        result = reset(state, numbers[0]);
    else if (strcmp(command, "reboot") == 0 && count == 0)
        result = reboot(state);
    else if (strcmp(command, "lose") == 0 && count == 1)
        result = report(state, numbers[0], XID_FALLEN_OFF_THE_BUS, numbers[2], numbers[3], true);
    else if (strcmp(command, "xid") == 0 && (count == 2 || count == 4))
        result = report(state, numbers[0], numbers[1], numbers[2], numbers[3], false);
    else if (strcmp(command, "latency") == 0 && count == 2)
        result = set_latency(state, numbers[0], numbers[1]);
    else if (strcmp(command, "hold") == 0 && (count == 2 || count == 4))
        result = hold(state, numbers[0], numbers[1], numbers[2], numbers[3]);
    else {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (result == NVML_SUCCESS)
        return EXIT_SUCCESS;
    return result == NVML_ERROR_NOT_FOUND ? EXIT_FAILURE : fail(command, reason(result));
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    const char *path = arguments[1], *command = arguments[2];
    if (strcmp(command, "init") == 0 && count == 4)
        return install(path, arguments[3]);
    SimState state;
    nvmlReturn_t result = sim_state_open(&state, path);
    if (result != NVML_SUCCESS)
        return fail(path, reason(result));
    int status = run(&state, command, count - 3, arguments + 3);
    sim_state_close(&state);
    return status;
}
