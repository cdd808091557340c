#include "transaction.h"

#include <errno.h>

#include "capabilities.h"

void transaction_recover(SimState *state)
{
    for (unsigned gpu = 0; gpu < state->file->gpu_count; gpu++) {
        if (!atomic_load(&state->file->gpus[gpu].files_dirty))
            continue;
        SimGpuState now;
        sim_snapshot(state, gpu, &now);
        capabilities_reconcile(state, gpu, &now);
        atomic_store(&state->file->gpus[gpu].files_dirty, 0);
    }
}

nvmlReturn_t transaction_begin(Transaction *change, SimState *state, unsigned gpu)
{
    change->state = state;
    change->gpu = gpu;
    nvmlReturn_t result = sim_lock(state, &change->lock_fd);
    if (result != NVML_SUCCESS)
        return result;
    transaction_recover(state);
    sim_snapshot(state, gpu, &change->before);
    change->next = change->before;
    return NVML_SUCCESS;
}

nvmlReturn_t transaction_commit(Transaction *change)
{
    SimGpu *gpu = &change->state->file->gpus[change->gpu];
    atomic_store(&gpu->files_dirty, 1);
    int error = capabilities_add(change->state, change->gpu, &change->before, &change->next);
    if (error == 0) {
        sim_publish(change->state, change->gpu, &change->next);
        capabilities_remove(change->state, change->gpu, &change->before, &change->next);
    }
    atomic_store(&gpu->files_dirty, 0);
    sim_unlock(change->lock_fd);
    if (error == 0)
        return NVML_SUCCESS;
    return error == EPERM || error == EACCES || error == EROFS ? NVML_ERROR_NO_PERMISSION
                                                               : NVML_ERROR_OPERATING_SYSTEM;
}

void transaction_abort(Transaction *change)
{
    sim_unlock(change->lock_fd);
}

nvmlReturn_t transaction_end(Transaction *change, nvmlReturn_t result)
{
    if (result == NVML_SUCCESS)
        return transaction_commit(change);
    transaction_abort(change);
    return result;
}
