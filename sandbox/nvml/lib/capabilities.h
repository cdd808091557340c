/*
 * The files a kernel driver shows for MIG instances: /proc/driver/nvidia/capabilities/.../access and the device nodes
 * under /dev/nvidia-caps, all below the driver root.
 *
 * Owns these paths and their numbers. It never decides which instances exist; it makes the files match a state.
 */
#ifndef SIM_CAPABILITIES_H
#define SIM_CAPABILITIES_H

#include "state.h"

unsigned capabilities_gi_minor(unsigned gpu_minor, unsigned gi);
unsigned capabilities_ci_minor(unsigned gpu_minor, unsigned gi, unsigned ci);

/* Makes what `next` has and `current` lacks. On failure removes what it made and returns an errno value. */
int capabilities_add(const SimState *state, unsigned gpu, const SimGpuState *current, const SimGpuState *next);

/* Removes what `current` has and `next` lacks. */
void capabilities_remove(const SimState *state, unsigned gpu, const SimGpuState *current, const SimGpuState *next);

/* Makes the GPU's files equal to `wanted`, whatever is there; used after a writer died half-way. */
void capabilities_reconcile(const SimState *state, unsigned gpu, const SimGpuState *wanted);

#endif
