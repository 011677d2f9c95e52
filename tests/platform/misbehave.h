/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The faults that any HTTP service may have, applied to an exchange. */

#include "exchange.h"
#include "faults.h"

/* Before the request is looked at. True: the exchange has its ending already; *ret_kind is the fault. */
bool misbehave_before(Exchange *exchange, Faults *faults, Service service, const char *operation,
                      FaultKind *ret_kind);

/* Once the reply stands. True where it was spoilt. */
bool misbehave_after(Exchange *exchange, Faults *faults, Service service, const char *operation,
                     FaultKind *ret_kind);
