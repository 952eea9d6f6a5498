// Test Anything Protocol for the bare-metal tests: what `prove` reads.
//
//     int kernel_main(void)
//     {
//         ok(1 + 1 == 2, "sum of %d and %d", 1, 1); // prints "ok 1 - sum of 1 and 1"
//         is_u64(got, want, "value of CR0");        // as ok, and shows both on failure
//         skip("no AVX here");                      // "ok 2 # skip no AVX here"
//         return tap_done();                        // prints the plan; 0 only if all passed
//     }
//
// The plan comes last: a kernel that dies on the way prints none, and the test fails. Only the
// first processor may use these; work for others leaves its results where that one finds them.
#ifndef XVCPU_METAL_TAP_H
#define XVCPU_METAL_TAP_H

#include "../../examples/kernel/kernel.h"

#define TAP_VPRINT(format, arguments) kvprintf(format, arguments)
#define TAP_EXIT() kernel_exit(1)
#include "../tap.h"

TAP_PRINTF(5, 6)
static bool tap_has_text(const char *got, const char *part, const char *file, int line,
                         const char *format, ...)
{
    const bool pass = got && strstr(got, part);
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(pass, file, line, format, arguments);
    va_end(arguments);
    if (!pass)
        diag("got \"%s\", want \"%s\" in it", got ? got : "(null)", part);
    return pass;
}

#define has_text(got, part, ...) tap_has_text((got), (part), __FILE__, __LINE__, __VA_ARGS__)
// The name the bare-metal tests know it by.
#define is_u64 is_hex

TAP_PRINTF(1, 2) static void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    kprintf("ok %u # skip ", ++tap_count);
    kvprintf(format, arguments);
    kputs("\n");
    va_end(arguments);
}

// Returns what kernel_main returns.
TAP_UNUSED static int tap_done(void)
{
    kprintf("1..%u\n", tap_count);
    if (tap_failed != 0)
        diag("%u of %u failed", tap_failed, tap_count);
    return tap_failed == 0 && tap_count != 0 ? 0 : 1;
}

#endif
