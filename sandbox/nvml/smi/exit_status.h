/* nvidia-smi's exit statuses are NVML's error numbers, 255 for those that do not fit. */
#ifndef SMI_EXIT_STATUS_H
#define SMI_EXIT_STATUS_H

#include "nvml_abi.h"

static inline int status_of(nvmlReturn_t result)
{
    return result > 30 ? 255 : (int)result;
}

#endif
