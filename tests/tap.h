// Test Anything Protocol: what the hosted and the bare-metal tests have in common. Tests include
// hosted/tap.h or metal/tap.h, which say where the output goes before they include this:
//
//     TAP_VPRINT(format, arguments)   prints as vprintf does
//     TAP_EXIT()                      ends the program as failed

#ifndef XVCPU_TESTS_TAP_H
#define XVCPU_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define TAP_UNUSED __attribute__((unused))
#define TAP_PRINTF(text, first) __attribute__((unused, format(printf, text, first)))

static unsigned tap_count, tap_failed;

TAP_PRINTF(1, 2) static void tap_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    TAP_VPRINT(format, arguments);
    va_end(arguments);
}

TAP_PRINTF(1, 2) static void diag(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tap_print("# ");
    TAP_VPRINT(format, arguments);
    tap_print("\n");
    va_end(arguments);
}

TAP_PRINTF(4, 0)
static bool tap_result(bool pass, const char *file, int line, const char *format, va_list arguments)
{
    tap_count++;
    tap_failed += !pass;
    tap_print("%s %u - ", pass ? "ok" : "not ok", tap_count);
    TAP_VPRINT(format, arguments);
    tap_print("\n");
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
static bool tap_is(uint64_t got, uint64_t want, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(got == want, file, line, format, arguments);
    va_end(arguments);
    if (got != want)
        diag("got 0x%lx, want 0x%lx", (unsigned long)got, (unsigned long)want);
    return got == want;
}

// Each returns whether the test passed.
#define ok(condition, ...) tap_ok(!!(condition), __FILE__, __LINE__, __VA_ARGS__)
#define is_hex(got, want, ...)                                                                     \
    tap_is((uint64_t)(got), (uint64_t)(want), __FILE__, __LINE__, __VA_ARGS__)

// Stops the whole test, which `prove` then reports as failed.
__attribute__((noreturn)) TAP_PRINTF(1, 2) static void bail_out(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tap_print("Bail out! ");
    TAP_VPRINT(format, arguments);
    tap_print("\n");
    va_end(arguments);
    TAP_EXIT();
}

#endif
