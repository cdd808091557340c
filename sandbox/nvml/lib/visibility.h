/*
 * Which GPUs and MIG devices this process may see, decided by the device nodes below the driver root.
 *
 * A device counts as visible exactly where open() of its node would not be refused: the node exists, its mode and the
 * device cgroup admit the process, and its mount has no "nodev". Nothing is opened: on a machine that has a real NVIDIA
 * driver too, opening a node would wake a real GPU.
 */
#ifndef SIM_VISIBILITY_H
#define SIM_VISIBILITY_H

#include "state.h"

/* NVML_SUCCESS, or why NVML cannot start: no control node, or one that is refused. */
nvmlReturn_t visibility_of_control_node(const SimState *state);
bool visibility_of_gpu(const SimState *state, unsigned gpu);
bool visibility_of_gpu_instance(const SimState *state, unsigned gpu, unsigned gi);
bool visibility_of_mig_device(const SimState *state, unsigned gpu, unsigned gi, unsigned ci);

#endif
