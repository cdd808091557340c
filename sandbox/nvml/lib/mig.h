/*
 * What the driver would decide about MIG: which placement, which id, how many more.
 *
 * Owns the arithmetic of slices, grid units and engines over values it is handed. It never touches files, locks or
 * handles.
 */
#ifndef SIM_MIG_H
#define SIM_MIG_H

#include "state.h"

/* A compute instance profile inside one GPU instance profile. */
typedef struct {
    uint32_t id, slices, multiprocessors;
    uint32_t start_count;
    uint32_t starts[SIM_CI_SLOTS];
    char name[48];
} MigComputeProfile;

/* The GI profile enum with this profile id, or -1. */
int mig_profile_of_id(const SimBoard *board, uint32_t profile_id);

bool mig_placement_is_legal(const SimProfile *profile, uint32_t start, uint32_t size);

/* Whether one more instance fits at `start`: grid units, engines and the profile's own limit. */
bool mig_fits(const SimBoard *board, const SimGpuState *gpu, unsigned profile, uint32_t start);

/* Where the driver puts an instance when no placement is given; -1 if it fits nowhere. */
int mig_default_start(const SimBoard *board, const SimGpuState *gpu, unsigned profile);

unsigned mig_remaining(const SimBoard *board, const SimGpuState *gpu, unsigned profile);

/* GI ids follow from the position alone: whole 0, halves 1-2, quarters 3-6, eighths 7-14. */
unsigned mig_gi_id(const SimBoard *board, uint32_t start, uint32_t size);

/* False where the GPU instance profile has no such compute profile. */
bool mig_compute_profile(const SimBoard *board, unsigned gi_profile, unsigned ci_profile, MigComputeProfile *out);
bool mig_compute_fits(const SimGpuInstance *gi, const MigComputeProfile *profile, uint32_t start);
int mig_compute_default_start(const SimGpuInstance *gi, const MigComputeProfile *profile);
unsigned mig_compute_remaining(const SimGpuInstance *gi, const MigComputeProfile *profile);

/* "1g.5gb" for a compute instance that fills its GPU instance, "1c.3g.20gb" for a smaller one. */
void mig_device_profile_name(const SimBoard *board, const SimGpuInstance *gi, const SimComputeInstance *ci,
                             char *out, size_t length);

bool mig_has_compute_instances(const SimGpuInstance *gi);
void mig_destroy_all(SimGpuState *gpu);

/* Whether a (simulated) process uses the GPU or one of its MIG devices. */
bool mig_is_held(const SimGpuState *gpu);

/* What a GPU reset does: instances vanish, a pending mode takes effect, a lost GPU comes back. */
void mig_reset(SimGpuState *gpu);

#endif
