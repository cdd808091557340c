/* MIG mode, and MIG devices as a user of the GPU sees them. */
#include <stddef.h>

#include "nvml.h"
#include "session.h"
#include "visibility.h"

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned int *current, unsigned int *pending)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (current == NULL || pending == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.board->max_mig_devices == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = device.now.mig_current;
    *pending = device.now.mig_pending;
    return NVML_SUCCESS;
}

/* Success with another activation status means: pending, not active. */
nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t handle, unsigned int mode, nvmlReturn_t *activation)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (activation == NULL || mode > NVML_DEVICE_MIG_ENABLE)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.board->max_mig_devices == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    sleep_mig_latency();
    Transaction change;
    result = change_gpu(&device, &change);
    if (result != NVML_SUCCESS)
        return result;

    change.next.mig_pending = mode;
    if (mode == change.next.mig_current) {
        *activation = NVML_SUCCESS;
    } else if (mig_is_held(&change.next)) {
        *activation = NVML_ERROR_IN_USE;
    } else if (device.board->mode_needs_reset) {
        *activation = NVML_ERROR_RESET_REQUIRED; /* passed through to a virtual machine, as on EC2: reset or reboot */
    } else {
        *activation = NVML_SUCCESS;
        change.next.mig_current = mode;
        mig_destroy_all(&change.next);
    }
    return transaction_commit(&change);
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned int *count)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (count == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = device.now.mig_current ? device.board->max_mig_devices : 0;
    return NVML_SUCCESS;
}

/* Indexes count the MIG devices this process can see, by GPU instance and compute instance id. */
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned int index, nvmlDevice_t *mig_device)
{
    Device device;
    SimState *state;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (device.board->max_mig_devices == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    if (mig_device == NULL || index >= device.board->max_mig_devices)
        return NVML_ERROR_INVALID_ARGUMENT;
    result = session_state(&state);
    if (result != NVML_SUCCESS)
        return result;
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++) {
        for (unsigned ci = 0; device.now.gis[gi].live && ci < SIM_CI_SLOTS; ci++) {
            if (!device.now.gis[gi].cis[ci].live || !visibility_of_mig_device(state, device.gpu, gi, ci))
                continue;
            if (index-- == 0) {
                *mig_device = mig_device_handle(&device, gi, ci);
                return NVML_SUCCESS;
            }
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t handle, unsigned int *is_mig)
{
    Device device;
    nvmlReturn_t result = device_of(handle, &device);
    if (result == NVML_SUCCESS && is_mig == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *is_mig = device.is_mig;
    return result;
}

static nvmlReturn_t mig_of(nvmlDevice_t handle, Device *device, const void *out)
{
    nvmlReturn_t result = device_of(handle, device);
    if (result == NVML_SUCCESS && out == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    return result == NVML_SUCCESS && !device->is_mig ? NVML_ERROR_NOT_SUPPORTED : result;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t handle, unsigned int *id)
{
    Device device;
    nvmlReturn_t result = mig_of(handle, &device, id);
    if (result == NVML_SUCCESS)
        *id = device.gi;
    return result;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t handle, unsigned int *id)
{
    Device device;
    nvmlReturn_t result = mig_of(handle, &device, id);
    if (result == NVML_SUCCESS)
        *id = device.ci;
    return result;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig_device, nvmlDevice_t *device_out)
{
    Device device;
    nvmlReturn_t result = mig_of(mig_device, &device, device_out);
    if (result == NVML_SUCCESS)
        *device_out = gpu_handle(device.gpu);
    return result;
}

nvmlReturn_t nvmlSimDeviceReset(nvmlDevice_t handle)
{
    Device device;
    nvmlReturn_t result = gpu_of(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    Transaction change;
    result = change_gpu(&device, &change);
    if (result != NVML_SUCCESS)
        return result;
    if (mig_is_held(&change.next))
        return transaction_end(&change, NVML_ERROR_IN_USE);
    mig_reset(&change.next);
    return transaction_commit(&change);
}
