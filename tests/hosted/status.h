// Calls of the library in a test on the simulator: what they must return.

#ifndef XVCPU_HOSTED_STATUS_H
#define XVCPU_HOSTED_STATUS_H

#include <stddef.h>

// Where calls inside must() and must_fail() leave the details.
static xvcpu_error error;

// The running test ends if the call does otherwise.
#define must(call) check_status((call), XVCPU_STATUS_OK, #call, __FILE__, __LINE__)
#define must_fail(call, status)                                                                    \
    check_status((call), XVCPU_STATUS_##status, #call, __FILE__, __LINE__)

static void check_status(xvcpu_status got, xvcpu_status want, const char *call, const char *file,
                         int line)
{
    if (got != want)
        sim_fail("%s:%d: %s: %s (%s), not %s", file, line, call, xvcpu_status_name(got),
                 got != XVCPU_STATUS_OK && error.detail ? error.detail : "-",
                 xvcpu_status_name(want));
    if (want != XVCPU_STATUS_OK) {
        sim_check_equal(error.status, want);
        sim_check(error.detail != NULL);
    }
}

#endif
