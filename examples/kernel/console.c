// console.c - text out of port E9h, which the emulator copies to its standard output at once.
#include "internal.h"

#define PORT_CONSOLE 0xe9
#define PORT_COM1 0x3f8
#define COM_LINE_CONTROL 3
#define COM_DIVISOR_ACCESS 0x80
#define COM_8N1 0x03
#define COM_LINE_STATUS 5
#define COM_CAN_SEND 0x20
#define COM_ALL_SENT 0x40

// Before each line, so that run.sh can tell ours from the emulator's own.
#define LINE_MARK '\x01'
// After LINE_MARK on the one line with the exit status: programs cannot print it by accident.
#define EXIT_MARK '\x02'

#define PORT_BOCHS_DEBUGGER 0x8a00
#define BOCHS_DEBUGGER_UNLOCK 0x8a00
#define BOCHS_DEBUGGER_RETURN 0x8ae0
#define PORT_BOCHS_SHUTDOWN 0x8900
#define PORT_QEMU_EXIT 0xf4

static struct kernel_lock console_lock;
static bool console_in_line;
static bool console_to_serial;
static u32 console_owner; // number of the processor holding the lock, plus 1

static void raw_putc(char c)
{
    out8(PORT_CONSOLE, (u8)c);
    if (console_to_serial && c != LINE_MARK && c != EXIT_MARK) {
        while ((in8(PORT_COM1 + COM_LINE_STATUS) & COM_CAN_SEND) == 0) {
            cpu_pause();
        }
        out8(PORT_COM1, (u8)c);
    }
}

static void console_putc(char c)
{
    if (c == '\n') {
        if (!console_in_line) {
            raw_putc(LINE_MARK);
        }
        raw_putc(c);
        console_in_line = false;
        return;
    }
    if (!console_in_line) {
        raw_putc(LINE_MARK);
        console_in_line = true;
    }
    raw_putc(c == LINE_MARK || c == EXIT_MARK ? '?' : c);
}

struct console_hold {
    u64 rflags;
    bool nested;
};

// An NMI or exception handler may print while its own processor is printing: it just goes on.
static struct console_hold console_take(void)
{
    struct console_hold hold;
    u32 me = cpu_id() + 1;
    hold.rflags = read_rflags();
    hold.nested = __atomic_load_n(&console_owner, __ATOMIC_RELAXED) == me;
    if (!hold.nested) {
        cli();
        lock_take(&console_lock);
        __atomic_store_n(&console_owner, me, __ATOMIC_RELAXED);
    }
    return hold;
}

static void console_release(struct console_hold hold)
{
    if (!hold.nested) {
        __atomic_store_n(&console_owner, 0, __ATOMIC_RELAXED);
        lock_release(&console_lock);
        if ((hold.rflags & 0x200) != 0) {
            sti();
        }
    }
}

void kputc(char c)
{
    struct console_hold hold = console_take();
    console_putc(c);
    console_release(hold);
}

void kputs(const char *text)
{
    struct console_hold hold = console_take();
    while (*text != 0) {
        console_putc(*text++);
    }
    console_release(hold);
}

static void put_padding(char c, int count)
{
    while (count-- > 0) {
        console_putc(c);
    }
}

static void put_text(const char *text, int size, int width, bool left)
{
    if (!left) {
        put_padding(' ', width - size);
    }
    for (int i = 0; i < size; i++) {
        console_putc(text[i]);
    }
    if (left) {
        put_padding(' ', width - size);
    }
}

struct number_format {
    unsigned base;
    bool negative, upper, zeroes, left;
    int width;
};

static void put_number(u64 value, const struct number_format *format)
{
    const char *digits = format->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24];
    int at = (int)sizeof(text);
    do {
        text[--at] = digits[value % format->base];
        value /= format->base;
    } while (value != 0);
    if (format->zeroes && !format->left) {
        int wanted = format->width - (format->negative ? 1 : 0);
        if (format->negative) {
            console_putc('-');
        }
        put_padding('0', wanted - ((int)sizeof(text) - at));
        put_text(text + at, (int)sizeof(text) - at, 0, false);
        return;
    }
    if (format->negative) {
        text[--at] = '-';
    }
    put_text(text + at, (int)sizeof(text) - at, format->width, format->left);
}

static int parse_count(const char **at, va_list *args)
{
    int value = 0;
    if (**at == '*') {
        (*at)++;
        return va_arg(*args, int);
    }
    while (**at >= '0' && **at <= '9') {
        value = value * 10 + (*(*at)++ - '0');
    }
    return value;
}

