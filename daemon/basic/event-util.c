/* SPDX-License-Identifier: Apache-2.0 */

#include <stdint.h>

#include "basic/event-util.h"

int event_run_until(sd_event *event, const bool *done) {
        while (!*done) {
                int r = sd_event_run(event, UINT64_MAX);

                if (r < 0)
                        return r;
        }
        return 0;
}
