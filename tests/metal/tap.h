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

#define TAP_UNUSED __attribute__((unused))
#define TAP_PRINTF(text, first) __attribute__((unused, format(printf, text, first)))

static unsigned tap_count, tap_failed;

TAP_PRINTF(1, 2) static void diag(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    kputs("# ");
    kvprintf(format, arguments);
    kputs("\n");
    va_end(arguments);
}

TAP_PRINTF(4, 0)
static bool tap_result(bool pass, const char *file, int line, const char *format,
                       va_list arguments)
{
    tap_count++;
    tap_failed += !pass;
    kprintf("%s %u - ", pass ? "ok" : "not ok", tap_count);
    kvprintf(format, arguments);
    kputs("\n");
    if (!pass)
        diag("failed at %s:%d", file, line);
    return pass;
}

TAP_PRINTF(4, 5)
static bool tap_ok(bool pass, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(pass, file, line, format, arguments);
    va_end(arguments);
    return pass;
}

TAP_PRINTF(5, 6)
static bool tap_is(u64 got, u64 want, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(got == want, file, line, format, arguments);
    va_end(arguments);
    if (got != want)
        diag("got 0x%lx, want 0x%lx", got, want);
    return got == want;
}

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

// Each returns whether the test passed.
#define ok(condition, ...) tap_ok(!!(condition), __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(got, want, ...) tap_is((u64)(got), (u64)(want), __FILE__, __LINE__, __VA_ARGS__)
#define has_text(got, part, ...) tap_has_text((got), (part), __FILE__, __LINE__, __VA_ARGS__)

TAP_PRINTF(1, 2) static void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    kprintf("ok %u # skip ", ++tap_count);
    kvprintf(format, arguments);
    kputs("\n");
    va_end(arguments);
}

// Stops the whole test, which `prove` then reports as failed.
__attribute__((noreturn)) TAP_PRINTF(1, 2) static void bail_out(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    kputs("Bail out! ");
    kvprintf(format, arguments);
    kputs("\n");
    va_end(arguments);
    kernel_exit(1);
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
