/*
 * nvidia-smi for simulated GPUs: the commands that drivers, operators and scripts use, with the real tool's texts.
 *
 * Owns argument parsing. What it does not know it refuses by name instead of pretending.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "commands.h"
#include "exit_status.h"

static const char usage[] =
    "NVIDIA System Management Interface -- v" SIM_DRIVER_VERSION " (simulated)\n"
    "\n"
    "This program shows and changes SIMULATED GPUs. It knows part of the real nvidia-smi:\n"
    "\n"
    "    nvidia-smi                              Table of GPUs and MIG devices.\n"
    "    -h,   --help                            Print usage information and exit.\n"
    "    -L,   --list-gpus                       Display a list of GPUs connected to the system.\n"
    "    -i,   --id=                             Target GPUs: index, UUID or PCI bus id, or a list of them.\n"
    "          --query-gpu=                      Fields of GPUs; needs --format=csv[,noheader][,nounits].\n"
    "    -mig, --multi-instance-gpu=             Set MIG mode: 0/DISABLED, 1/ENABLED\n"
    "    -c,   --compute-mode=                   Set compute mode: 0/DEFAULT, 2/PROHIBITED, 3/EXCLUSIVE_PROCESS\n"
    "    -pm,  --persistence-mode=               Set persistence mode: 0/DISABLED, 1/ENABLED\n"
    "    -r,   --gpu-reset                       Reset GPUs; a pending MIG mode takes effect.\n"
    "          --version                         Versions of this tool, NVML and the driver.\n"
    "    mig                                     MIG management. \"nvidia-smi mig -h\" for more information.\n"
    "    compute-policy                          Time slices. \"nvidia-smi compute-policy -h\" for more information.\n";

enum { OPTION_ID, OPTION_QUERY, OPTION_FORMAT, OPTION_MIG, OPTION_COMPUTE_MODE, OPTION_PERSISTENCE, OPTION_COUNT };

/* Options with a value: -x VALUE, --long VALUE or --long=VALUE. */
static const struct {
    const char *brief, *full;
} valued[OPTION_COUNT] = {
    [OPTION_ID] = {"-i", "--id"},
    [OPTION_QUERY] = {"", "--query-gpu"},
    [OPTION_FORMAT] = {"", "--format"},
    [OPTION_MIG] = {"-mig", "--multi-instance-gpu"},
    [OPTION_COMPUTE_MODE] = {"-c", "--compute-mode"},
    [OPTION_PERSISTENCE] = {"-pm", "--persistence-mode"},
};

/* Takes one valued option at arguments[*at]. 1 taken, 0 not one of these, -1 no value. */
static int take_valued(int count, char **arguments, int *at, const char *values[OPTION_COUNT])
{
    const char *argument = arguments[*at];
    for (int option = 0; option < OPTION_COUNT; option++) {
        size_t length = strlen(valued[option].full);
        if (strncmp(argument, valued[option].full, length) == 0 && argument[length] == '=') {
            values[option] = argument + length + 1;
            return 1;
        }
        if (strcmp(argument, valued[option].brief) != 0 && strcmp(argument, valued[option].full) != 0)
            continue;
        if (*at + 1 >= count)
            return -1;
        values[option] = arguments[++*at];
        return 1;
    }
    return 0;
}

static int is_one_of(const char *argument, const char *brief, const char *full)
{
    return strcmp(argument, brief) == 0 || strcmp(argument, full) == 0;
}

static int run(int count, char **arguments)
{
    const char *values[OPTION_COUNT] = {NULL};
    enum { SHOW, LIST, VERSION, RESET } action = SHOW;
    for (int i = 1; i < count; i++) {
        const char *argument = arguments[i];
        int taken = take_valued(count, arguments, &i, values);
        if (taken < 0) {
            printf("Option \"%s\" needs a value. Please run 'nvidia-smi -h'.\n", argument);
            return status_of(NVML_ERROR_INVALID_ARGUMENT);
        }
        if (taken > 0)
            continue;
        if (is_one_of(argument, "-L", "--list-gpus"))
            action = LIST;
        else if (is_one_of(argument, "-r", "--gpu-reset"))
            action = RESET;
        else if (strcmp(argument, "--version") == 0)
            action = VERSION;
        else {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"
                   "The simulated nvidia-smi does not know \"%s\".\n",
                   argument);
            return status_of(NVML_ERROR_INVALID_ARGUMENT);
        }
    }
    int status = api_load();
    if (status != 0)
        return status;
    const char *which = values[OPTION_ID];
    if (values[OPTION_MIG] != NULL)
        return command_set_mig_mode(which, values[OPTION_MIG]);
    if (values[OPTION_COMPUTE_MODE] != NULL)
        return command_set_compute_mode(which, values[OPTION_COMPUTE_MODE]);
    if (values[OPTION_PERSISTENCE] != NULL)
        return command_set_persistence_mode(which, values[OPTION_PERSISTENCE]);
    if (values[OPTION_QUERY] != NULL)
        return command_query_gpu(which, values[OPTION_QUERY], values[OPTION_FORMAT]);
    switch (action) {
    case LIST:
        return command_list(which);
    case VERSION:
        return command_version();
    case RESET:
        return command_reset(which);
    case SHOW:
        break;
    }
    return command_overview(which);
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count && i < 2; i++) {
        if (is_one_of(arguments[i], "-h", "--help")) {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (strcmp(arguments[i], "mig") == 0)
            return command_mig(count - 2, arguments + 2);
        if (strcmp(arguments[i], "compute-policy") == 0) {
            int status = api_load();
            return status != 0 ? status : command_compute_policy(count - 2, arguments + 2);
        }
    }
    return run(count, arguments);
}
