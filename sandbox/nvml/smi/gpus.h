/*
 * The GPUs a command is about, and their MIG devices.
 *
 * Owns the meaning of -i (index, UUID or bus id, or a list of these; all GPUs without it) and the walk over MIG devices.
 */
#ifndef SMI_GPUS_H
#define SMI_GPUS_H

#include <stdbool.h>
#include <stddef.h>

#include "api.h"

enum { MAX_GPUS = 16, MAX_MIG_DEVICES = 15 };

typedef struct {
    nvmlDevice_t handle;
    unsigned index;
    nvmlReturn_t lost; /* NVML_SUCCESS, or why nothing else can be asked of it */
} Gpu;

typedef struct {
    unsigned count;
    Gpu gpus[MAX_GPUS];
} GpuList;

typedef struct {
    nvmlDevice_t handle;
    unsigned index, gi, ci;
    char name[64]; /* the profile, without "MIG " */
    char uuid[96];
} MigDevice;

/* 0, or an exit status after saying which one is unknown. `which` may be NULL. */
int gpus_select(const char *which, GpuList *out);

void gpu_bus_id(const Gpu *gpu, char out[32]);
bool gpu_mig_enabled(const Gpu *gpu);
unsigned gpu_mig_devices(const Gpu *gpu, MigDevice out[MAX_MIG_DEVICES]);

/* Prints a lost GPU as the real tool does: one line, and the rest goes on. */
void gpu_complain(const Gpu *gpu);

#endif
