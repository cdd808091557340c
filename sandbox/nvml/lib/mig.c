#include "mig.h"

#include <stdio.h>
#include <string.h>

/* Compute slices of each CI profile enum. */
static const uint32_t compute_slices[NVML_COMPUTE_INSTANCE_PROFILE_COUNT] = {1, 2, 3, 4, 7, 8, 6, 1, 7};

enum { CI_PROFILE_1_SLICE_REV1 = 7, CI_PROFILE_7_SLICE_NVLINK = 8, GI_PROFILE_1_SLICE = 0 };

static uint32_t span(uint32_t start, uint32_t size)
{
    return ((1u << size) - 1u) << start;
}

static uint32_t used_units(const SimGpuState *gpu)
{
    uint32_t used = 0;
    for (unsigned i = 0; i < SIM_GI_SLOTS; i++)
        if (gpu->gis[i].live)
            used |= span(gpu->gis[i].start, gpu->gis[i].size);
    return used;
}

static void add_engines(SimEngines *sum, const SimEngines *more)
{
    sum->multiprocessors += more->multiprocessors;
    sum->copy += more->copy;
    sum->decode += more->decode;
    sum->encode += more->encode;
    sum->jpeg += more->jpeg;
    sum->ofa += more->ofa;
}

static bool engines_within(const SimEngines *sum, const SimEngines *limit)
{
    return sum->multiprocessors <= limit->multiprocessors && sum->copy <= limit->copy &&
           sum->decode <= limit->decode && sum->encode <= limit->encode && sum->jpeg <= limit->jpeg &&
           sum->ofa <= limit->ofa;
}

/* Grid units are not enough: +me takes the only OFA, +me.all every media engine, so they keep others out of units that
 * look free. `extra` more instances of the profile are asked for. */
static bool engines_allow(const SimBoard *board, const SimGpuState *gpu, unsigned profile, unsigned extra)
{
    SimEngines sum = {0};
    unsigned same = 0;
    for (unsigned i = 0; i < SIM_GI_SLOTS; i++) {
        if (!gpu->gis[i].live)
            continue;
        add_engines(&sum, &board->profiles[gpu->gis[i].profile].engines);
        same += gpu->gis[i].profile == profile;
    }
    for (unsigned i = 0; i < extra; i++)
        add_engines(&sum, &board->profiles[profile].engines);
    return engines_within(&sum, &board->engines) && same + extra <= board->profiles[profile].max_instances;
}

int mig_profile_of_id(const SimBoard *board, uint32_t profile_id)
{
    for (unsigned i = 0; i < NVML_GPU_INSTANCE_PROFILE_COUNT; i++)
        if (board->profiles[i].present && board->profiles[i].id == profile_id)
            return (int)i;
    return -1;
}

bool mig_placement_is_legal(const SimProfile *profile, uint32_t start, uint32_t size)
{
    if (size != profile->size)
        return false;
    for (uint32_t i = 0; i < profile->start_count; i++)
        if (profile->starts[i] == start)
            return true;
    return false;
}

bool mig_fits(const SimBoard *board, const SimGpuState *gpu, unsigned profile, uint32_t start)
{
    return (used_units(gpu) & span(start, board->profiles[profile].size)) == 0 &&
           engines_allow(board, gpu, profile, 1);
}

/* Grid units of all placements, of any profile, that taking `taken` would spoil. */
static uint32_t spoiled_units(const SimBoard *board, uint32_t used, uint32_t taken)
{
    uint32_t spoiled = 0;
    for (unsigned p = 0; p < NVML_GPU_INSTANCE_PROFILE_COUNT; p++) {
        const SimProfile *profile = &board->profiles[p];
        for (uint32_t i = 0; profile->present && i < profile->start_count; i++) {
            uint32_t units = span(profile->starts[i], profile->size);
            if ((units & used) == 0 && (units & taken) != 0)
                spoiled += profile->size;
        }
    }
    return spoiled;
}

/* The last two units of a 7-slice board have one compute slice beneath them. A double-memory 1g instance goes there
 * last (seen on GH200: 4:2, 0:2, 2:2). */
static bool is_last_resort(const SimBoard *board, const SimProfile *profile, uint32_t start)
{
    return profile->slices == 1 && profile->size == 2 && start + profile->size > board->max_mig_devices;
}

/* Not NVIDIA's algorithm, which is not public, but a rule that gives every placement seen on real boards: spoil as few
 * placements as possible, then take the lowest start. */
int mig_default_start(const SimBoard *board, const SimGpuState *gpu, unsigned profile_enum)
{
    const SimProfile *profile = &board->profiles[profile_enum];
    uint32_t used = used_units(gpu), best_cost = UINT32_MAX;
    int best = -1;
    for (uint32_t i = 0; i < profile->start_count; i++) {
        uint32_t start = profile->starts[i];
        if (!mig_fits(board, gpu, profile_enum, start))
            continue;
        uint32_t cost = spoiled_units(board, used, span(start, profile->size));
        if (is_last_resort(board, profile, start))
            cost = UINT32_MAX - 1;
        if (cost < best_cost) {
            best_cost = cost;
            best = (int)start;
        }
    }
    return best;
}

