// Test Anything Protocol for the hosted tests: what `prove` reads.
//
//     int main(void)
//     {
//         plan(2);                                  // 0 or no call: done_testing() prints the plan
//         ok(1 + 1 == 2, "sum of %d and %d", 1, 1); // prints "ok 1 - sum of 1 and 1"
//         is_hex(got, want, "value of CR0");        // as ok, and shows both on failure
//         return done_testing();                    // 0 only if all passed and the plan was kept
//     }

#ifndef XVCPU_TESTS_TAP_H
#define XVCPU_TESTS_TAP_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed, tap_planned;

#if defined(__GNUC__)
#define TAP_PRINTF(text, first) __attribute__((unused, format(printf, text, first)))
#define TAP_UNUSED __attribute__((unused))
#define TAP_NORETURN __attribute__((noreturn))
#else
#define TAP_PRINTF(text, first)
#define TAP_UNUSED
#define TAP_NORETURN
#endif

TAP_UNUSED static void plan(int count)
{
    // Unbuffered, so that a crash loses no line and messages of sanitizers stay in order.
    setvbuf(stdout, NULL, _IONBF, 0);
    tap_planned = count;
    if (count > 0)
        printf("1..%d\n", count);
}

TAP_PRINTF(1, 2) static void diag(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("# ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

TAP_PRINTF(4, 0)
static int tap_result(int pass, const char *file, int line, const char *format, va_list arguments)
{
    tap_count++;
    tap_failed += !pass;
    printf("%s %d - ", pass ? "ok" : "not ok", tap_count);
    vprintf(format, arguments);
    printf("\n");
    if (!pass)
        printf("# failed at %s:%d\n", file, line);
    fflush(stdout);
    return pass;
}

TAP_PRINTF(4, 5)
static int tap_ok(int pass, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(pass, file, line, format, arguments);
    va_end(arguments);
    return pass;
}

TAP_PRINTF(5, 6)
static int tap_is(uint64_t got, uint64_t want, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(got == want, file, line, format, arguments);
    va_end(arguments);
    if (got != want)
        diag("got %#llx, want %#llx", (unsigned long long)got, (unsigned long long)want);
    return got == want;
}

TAP_PRINTF(3, 4)
static int tap_is_text(const char *got, const char *want, const char *format, ...)
{
    const int pass = got && want ? strcmp(got, want) == 0 : got == want;
    va_list arguments;
    va_start(arguments, format);
    (void)tap_result(pass, "?", 0, format, arguments);
    va_end(arguments);
    if (!pass)
        diag("got \"%s\", want \"%s\"", got ? got : "(null)", want ? want : "(null)");
    return pass;
}

// Each returns whether the test passed.
#define ok(condition, ...) tap_ok(!!(condition), __FILE__, __LINE__, __VA_ARGS__)
#define is_hex(got, want, ...)                                                                     \
    tap_is((uint64_t)(got), (uint64_t)(want), __FILE__, __LINE__, __VA_ARGS__)
#define is_text(got, want, ...) tap_is_text((got), (want), __VA_ARGS__)

// Stops the whole test, which `prove` then reports as failed.
TAP_NORETURN TAP_PRINTF(1, 2) static void bail_out(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("Bail out! ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
    exit(255);
}

// Prints the plan if plan() was not called. Returns the exit status for main.
TAP_UNUSED static int done_testing(void)
{
    if (tap_planned == 0)
        printf("1..%d\n", tap_count);
    else if (tap_planned != tap_count)
        diag("planned %d tests, ran %d", tap_planned, tap_count);
    if (tap_failed)
        diag("%d of %d failed", tap_failed, tap_count);
    fflush(stdout);
    return tap_failed == 0 && tap_count > 0 && (tap_planned == 0 || tap_planned == tap_count) ? 0
                                                                                               : 1;
}

#endif
