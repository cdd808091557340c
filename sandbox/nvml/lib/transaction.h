/*
 * One change to one GPU: lock, edit a private copy, make the files match, publish.
 *
 * Owns the order of these steps, which is what makes a kill at any point harmless: files of new instances exist before
 * the instance does, files of dead ones go after it, and a dirty flag tells the next writer to set right whatever a dead
 * one left.
 */
#ifndef SIM_TRANSACTION_H
#define SIM_TRANSACTION_H

#include "state.h"

typedef struct {
    SimState *state;
    unsigned gpu;
    int lock_fd;
    SimGpuState before, next; /* edit `next` */
} Transaction;

nvmlReturn_t transaction_begin(Transaction *change, SimState *state, unsigned gpu);
nvmlReturn_t transaction_commit(Transaction *change);
void transaction_abort(Transaction *change);

/* Ends with commit or abort, whichever `result` asks for, and returns what the caller should. */
nvmlReturn_t transaction_end(Transaction *change, nvmlReturn_t result);

/* Sets the capability files of every GPU right that a dead writer left unfinished. Needs the lock. */
void transaction_recover(SimState *state);

#endif
