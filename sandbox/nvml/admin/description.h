/*
 * The plain text that says which GPUs to simulate: one line per fact, read before anything is touched.
 *
 *     driver 580.126.20
 *     cuda 13000
 *     caps-major 511
 *     board arch=7 brand=14 cc=8.0 memory=40960 pci=0x20B010DE subsys=0x0 grid=8 max=7 reset=1 persists=1 name=...
 *     profile enum=0 id=19 slices=1 size=1 starts=0,1,2 max=7 sm=14 ce=1 dec=0 enc=0 jpeg=0 ofa=0 memory=4864 ci=0 name=...
 *     gpu board=0 minor=0 module=1 uuid=<32 hex digits> pci=0000:10:1c.0 numa=0 mig=1
 *
 * A profile belongs to the board above it; `name` is last and runs to the end of the line.
 */
#ifndef SIM_DESCRIPTION_H
#define SIM_DESCRIPTION_H

#include <stdio.h>

#include "state.h"

/* Fills a zeroed SimFile. Says on stderr what is wrong in which line and returns false if anything is. */
bool description_read(FILE *text, const char *name, SimFile *file);

#endif
