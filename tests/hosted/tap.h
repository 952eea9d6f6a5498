// Test Anything Protocol for the hosted tests: what `prove` reads.
//
//     int main(void)
//     {
//         plan(2);                                  // 0 or no call: done_testing() prints the plan
//         ok(1 + 1 == 2, "sum of %d and %d", 1, 1); // prints "ok 1 - sum of 1 and 1"
//         is_hex(got, want, "value of CR0");        // as ok, and shows both on failure
//         return done_testing();                    // 0 only if all passed and the plan was kept
//     }

#ifndef XVCPU_HOSTED_TAP_H
#define XVCPU_HOSTED_TAP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Flushed each time, so that a crash loses nothing and messages of sanitizers stay in order.
#define TAP_VPRINT(format, arguments) (vprintf(format, arguments), fflush(stdout))
#define TAP_EXIT() exit(255)
#include "../tap.h"

static unsigned tap_planned;

TAP_UNUSED static void plan(int count)
{
    // What tests print themselves is to stay in order as well.
    setvbuf(stdout, NULL, _IONBF, 0);
    tap_planned = (unsigned)count;
    if (count > 0)
        printf("1..%d\n", count);
}

TAP_PRINTF(5, 6)
static bool tap_is_text(const char *got, const char *want, const char *file, int line,
                        const char *format, ...)
{
    const bool pass = got && want ? strcmp(got, want) == 0 : got == want;
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(pass, file, line, format, arguments);
    va_end(arguments);
    if (!pass)
        diag("got \"%s\", want \"%s\"", got ? got : "(null)", want ? want : "(null)");
    return pass;
}

#define is_text(got, want, ...) tap_is_text((got), (want), __FILE__, __LINE__, __VA_ARGS__)

// Prints the plan if plan() was not called. Returns the exit status for main.
TAP_UNUSED static int done_testing(void)
{
    const bool kept = tap_planned == 0 || tap_planned == tap_count;
    if (tap_planned == 0)
        printf("1..%u\n", tap_count);
    else if (!kept)
        diag("planned %u tests, ran %u", tap_planned, tap_count);
    if (tap_failed != 0)
        diag("%u of %u failed", tap_failed, tap_count);
    fflush(stdout);
    return tap_failed == 0 && tap_count > 0 && kept ? 0 : 1;
}

#endif
