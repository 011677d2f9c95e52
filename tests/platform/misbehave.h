/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The faults that every HTTP service has, applied to an exchange. */

#include "exchange.h"
#include "faults.h"

/* Applies faults before the request is read. Returns true where one took effect: the exchange has its
 * ending then, and *ret_kind is the fault. */
bool misbehave_before(Exchange *exchange, Faults *faults, Service service, const char *operation,
                      FaultKind *ret_kind);

/* Applies faults to the finished reply. Returns true where one took effect. */
bool misbehave_after(Exchange *exchange, Faults *faults, Service service, const char *operation,
                     FaultKind *ret_kind);