static u64 signed_argument(unsigned longs, va_list *args, bool *negative)
{
    long value = longs == 0 ? va_arg(*args, int) : va_arg(*args, long);
    *negative = value < 0;
    return value < 0 ? 0 - (u64)value : (u64)value;
}

static void format_one(const char **at, va_list *args)
{
    struct number_format number = {.base = 10};
    int precision = -1;
    unsigned longs = 0;
    const char *text;
    char c;
    for (;; (*at)++) {
        if (**at == '0') {
            number.zeroes = true;
        } else if (**at == '-') {
            number.left = true;
        } else {
            break;
        }
    }
    number.width = parse_count(at, args);
    if (**at == '.') {
        (*at)++;
        precision = parse_count(at, args);
    }
    while (**at == 'l' || **at == 'z') {
        longs++;
        (*at)++;
    }
    switch (*(*at)++) {
    case 'd':
    case 'i': {
        u64 value = signed_argument(longs, args, &number.negative);
        put_number(value, &number);
        break;
    }
    case 'X':
        number.upper = true;
        // fall through
    case 'x':
        number.base = 16;
        // fall through
    case 'u':
        put_number(longs == 0 ? va_arg(*args, unsigned) : va_arg(*args, unsigned long), &number);
        break;
    case 'p':
        console_putc('0');
        console_putc('x');
        number.base = 16;
        put_number((u64)(uintptr_t)va_arg(*args, void *), &number);
        break;
    case 'c':
        c = (char)va_arg(*args, int);
        put_text(&c, 1, number.width, number.left);
        break;
    case 's': {
        int size = 0;
        text = va_arg(*args, const char *);
        if (text == NULL) {
            text = "(null)";
        }
        while ((precision < 0 || size < precision) && text[size] != 0) {
            size++;
        }
        put_text(text, size, number.width, number.left);
        break;
    }
    case '%':
        console_putc('%');
        break;
    default:
        put_text("%?", 2, 0, false);
        (*at)--; // it may be the end of the format
        if (**at != 0) {
            (*at)++;
        }
        break;
    }
}

void kvprintf(const char *format, va_list args)
{
    struct console_hold hold = console_take();
    va_list copy; // an array type: only a copy of our own has an address to pass on
    va_copy(copy, args);
    while (*format != 0) {
        if (*format != '%') {
            console_putc(*format++);
            continue;
        }
        format++;
        format_one(&format, &copy);
    }
    va_end(copy);
    console_release(hold);
}

void kprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    kvprintf(format, args);
    va_end(args);
}

void console_serial(bool on)
{
    if (on) {
        out8(PORT_COM1 + COM_LINE_CONTROL, COM_DIVISOR_ACCESS);
        out8(PORT_COM1, 1); // 115200 baud
        out8(PORT_COM1 + 1, 0);
        out8(PORT_COM1 + COM_LINE_CONTROL, COM_8N1);
        out8(PORT_COM1 + 1, 0); // no interrupts
    }
    console_to_serial = on;
}

// -- End

void kernel_exit(int status)
{
    static const char shutdown[] = "Shutdown";
    if (status < 0 || status > KERNEL_STATUS_PANIC) {
        status = KERNEL_STATUS_PANIC;
    }
    cli();
    (void)console_take(); // and never give it back: this is the last line
    if (console_in_line) {
        console_putc('\n');
    }
    raw_putc(LINE_MARK);
    raw_putc(EXIT_MARK);
    console_in_line = true;
    kprintf("KERNEL-EXIT %d\n", status);
    while (console_to_serial && (in8(PORT_COM1 + COM_LINE_STATUS) & COM_ALL_SENT) == 0) {
        cpu_pause();
    }

    // Three emulators' ends; a port nobody listens to does nothing.
    out16(PORT_BOCHS_DEBUGGER, BOCHS_DEBUGGER_UNLOCK);
    out16(PORT_BOCHS_DEBUGGER, BOCHS_DEBUGGER_RETURN);
    for (size_t i = 0; i < sizeof(shutdown) - 1; i++) {
        out8(PORT_BOCHS_SHUTDOWN, (u8)shutdown[i]);
    }
    out8(PORT_QEMU_EXIT, (u8)status);
    for (;;) {
        cli();
        hlt();
    }
}

void kernel_panic(const char *format, ...)
{
    va_list args;
    struct console_hold hold = console_take();
    if (console_in_line) {
        console_putc('\n');
    }
    kputs("KERNEL PANIC: ");
    va_start(args, format);
    kvprintf(format, args);
    va_end(args);
    kputc('\n');
    console_release(hold);
    kernel_exit(KERNEL_STATUS_PANIC);
}
