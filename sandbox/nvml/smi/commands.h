/* nvidia-smi's commands. Each prints to stdout and returns an exit status. */
#ifndef SMI_COMMANDS_H
#define SMI_COMMANDS_H

int command_list(const char *which);
int command_overview(const char *which);
int command_version(void);

/* `format` is --format's value: csv[,noheader][,nounits]. */
int command_query_gpu(const char *which, const char *fields, const char *format);

int command_set_mig_mode(const char *which, const char *mode);
int command_set_compute_mode(const char *which, const char *mode);
int command_set_persistence_mode(const char *which, const char *mode);
int command_reset(const char *which);

/* The sub-commands read their own arguments. */
int command_mig(int count, char **arguments);
int command_compute_policy(int count, char **arguments);

#endif
