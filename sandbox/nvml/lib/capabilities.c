#include "capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Minor numbers are dense: 1 config, 2 monitor, then 135 per GPU = 15 GIs of 1 + 8 CIs. */
enum { FIRST_MINOR = 3, MINORS_PER_GI = 1 + SIM_CI_SLOTS, MINORS_PER_GPU = SIM_GI_SLOTS * MINORS_PER_GI };

enum { NO_CI = -1, NODE_MODE = 0444 };

unsigned capabilities_gi_minor(unsigned gpu_minor, unsigned gi)
{
    return FIRST_MINOR + gpu_minor * MINORS_PER_GPU + gi * MINORS_PER_GI;
}

unsigned capabilities_ci_minor(unsigned gpu_minor, unsigned gi, unsigned ci)
{
    return capabilities_gi_minor(gpu_minor, gi) + 1 + ci;
}

static unsigned minor_of(unsigned gpu_minor, unsigned gi, int ci)
{
    return ci == NO_CI ? capabilities_gi_minor(gpu_minor, gi) : capabilities_ci_minor(gpu_minor, gi, (unsigned)ci);
}

/* Each path is written whole, so none is ever built from parts that a caller could get wrong. */
static void directory_path(const SimState *state, unsigned gpu_minor, unsigned gi, int ci, char out[SIM_PATH_MAX])
{
    static const char format[] = "%s/proc/driver/nvidia/capabilities/gpu%u/mig/gi%u";
    int used = snprintf(out, SIM_PATH_MAX, format, state->root, gpu_minor, gi);
    if (ci != NO_CI && used > 0 && used < SIM_PATH_MAX)
        snprintf(out + used, (size_t)(SIM_PATH_MAX - used), "/ci%d", ci);
}

static void node_path(const SimState *state, unsigned minor_number, char out[SIM_PATH_MAX])
{
    snprintf(out, SIM_PATH_MAX, "%s/dev/nvidia-caps/nvidia-cap%u", state->root, minor_number);
}

static int make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0755) != 0 && errno != EEXIST && errno != EROFS;
        *slash = '/';
        if (failed)
            return errno;
    }
    return mkdir(path, 0755) != 0 && errno != EEXIST ? errno : 0;
}

static int make_node(const SimState *state, unsigned minor_number)
{
    char path[SIM_PATH_MAX];
    node_path(state, minor_number, path);
    dev_t number = makedev(state->file->caps_major, minor_number);
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == number)
        return 0;
    unlink(path);
    if (mknod(path, S_IFCHR | NODE_MODE, number) != 0)
        return errno;
    return chmod(path, NODE_MODE) != 0 ? errno : 0; /* mknod applied the caller's umask */
}

static int make_access_file(const SimState *state, unsigned gpu_minor, unsigned gi, int ci)
{
    char path[SIM_PATH_MAX];
    directory_path(state, gpu_minor, gi, ci, path);
    int error = make_directories(path);
    if (error != 0)
        return error;
    strncat(path, "/access", sizeof path - strlen(path) - 1);
    char text[96];
    int length = snprintf(text, sizeof text, "DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n",
                          minor_of(gpu_minor, gi, ci), NODE_MODE);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
    if (fd < 0)
        return errno;
    error = write(fd, text, (size_t)length) == length ? 0 : EIO;
    if (fchmod(fd, 0444) != 0 && error == 0)
        error = errno;
    close(fd);
    return error;
}

static int make_one(const SimState *state, unsigned gpu_minor, unsigned gi, int ci)
{
    int error = make_node(state, minor_of(gpu_minor, gi, ci));
    return error != 0 ? error : make_access_file(state, gpu_minor, gi, ci);
}

static void remove_one(const SimState *state, unsigned gpu_minor, unsigned gi, int ci)
{
    char path[SIM_PATH_MAX];
    node_path(state, minor_of(gpu_minor, gi, ci), path);
    unlink(path);
    directory_path(state, gpu_minor, gi, ci, path);
    size_t length = strlen(path);
    strncat(path, "/access", sizeof path - length - 1);
    unlink(path);
    path[length] = '\0';
    rmdir(path);
}

static bool has(const SimGpuState *gpu, unsigned gi, int ci)
{
    return gpu->gis[gi].live && (ci == NO_CI || gpu->gis[gi].cis[ci].live);
}

int capabilities_add(const SimState *state, unsigned gpu, const SimGpuState *current, const SimGpuState *next)
{
    unsigned gpu_minor = state->file->gpus[gpu].minor;
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++) {
        for (int ci = NO_CI; ci < SIM_CI_SLOTS; ci++) {
            if (!has(next, gi, ci) || has(current, gi, ci))
                continue;
            int error = make_one(state, gpu_minor, gi, ci);
            if (error != 0) {
                capabilities_remove(state, gpu, next, current);
                return error;
            }
        }
    }
    return 0;
}

void capabilities_remove(const SimState *state, unsigned gpu, const SimGpuState *current, const SimGpuState *next)
{
    unsigned gpu_minor = state->file->gpus[gpu].minor;
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++)
        for (int ci = SIM_CI_SLOTS - 1; ci >= NO_CI; ci--)
            if (has(current, gi, ci) && !has(next, gi, ci))
                remove_one(state, gpu_minor, gi, ci);
}

void capabilities_reconcile(const SimState *state, unsigned gpu, const SimGpuState *wanted)
{
    unsigned gpu_minor = state->file->gpus[gpu].minor;
    for (unsigned gi = 0; gi < SIM_GI_SLOTS; gi++) {
        for (int ci = SIM_CI_SLOTS - 1; ci >= NO_CI; ci--) {
            if (has(wanted, gi, ci))
                make_one(state, gpu_minor, gi, ci);
            else
                remove_one(state, gpu_minor, gi, ci);
        }
    }
}
