#include "description.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    unsigned line;
    bool failed;
} Reader;

static void complain(Reader *reader, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%u: ", reader->name, reader->line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    reader->failed = true;
}

/* The text after " key=" or NULL. */
static const char *value_of(const char *line, const char *key)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, " %s=", key);
    const char *found = strstr(line, wanted);
    return found == NULL ? NULL : found + strlen(wanted);
}

static unsigned long long number(Reader *reader, const char *line, const char *key)
{
    const char *text = value_of(line, key);
    char *end;
    if (text == NULL) {
        complain(reader, "no %s=", key);
        return 0;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (end == text || errno != 0 || (*end != ' ' && *end != '\0' && *end != '.' && *end != ','))
        complain(reader, "%s= is not a number", key);
    return value;
}

static uint32_t small(Reader *reader, const char *line, const char *key)
{
    unsigned long long value = number(reader, line, key);
    if (value > UINT32_MAX)
        complain(reader, "%s= does not fit in 32 bits", key);
    return (uint32_t)value;
}

static void copy_name(Reader *reader, const char *line, char *out, size_t size)
{
    const char *text = value_of(line, "name");
    if (text == NULL || *text == '\0' || strlen(text) >= size)
        complain(reader, "name= is missing or longer than %zu characters", size - 1);
    else
        memcpy(out, text, strlen(text) + 1);
}

static void read_board(Reader *reader, const char *line, SimFile *file)
{
    if (file->board_count == SIM_MAX_BOARDS) {
        complain(reader, "more than %d boards", SIM_MAX_BOARDS);
        return;
    }
    SimBoard *board = &file->boards[file->board_count++];
    board->architecture = small(reader, line, "arch");
    board->brand = small(reader, line, "brand");
    const char *capability = value_of(line, "cc");
    if (capability == NULL || sscanf(capability, "%u.%u", &board->cc_major, &board->cc_minor) != 2)
        complain(reader, "cc= is not of the form 8.0");
    board->memory_mib = number(reader, line, "memory");
    board->pci_device_id = small(reader, line, "pci");
    board->pci_subsystem_id = small(reader, line, "subsys");
    board->grid_units = small(reader, line, "grid");
    board->max_mig_devices = small(reader, line, "max");
    board->mode_needs_reset = small(reader, line, "reset");
    board->mode_survives_reboot = small(reader, line, "persists");
    if (board->grid_units > 16 || board->max_mig_devices > SIM_GI_SLOTS)
        complain(reader, "the grid has at most 16 units and the board at most %d MIG devices", SIM_GI_SLOTS);
    copy_name(reader, line, board->product_name, sizeof board->product_name);
}

static void read_starts(Reader *reader, const char *line, SimProfile *profile)
{
    const char *text = value_of(line, "starts");
    while (text != NULL) {
        char *end;
        unsigned long start = strtoul(text, &end, 10);
        if (end == text || profile->start_count == SIM_MAX_STARTS)
            break;
        profile->starts[profile->start_count++] = (uint32_t)start;
        if (*end != ',')
            return;
        text = end + 1;
    }
    complain(reader, "starts= is not a list of 1 to %d numbers", SIM_MAX_STARTS);
}

static void raise_to(uint32_t *limit, uint32_t value)
{
    if (*limit < value)
        *limit = value;
}

static void read_profile(Reader *reader, const char *line, SimFile *file)
{
    uint32_t slot = small(reader, line, "enum");
    if (file->board_count == 0 || slot >= NVML_GPU_INSTANCE_PROFILE_COUNT) {
        complain(reader, "a profile needs a board above it and an enum below %u", NVML_GPU_INSTANCE_PROFILE_COUNT);
        return;
    }
    SimBoard *board = &file->boards[file->board_count - 1];
    SimProfile *profile = &board->profiles[slot];
    if (profile->present)
        complain(reader, "this board has two profiles of enum %u", slot);
    memset(profile, 0, sizeof *profile);
    profile->present = 1;
    profile->id = small(reader, line, "id");
    profile->slices = small(reader, line, "slices");
    profile->size = small(reader, line, "size");
    profile->max_instances = small(reader, line, "max");
    profile->ci_profile = small(reader, line, "ci");
    profile->memory_mib = number(reader, line, "memory");
    profile->engines = (SimEngines){
        .multiprocessors = small(reader, line, "sm"),
        .copy = small(reader, line, "ce"),
        .decode = small(reader, line, "dec"),
        .encode = small(reader, line, "enc"),
        .jpeg = small(reader, line, "jpeg"),
        .ofa = small(reader, line, "ofa"),
    };
    copy_name(reader, line, profile->name, sizeof profile->name);
    read_starts(reader, line, profile);
    if (profile->size == 0 || profile->size > board->grid_units || board->grid_units % profile->size != 0) {
        complain(reader, "size=%u does not divide the grid of %u units", profile->size, board->grid_units);
        return;
    }
    for (uint32_t i = 0; i < profile->start_count; i++)
        if (profile->starts[i] % profile->size != 0 || profile->starts[i] + profile->size > board->grid_units)
            complain(reader, "start %u is not on the grid", profile->starts[i]);
    /* All instances of a GPU share what the largest profile takes. */
    raise_to(&board->engines.multiprocessors, profile->engines.multiprocessors);
    raise_to(&board->engines.copy, profile->engines.copy);
    raise_to(&board->engines.decode, profile->engines.decode);
    raise_to(&board->engines.encode, profile->engines.encode);
    raise_to(&board->engines.jpeg, profile->engines.jpeg);
    raise_to(&board->engines.ofa, profile->engines.ofa);
}

static bool read_uuid(const char *text, uint8_t uuid[16])
{
    for (unsigned i = 0; text != NULL && i < 16; i++)
        if (sscanf(text + i * 2, "%2hhx", &uuid[i]) != 1)
            return false;
    return text != NULL;
}

static void read_gpu(Reader *reader, const char *line, SimFile *file)
{
    if (file->gpu_count == SIM_MAX_GPUS) {
        complain(reader, "more than %d GPUs", SIM_MAX_GPUS);
        return;
    }
    SimGpu *gpu = &file->gpus[file->gpu_count++];
    gpu->board = small(reader, line, "board");
    gpu->minor = small(reader, line, "minor");
    gpu->module_id = small(reader, line, "module");
    const char *numa = value_of(line, "numa"), *pci = value_of(line, "pci");
    if (numa == NULL || sscanf(numa, "%d", &gpu->numa_node) != 1)
        complain(reader, "numa= is not a number");
    if (pci == NULL || sscanf(pci, "%x:%x:%x.%x", &gpu->pci_domain, &gpu->pci_bus, &gpu->pci_device,
                              &gpu->pci_function) != 4)
        complain(reader, "pci= is not of the form 0000:10:1c.0");
    if (!read_uuid(value_of(line, "uuid"), gpu->uuid))
        complain(reader, "uuid= is not 32 hexadecimal digits");
    uint32_t mig = small(reader, line, "mig");
    if (gpu->board >= file->board_count) {
        complain(reader, "board=%u is not above this line", gpu->board);
        return;
    }
    if (mig != 0 && file->boards[gpu->board].max_mig_devices == 0)
        complain(reader, "%s has no MIG to enable", file->boards[gpu->board].product_name);
    gpu->copies[0].mig_current = gpu->copies[0].mig_pending = mig;
}

bool description_read(FILE *text, const char *name, SimFile *file)
{
    Reader reader = {.name = name};
    char line[1024];
    while (fgets(line, sizeof line, text) != NULL) {
        reader.line++;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (sscanf(line, "driver %31s", file->driver_version) == 1)
            continue;
        if (sscanf(line, "cuda %u", &file->cuda_version) == 1 || sscanf(line, "caps-major %u", &file->caps_major) == 1)
            continue;
        if (strncmp(line, "board ", 6) == 0)
            read_board(&reader, line, file);
        else if (strncmp(line, "profile ", 8) == 0)
            read_profile(&reader, line, file);
        else if (strncmp(line, "gpu ", 4) == 0)
            read_gpu(&reader, line, file);
        else
            complain(&reader, "unknown line");
    }
    if (strcmp(file->driver_version, SIM_DRIVER_VERSION) != 0)
        complain(&reader, "driver %s is described, but this program was built for " SIM_DRIVER_VERSION,
                 file->driver_version[0] != '\0' ? file->driver_version : "(none)");
    if (file->caps_major == 0 || file->cuda_version == 0)
        complain(&reader, "cuda or caps-major is missing");
    return !reader.failed;
}
