#include "api.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exit_status.h"

SmiApi api;

/* Beside this program first, so that a driver root works from anywhere; by name next, as the loader finds it; by version
 * last, for containers that were given the library but not the link to it. */
static void *open_library(void)
{
    char path[PATH_MAX], sibling[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    void *library = NULL;
    if (length > 0) {
        path[length] = '\0';
        char *end = strstr(path, "/usr/bin/");
        if (end != NULL) {
            *end = '\0';
            static const char tail[] = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so." SIM_DRIVER_VERSION;
            if (strlen(path) + sizeof tail <= sizeof sibling) {
                memcpy(sibling, path, strlen(path));
                memcpy(sibling + strlen(path), tail, sizeof tail);
                library = dlopen(sibling, RTLD_NOW);
            }
        }
    }
    if (library == NULL)
        library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library == NULL)
        library = dlopen("libnvidia-ml.so." SIM_DRIVER_VERSION, RTLD_NOW);
    return library;
}

static bool resolve(void *library, const char *name, void *slot)
{
    void *symbol = dlsym(library, name);
    memcpy(slot, &symbol, sizeof symbol); /* ISO C has no cast from object to function pointer */
    return symbol != NULL;
}

int api_load(void)
{
    void *library = open_library();
    if (library == NULL) {
        fprintf(stderr,
                "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA "
                "Display Driver is properly installed and present in your system.\n");
        return status_of(NVML_ERROR_LIBRARY_NOT_FOUND);
    }
    bool complete = true;
#define X(name) complete = resolve(library, #name, &api.name) && complete;
    SMI_CALLS(X)
#undef X
    if (!complete) {
        fprintf(stderr, "nvidia-smi (simulated): the libnvidia-ml.so found here is not the simulated one of the same "
                        "version; use the nvidia-smi that came with it\n");
        return status_of(NVML_ERROR_FUNCTION_NOT_FOUND);
    }
    nvmlReturn_t result = api.nvmlInit_v2();
    if (result != NVML_SUCCESS) {
        fprintf(stderr, "Failed to initialize NVML: %s\n", api.nvmlErrorString(result));
        return status_of(result);
    }
    return 0;
}