unsigned mig_remaining(const SimBoard *board, const SimGpuState *gpu, unsigned profile_enum)
{
    const SimProfile *profile = &board->profiles[profile_enum];
    uint32_t used = used_units(gpu);
    unsigned count = 0;
    /* Starts ascend and all spans are equally long, so taking the first free one is exact. */
    for (uint32_t i = 0; i < profile->start_count; i++) {
        uint32_t units = span(profile->starts[i], profile->size);
        if ((used & units) == 0 && engines_allow(board, gpu, profile_enum, count + 1)) {
            used |= units;
            count++;
        }
    }
    return count;
}

unsigned mig_gi_id(const SimBoard *board, uint32_t start, uint32_t size)
{
    unsigned parts = board->grid_units / size;
    return parts - 1 + start / size;
}

/* Which compute profiles a GPU instance of `slices` offers: those that fill it, and smaller ones that NVIDIA lists. */
static bool compute_profile_exists(uint32_t slices, uint32_t wanted)
{
    if (wanted == slices)
        return true;
    switch (wanted) {
    case 1:
    case 2:
        return wanted < slices;
    case 3:
    case 4:
        return slices == 7;
    default:
        return false;
    }
}

bool mig_compute_profile(const SimBoard *board, unsigned gi_profile, unsigned ci_profile, MigComputeProfile *out)
{
    if (gi_profile >= NVML_GPU_INSTANCE_PROFILE_COUNT || ci_profile >= NVML_COMPUTE_INSTANCE_PROFILE_COUNT ||
        ci_profile == CI_PROFILE_7_SLICE_NVLINK)
        return false;
    const SimProfile *gi = &board->profiles[gi_profile];
    uint32_t slices = compute_slices[ci_profile];
    if (!gi->present || !compute_profile_exists(gi->slices, slices))
        return false;
    bool fills = ci_profile == gi->ci_profile;
    if (ci_profile == CI_PROFILE_1_SLICE_REV1 && !fills)
        return false;

    memset(out, 0, sizeof *out);
    out->id = ci_profile;
    out->slices = slices;
    const SimProfile *one_slice = &board->profiles[GI_PROFILE_1_SLICE];
    if (fills)
        out->multiprocessors = gi->engines.multiprocessors;
    else if (one_slice->present)
        out->multiprocessors = one_slice->engines.multiprocessors * slices;
    else
        out->multiprocessors = gi->engines.multiprocessors * slices / gi->slices;

    uint32_t step = slices == 3 ? 4 : slices; /* 3c sits on the halves of the grid, as 3g does */
    for (uint32_t start = 0; start + slices <= gi->slices && out->start_count < SIM_CI_SLOTS; start += step)
        out->starts[out->start_count++] = start;
    if (slices == gi->slices)
        snprintf(out->name, sizeof out->name, "%s", gi->name);
    else
        snprintf(out->name, sizeof out->name, "%uc.%s", slices, gi->name);
    return true;
}

static uint32_t used_slices(const SimGpuInstance *gi)
{
    uint32_t used = 0;
    for (unsigned i = 0; i < SIM_CI_SLOTS; i++)
        if (gi->cis[i].live)
            used |= span(gi->cis[i].start, gi->cis[i].size);
    return used;
}

bool mig_compute_fits(const SimGpuInstance *gi, const MigComputeProfile *profile, uint32_t start)
{
    return (used_slices(gi) & span(start, profile->slices)) == 0;
}

int mig_compute_default_start(const SimGpuInstance *gi, const MigComputeProfile *profile)
{
    for (uint32_t i = 0; i < profile->start_count; i++)
        if (mig_compute_fits(gi, profile, profile->starts[i]))
            return (int)profile->starts[i];
    return -1;
}

unsigned mig_compute_remaining(const SimGpuInstance *gi, const MigComputeProfile *profile)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < profile->start_count; i++)
        count += mig_compute_fits(gi, profile, profile->starts[i]);
    return count;
}

void mig_device_profile_name(const SimBoard *board, const SimGpuInstance *gi, const SimComputeInstance *ci,
                             char *out, size_t length)
{
    MigComputeProfile profile;
    bool known = mig_compute_profile(board, gi->profile, ci->profile, &profile);
    snprintf(out, length, "%s", known ? profile.name : board->profiles[gi->profile].name);
}

bool mig_has_compute_instances(const SimGpuInstance *gi)
{
    return used_slices(gi) != 0;
}

void mig_destroy_all(SimGpuState *gpu)
{
    memset(gpu->gis, 0, sizeof gpu->gis);
}

bool mig_is_held(const SimGpuState *gpu)
{
    bool held = gpu->holder != 0;
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++)
        for (unsigned ci = 0; ci < SIM_CI_SLOTS; ci++)
            held = held || gpu->gis[gi].cis[ci].holder != 0;
    return held;
}

void mig_reset(SimGpuState *gpu)
{
    mig_destroy_all(gpu);
    gpu->mig_current = gpu->mig_pending;
    gpu->lost = 0;
    gpu->holder = 0;
}
