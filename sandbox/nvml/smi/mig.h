/* The parts of `nvidia-smi mig`: parsed options, listings, changes. */
#ifndef SMI_MIG_H
#define SMI_MIG_H

#include "gpus.h"

enum { MAX_LISTED = 16, MAX_PROFILES = NVML_GPU_INSTANCE_PROFILE_COUNT };

typedef struct {
    bool given;
    unsigned count;
    unsigned numbers[MAX_LISTED];
} IdList;

typedef struct {
    GpuList gpus;      /* those with MIG enabled */
    IdList gis, cis;   /* -gi, -ci */
    const char *profiles; /* -cgi's or -cci's list; NULL for -cci's default */
    bool with_compute_instances; /* -C */
} MigOptions;

/* A GPU instance with what every command needs of it. */
typedef struct {
    nvmlGpuInstance_t handle;
    nvmlGpuInstanceInfo_t info;
    char profile[96]; /* "MIG 1g.5gb" */
} MigGpuInstance;

typedef struct {
    nvmlComputeInstance_t handle;
    nvmlComputeInstanceInfo_t info;
    char profile[96];
} MigComputeInstance;

bool ids_contain(const IdList *ids, unsigned id);

/* All profiles of a GPU in the order in which nvidia-smi lists them: by size, then by enum. */
unsigned gpu_profiles(const Gpu *gpu, nvmlGpuInstanceProfileInfo_v2_t out[MAX_PROFILES]);

/* In the order of their profiles, then of ids; only those that -gi or -ci names. */
unsigned gpu_instances(const Gpu *gpu, const IdList *only, MigGpuInstance out[MAX_MIG_DEVICES]);
unsigned compute_instances(const MigGpuInstance *gi, const IdList *only, MigComputeInstance out[8]);

bool compute_profile(const MigGpuInstance *gi, unsigned profile, nvmlComputeInstanceProfileInfo_v2_t *out);

/* Whether the compute profile fills the GPU instance, so that -C and a bare -cci take it. */
bool is_default_profile(const MigGpuInstance *gi, const nvmlComputeInstanceProfileInfo_v2_t *info);

int mig_list_gpu_profiles(const MigOptions *options);
int mig_list_gpu_placements(const MigOptions *options);
int mig_list_gpu_instances(const MigOptions *options);
int mig_list_compute_profiles(const MigOptions *options);
int mig_list_compute_instances(const MigOptions *options);
int mig_create_gpu_instances(const MigOptions *options);
int mig_create_compute_instances(const MigOptions *options);
int mig_destroy_gpu_instances(const MigOptions *options);
int mig_destroy_compute_instances(const MigOptions *options);

#endif
