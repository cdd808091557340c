/*
 * The simulated GPUs as every process on the machine sees them: one file, mapped shared.
 *
 * Owns the file's layout and the three ways to touch it: a lock-free snapshot of one GPU, a lock that lets one writer
 * at a time through, and the atomic publication of a GPU's next state. It decides nothing about MIG and touches no
 * other file.
 *
 * Crash safety: a GPU has two copies of its state and a generation number whose lowest bit names the current copy. A
 * writer fills the other copy and then advances the generation with one atomic store, so a writer killed at any
 * instruction leaves either the old or the new state, never a mixture. Readers take no lock, so a stopped container
 * cannot hold up the driver.
 */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvml_abi.h"

#ifndef SIM_DRIVER_VERSION
#error "SIM_DRIVER_VERSION must be given by the build, for example -DSIM_DRIVER_VERSION=\"580.126.20\""
#endif

#define SIM_STATE_FILE "libnvidia-sim-state.so." SIM_DRIVER_VERSION
#define SIM_LIBRARY_DIR "usr/lib/x86_64-linux-gnu"

enum {
    SIM_LAYOUT = 1,
    SIM_MAX_BOARDS = 16,
    SIM_MAX_GPUS = 16,
    SIM_MAX_STARTS = 12,
    SIM_GI_SLOTS = 15, /* GI ids 0..14: 1 whole, 2 halves, 4 quarters, 8 eighths */
    SIM_CI_SLOTS = 8,
    SIM_EVENT_RING = 256,
    SIM_PATH_MAX = 4096,
    SIM_ROOT_MAX = 3968, /* leaves room for the longest path below a root */
};

typedef struct {
    uint32_t multiprocessors, copy, decode, encode, jpeg, ofa;
} SimEngines;

/* A GPU instance profile. Boards hold them by NVML's profile enum; `id` is the number NVML hands out. */
typedef struct {
    uint32_t present, id, slices, size, max_instances, ci_profile;
    uint32_t start_count;
    uint32_t starts[SIM_MAX_STARTS];
    SimEngines engines;
    uint64_t memory_mib;
    char name[32];
} SimProfile;

typedef struct {
    char product_name[96];
    uint32_t architecture, brand, cc_major, cc_minor;
    uint32_t pci_device_id, pci_subsystem_id;
    uint32_t grid_units;
    uint32_t max_mig_devices; /* 0: the board has no MIG */
    uint32_t mode_needs_reset, mode_survives_reboot;
    uint64_t memory_mib;
    SimEngines engines; /* what all instances of one GPU share */
    SimProfile profiles[NVML_GPU_INSTANCE_PROFILE_COUNT];
} SimBoard;

typedef struct {
    uint32_t live, profile, start, size; /* profile: CI profile enum; start and size in compute slices */
    uint32_t serial, holder;             /* holder: pid of a simulated client, 0 for none */
    uint8_t uuid[16];
} SimComputeInstance;

typedef struct {
    uint32_t live, profile, start, size; /* profile: GI profile enum; start and size in grid units */
    uint32_t serial;
    SimComputeInstance cis[SIM_CI_SLOTS];
} SimGpuInstance;

/* What can change. */
typedef struct {
    uint32_t mig_current, mig_pending;
    uint32_t persistence, compute_mode, timeslice;
    uint32_t lost;
    uint32_t holder;      /* pid of a simulated client of the whole GPU, 0 for none */
    uint32_t next_serial; /* numbers instances, so that a handle to a destroyed one is recognised */
    SimGpuInstance gis[SIM_GI_SLOTS];
} SimGpuState;

typedef struct {
    uint32_t board, minor, module_id;
    uint32_t pci_domain, pci_bus, pci_device, pci_function;
    int32_t numa_node;
    uint8_t uuid[16];
    _Atomic uint64_t generation;
    _Atomic uint32_t files_dirty; /* set while capability files may differ from the state */
    SimGpuState copies[2];
} SimGpu;

typedef struct {
    uint32_t gpu, gi, ci;
    uint64_t type, data;
} SimEvent;

typedef struct {
    char magic[8];
    uint32_t layout, size;
    uint64_t install_id; /* another number after each (re)installation: older sessions must initialise again */
    char driver_version[32];
    uint32_t cuda_version, caps_major;
    uint32_t board_count, gpu_count;
    _Atomic uint32_t call_latency_us, mig_latency_us;
    _Atomic uint32_t event_head; /* number of events ever written; also the futex that waiters sleep on */
    SimEvent events[SIM_EVENT_RING];
    SimBoard boards[SIM_MAX_BOARDS];
    SimGpu gpus[SIM_MAX_GPUS];
} SimFile;

typedef struct {
    SimFile *file;
    bool writable;
    uint64_t device, inode; /* identity of the mapped file */
    char path[SIM_PATH_MAX];
    char root[SIM_ROOT_MAX]; /* the directory that holds usr/lib/x86_64-linux-gnu, without a trailing slash; "" for "/" */
} SimState;

extern const char sim_magic[8];

/* Maps an installed state file; read-only where it cannot be opened for writing. */
nvmlReturn_t sim_state_open(SimState *state, const char *path);
void sim_state_close(SimState *state);

/* Creates the file (or empties an existing one, keeping its inode: containers have it mounted) and maps it with
 * everything but magic zeroed; sim_state_seal makes it valid. Returns 0 or an errno value. Both need the lock. */
int sim_state_create(SimState *state, const char *path);
void sim_state_seal(SimState *state, uint64_t install_id);

/* Takes the writers' lock; NVML_ERROR_NO_PERMISSION for a read-only mapping. The lock ends with the process. It is a
 * file of its own beside the state, because containers have the state mounted and could hold a lock on it for ever. */
nvmlReturn_t sim_lock(const SimState *state, int *lock_fd);
int sim_lock_path(const char *state_path); /* the descriptor that holds the lock, or -1 with errno */
void sim_unlock(int lock_fd);

/* A consistent copy of one GPU's state. */
void sim_snapshot(const SimState *state, unsigned gpu, SimGpuState *out);

/* Makes `next` the GPU's state. Needs the lock. */
void sim_publish(SimState *state, unsigned gpu, const SimGpuState *next);

/* Appends an event and wakes those who wait. Needs the lock. */
void sim_emit(SimState *state, const SimEvent *event);

/* Sleeps until event_head differs from `seen` or the time is over. */
void sim_wait_for_event(const SimState *state, uint32_t seen, unsigned timeout_ms);

const SimBoard *sim_board(const SimState *state, unsigned gpu);

#endif
