/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>

#include "aws/calls.h"
#include "aws/service.h"
#include "basic/clock.h"
#include "basic/list.h"

void aws_calls_cancel(AwsCalls *calls) {
        while (calls->first) {
                AwsCall *call = calls->first;

                LIST_REMOVE(calls->first, call);
                http_cancel(call->transfer);
                if (call->clear)
                        call->clear(call);
                free(call);
        }
}

AwsCall aws_call_now(AwsCalls *calls) {
        return (AwsCall){
                .calls = calls,
                .signed_at = (int64_t) (now_realtime_usec() / USEC_PER_SEC) + calls->clock_offset,
                .clock_offset = calls->clock_offset,
        };
}

int aws_call_start(AwsCall *call, const HttpRequest *request, HttpCallback callback) {
        int r = http_start(call->calls->http, request, callback, call, &call->transfer);

        if (r < 0)
                return r;
        LIST_PREPEND(call->calls->first, call);
        return 0;
}

void aws_call_end(AwsCall *call) {
        LIST_REMOVE(call->calls->first, call);
}

int64_t aws_call_skew(const AwsCall *call, const HttpReply *reply) {
        int64_t date = http_reply_date(reply);

        return date < 0 ? AWS_SKEW_UNKNOWN : date - call->signed_at;
}

void aws_call_adjust_clock(const AwsCall *call, int64_t skew) {
        call->calls->clock_offset = call->clock_offset + skew;
}
