// Compares the tables of xvcpu.h with the fact tables in tests/facts, in both directions: every row
// of a fact table is in the header with the same number and name, and every row of the header is in
// a fact table. Layouts are compared macro by macro; where the C library's or the compiler's own
// headers know a constant as well, that is a second opinion.
//
// usage: facts [folder of the fact tables [xvcpu.h]]     output: TAP

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpuid.h>
#if defined(__has_include)
#if __has_include(<asm/processor-flags.h>)
#include <asm/processor-flags.h>
#endif
#if __has_include(<asm/vmx.h>)
#include <asm/vmx.h>
#endif
#endif

// Only names and tables are used: no hook is ever called.
#define XVCPU_VIRT_TO_PHYS(context, pointer) \
    ((void)(context), (xvcpu_u64)(xvcpu_uptr)(pointer))
#define XVCPU_PHYS_TO_VIRT(context, physical) \
    ((void)(context), (void *)(xvcpu_uptr)(physical))
#define XVCPU_IMPLEMENTATION
#include "../../xvcpu.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// -- TAP

static unsigned tap_number;
static unsigned tap_failures;
static unsigned complaints; // of the running test

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list arguments;

    printf("# ");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    complaints++;
}

// A test that compared nothing has not passed.
static void finish(const char *name, size_t compared)
{
    bool ok = complaints == 0 && compared != 0;

    printf("%sok %u - %s: %zu compared\n", ok ? "" : "not ", ++tap_number, name, compared);
    tap_failures += ok ? 0 : 1;
    complaints = 0;
}

static void expect_number(const char *what, const char *row, uint64_t header, uint64_t fact)
{
    if (header != fact) {
        complain("%s: %s: header 0x%llx, fact 0x%llx", row, what, (unsigned long long)header,
                 (unsigned long long)fact);
    }
}

static void expect_text(const char *what, const char *row, const char *header, const char *fact)
{
    if (strcmp(header, fact) != 0) {
        complain("%s: %s: header \"%s\", fact \"%s\"", row, what, header, fact);
    }
}

// -- Files

enum { MAX_COLUMNS = 16, MAX_ROWS = 1024 };

typedef struct table {
    char *text;
    size_t columns;
    size_t rows; // without the heading
    char *cell[MAX_ROWS][MAX_COLUMNS];
} table;

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t used = 0;

    if (file == NULL) {
        printf("Bail out! cannot open %s\n", path);
        exit(1);
    }
    for (;;) {
        size_t got;

        text = (char *)realloc(text, used + 65536 + 1);
        if (text == NULL) {
            printf("Bail out! no memory\n");
            exit(1);
        }
        got = fread(text + used, 1, 65536, file);
        used += got;
        if (got == 0) {
            break;
        }
    }
    text[used] = '\0';
    fclose(file);
    return text;
}

// Comma-separated values, cells with commas in double quotes; cut up in place.
static table *read_table(const char *folder, const char *name)
{
    char path[4096];
    table *t = (table *)calloc(1, sizeof(*t));
    char *in;
    size_t row = 0;
    size_t column = 0;

    if (t == NULL) {
        printf("Bail out! no memory\n");
        exit(1);
    }
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    t->text = read_file(path);
    in = t->text;
    while (*in != '\0') {
        char *out = in;
        bool quoted = *in == '"';
        char end;

        if (row >= MAX_ROWS || column >= MAX_COLUMNS) {
            printf("Bail out! %s is too large\n", path);
            exit(1);
        }
        t->cell[row][column++] = out;
        if (quoted) {
            in++;
        }
        while (*in != '\0') {
            if (quoted && in[0] == '"' && in[1] == '"') {
                in++;
            } else if (quoted && *in == '"') {
                in++;
                break;
            } else if (!quoted && (*in == ',' || *in == '\n')) {
                break;
            }
            *out++ = *in++;
        }
        end = *in;
        if (end != '\0') {
            in++;
        }
        *out = '\0';
        if (end != ',') {
            if (row == 0) {
                t->columns = column;
            } else if (column != t->columns) {
                printf("Bail out! %s, row %zu has %zu cells\n", path, row, column);
                exit(1);
            }
            row++;
            column = 0;
        }
    }
    t->rows = row == 0 ? 0 : row - 1;
    return t;
}

static const char *cell(const table *t, size_t row, const char *column)
{
    size_t i;

    for (i = 0; i < t->columns; i++) {
        if (strcmp(t->cell[0][i], column) == 0) {
            return t->cell[row + 1][i];
        }
    }
    printf("Bail out! no column %s\n", column);
    exit(1);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);

    if (end == text || *end != '\0') {
        complain("\"%s\" is not a number", text);
    }
    return value;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void free_table(table *t)
{
    free(t->text);
    free(t);
}

// -- VMCS fields

typedef struct field_row {
    uint32_t encoding;
    uint32_t enumerator;
    const char *name;
    const char *text;
    uint32_t since;
} field_row;

static const field_row field_rows[] = {
#define ROW(encoding, name, text, since) {(encoding), XVCPU_VMCS_##name, #name, text, (since)},
    XVCPU_VMCS_FIELDS(ROW)
#undef ROW
};

typedef struct high_row {
    uint32_t encoding;
    uint32_t enumerator;
    const char *name;
} high_row;

static const high_row high_rows[] = {
#define ROW(encoding, name, text, since) {(encoding), XVCPU_VMCS_##name##_HIGH, #name "_HIGH"},
    XVCPU_VMCS_FIELDS_64(ROW)
#undef ROW
};

typedef struct word_row {
    const char *csv;
    uint32_t word;
    uint32_t source;
} word_row;

static const word_row word_rows[] = {
    {"pin", XVCPU_WORD_PIN, XVCPU_SINCE_SOURCE_PIN},
    {"proc1", XVCPU_WORD_PROC1, XVCPU_SINCE_SOURCE_PROC1},
    {"proc2", XVCPU_WORD_PROC2, XVCPU_SINCE_SOURCE_PROC2},
    {"proc3", XVCPU_WORD_PROC3, XVCPU_SINCE_SOURCE_PROC3},
    {"exit", XVCPU_WORD_EXIT, XVCPU_SINCE_SOURCE_EXIT},
    {"exit2", XVCPU_WORD_EXIT2, XVCPU_SINCE_SOURCE_EXIT2},
    {"entry", XVCPU_WORD_ENTRY, XVCPU_SINCE_SOURCE_ENTRY},
};

static uint32_t pack(uint32_t source, unsigned long bit)
{
    return source << 8 | (uint32_t)bit;
}

// What the column "since" says, in the header's encoding: found word by word in the text.
static uint32_t since_of(const char *text)
{
    uint32_t found[2] = {0, 0};
    size_t count = 0;
    const char *at;

    if (strcmp(text, "any VMX processor") == 0) {
        return pack(XVCPU_SINCE_SOURCE_ALWAYS, 0);
    }
    if (strcmp(text, "TDX-module header only") == 0) {
        return pack(XVCPU_SINCE_SOURCE_NEVER, 0);
    }
    if (starts(text, "IA32_VMX_BASIC[")) {
        return pack(XVCPU_SINCE_SOURCE_BASIC, strtoul(text + strlen("IA32_VMX_BASIC["), NULL, 10));
    }
    if (starts(text, "IA32_VMX_VMFUNC[")) {
        return pack(XVCPU_SINCE_SOURCE_VMFUNC,
                    strtoul(text + strlen("IA32_VMX_VMFUNC["), NULL, 10));
    }
    if (starts(text, "IA32_VMX_MISC[24:16] >= ")) {
        return pack(XVCPU_SINCE_SOURCE_CR3_TARGETS, strtoul(strstr(text, ">=") + 2, NULL, 10));
    }
    if (starts(text, "FRED transitions")) {
        return pack(XVCPU_SINCE_SOURCE_FRED, 0);
    }
    if (starts(text, "SEAM supported")) {
        text = "proc3[5]"; // the one control that only SEAM brings
    }
    for (at = strchr(text, '['); at != NULL; at = strchr(at + 1, '[')) {
        size_t i;

        for (i = 0; i < COUNT(word_rows); i++) {
            size_t length = strlen(word_rows[i].csv);

            if ((size_t)(at - text) >= length &&
                strncmp(at - length, word_rows[i].csv, length) == 0 &&
                ((size_t)(at - text) == length ||
                 strchr(" (", *(at - length - 1)) != NULL)) {
                if (count < 2) {
                    found[count] = pack(word_rows[i].source, strtoul(at + 1, NULL, 10));
                }
                count++;
                break;
            }
        }
    }
    if (count < 1 || count > 2) {
        complain("since \"%s\" is not understood", text);
    }
    return found[0] | found[1] << 16;
}

static void test_fields(const char *folder)
{
    table *t = read_table(folder, "vmcs_fields.csv");
    size_t compared = 0;
    size_t highs = 0;
    size_t i;
    size_t k;

    for (i = 0; i < t->rows; i++) {
        const char *name = cell(t, i, "c_name");
        const char *width = cell(t, i, "width");
        const char *type = cell(t, i, "type");
        uint32_t encoding = (uint32_t)number(cell(t, i, "encoding"));
        const field_row *row = NULL;

        for (k = 0; k < COUNT(field_rows); k++) {
            if (field_rows[k].encoding == encoding) {
                row = &field_rows[k];
            }
        }
        if (row == NULL) {
            complain("%s (0x%04x) is missing in the header", name, encoding);
            continue;
        }
        compared++;
        expect_text("name", name, row->name, name);
        expect_text("text", name, row->text, cell(t, i, "name"));
        expect_number("enumerator", name, row->enumerator, encoding);
        expect_number("width", name, XVCPU_VMCS_WIDTH(row->enumerator),
                      strcmp(width, "16") == 0   ? XVCPU_VMCS_WIDTH_16
                      : strcmp(width, "64") == 0 ? XVCPU_VMCS_WIDTH_64
                      : strcmp(width, "32") == 0 ? XVCPU_VMCS_WIDTH_32
                                                 : XVCPU_VMCS_WIDTH_NATURAL);
        expect_number("type", name, XVCPU_VMCS_TYPE(row->enumerator),
                      strcmp(type, "control") == 0     ? XVCPU_VMCS_TYPE_CONTROL
                      : strcmp(type, "read-only") == 0 ? XVCPU_VMCS_TYPE_READ_ONLY
                      : strcmp(type, "guest") == 0     ? XVCPU_VMCS_TYPE_GUEST
                                                       : XVCPU_VMCS_TYPE_HOST);
        expect_number("since", name, row->since & ~XVCPU_SINCE_DOUBTFUL,
                      since_of(cell(t, i, "since")));
        expect_number("doubtful", name, (row->since & XVCPU_SINCE_DOUBTFUL) != 0,
                      strcmp(cell(t, i, "in_sdm_appb_2026_02"), "n") == 0);
        expect_text("xvcpu_vmcs_field_name", name, xvcpu_vmcs_field_name(encoding), name);
        if (strcmp(cell(t, i, "high_encoding"), "-") != 0) {
            char high_name[80];
            uint32_t high = (uint32_t)number(cell(t, i, "high_encoding"));
            const high_row *found = NULL;

            snprintf(high_name, sizeof(high_name), "%s_HIGH", name);
            for (k = 0; k < COUNT(high_rows); k++) {
                if (high_rows[k].encoding == encoding) {
                    found = &high_rows[k];
                }
            }
            if (found == NULL) {
                complain("%s is missing in the header", high_name);
                continue;
            }
            highs++;
            expect_number("enumerator", high_name, found->enumerator, high);
            expect_text("name", high_name, found->name, high_name);
            expect_text("xvcpu_vmcs_field_name", high_name, xvcpu_vmcs_field_name(high), high_name);
        } else {
            expect_text("upper half", name, xvcpu_vmcs_field_name(encoding + 1),
                        "unknown VMCS field");
        }
    }
    for (k = 0; k < COUNT(field_rows); k++) {
        for (i = 0; i < t->rows; i++) {
            if (strcmp(cell(t, i, "c_name"), field_rows[k].name) == 0) {
                break;
            }
        }
        if (i == t->rows) {
            complain("%s of the header is in no fact", field_rows[k].name);
        }
    }
    expect_number("fields", "header", COUNT(field_rows), t->rows);
    expect_number("64-bit fields", "header", COUNT(high_rows), highs);
    finish("VMCS fields", compared);

    // The table the library itself decides by.
    expect_number("rows", "xvcpui_vmcs_fields", XVCPUI_VMCS_FIELD_COUNT, t->rows);
    compared = 0;
    for (i = 0; i < t->rows; i++) {
        const char *name = cell(t, i, "c_name");
        uint32_t found = xvcpui_vmcs_field_find((uint32_t)number(cell(t, i, "encoding")));

        if (found == XVCPUI_VMCS_FIELD_COUNT) {
            complain("%s is not found", name);
            continue;
        }
        expect_number("since", name, xvcpui_vmcs_fields[found].since & ~XVCPU_SINCE_DOUBTFUL,
                      since_of(cell(t, i, "since")));
        compared++;
    }
    // Named by a single source, as reserved: never to be touched.
    expect_number("since", "0x4830", xvcpui_vmcs_fields[xvcpui_vmcs_field_find(0x4830)].since,
                  XVCPU_SINCE_NEVER | XVCPU_SINCE_DOUBTFUL);
    finish("VMCS fields: when they exist", compared);
    free_table(t);
}

// -- Controls

typedef struct control_row {
    uint32_t word;
    uint32_t bit;
    uint32_t enumerator;
    uint64_t mask;
    const char *name;
    const char *text;
} control_row;

static const control_row control_rows[] = {
#define ROW(word, name, bit, text)                                                                 \
    {XVCPU_WORD_##word, (bit), XVCPU_##word##_##name##_BIT, XVCPU_##word##_##name,                 \
     #word "_" #name, text},
    XVCPU_CONTROLS(ROW)
#undef ROW
};

typedef struct word_info {
    uint32_t word;
    const char *text;
    uint32_t field;
    uint32_t msr;
    uint32_t true_msr;
    const char *csv_field;
    const char *csv_msr;
    const char *csv_true_msr;
} word_info;

static const word_info word_infos[] = {
#define ROW(name, text, field, msr, true_msr)                                                      \
    {XVCPU_WORD_##name, text, XVCPU_VMCS_##field, msr, true_msr, #field, #msr, #true_msr},
    XVCPU_CONTROL_WORDS(ROW)
#undef ROW
};

static void test_controls(const char *folder)
{
    table *t = read_table(folder, "control_bits.csv");
    uint32_t bits[64] = {0};
    size_t compared = 0;
    size_t i;
    size_t k;

    for (i = 0; i < t->rows; i++) {
        const char *name = cell(t, i, "c_name");
        const control_row *row = NULL;
        uint32_t word = XVCPU_WORD_COUNT;
        uint32_t bit = (uint32_t)number(cell(t, i, "bit"));

        for (k = 0; k < COUNT(word_rows); k++) {
            if (strcmp(word_rows[k].csv, cell(t, i, "control_word")) == 0) {
                word = word_rows[k].word;
            }
        }
        for (k = 0; k < COUNT(control_rows); k++) {
            if (strcmp(control_rows[k].name, name) == 0) {
                row = &control_rows[k];
            }
        }
        if (row == NULL) {
            complain("%s is missing in the header", name);
            continue;
        }
        compared++;
        expect_number("word", name, row->word, word);
        expect_number("bit", name, row->bit, bit);
        expect_number("enumerator", name, row->enumerator, bit);
        expect_number("mask", name, row->mask, (uint64_t)1 << bit);
        expect_text("text", name, row->text, cell(t, i, "sdm_name"));
        expect_text("xvcpu_control_name", name,
                    xvcpu_control_name((xvcpu_control_word)word, bit), name);
    }
    expect_number("controls", "header", COUNT(control_rows), t->rows);
    finish("control bits", compared);

    // A bit without a row has the fixed name, and no name is out of the words' range.
    compared = 0;
    for (i = 0; i < COUNT(control_rows); i++) {
        bits[control_rows[i].bit] |= 1U << control_rows[i].word;
    }
    for (i = 0; i < XVCPU_WORD_COUNT; i++) {
        for (k = 0; k < 64; k++) {
            const char *name = xvcpu_control_name((xvcpu_control_word)i, (uint32_t)k);
            bool reserved = strcmp(name, "reserved control bit") == 0;

            if (reserved != ((bits[k] >> i & 1) == 0)) {
                complain("word %zu bit %zu: %s", i, k, name);
            }
            compared++;
        }
    }
    finish("control bits: reserved ones", compared);
    free_table(t);
}

static void test_control_words(const char *folder)
{
    table *fields = read_table(folder, "vmcs_fields.csv");
    table *msrs = read_table(folder, "vmx_msrs.csv");
    size_t compared = 0;
    size_t i;
    size_t k;

    for (i = 0; i < COUNT(word_infos); i++) {
        const word_info *info = &word_infos[i];
        const char *row = info->csv_field;
        char capital[120];
        bool found = false;

        expect_number("position", row, info->word, i);
        expect_text("xvcpu_control_word_name", row,
                    xvcpu_control_word_name((xvcpu_control_word)info->word), info->text);
        for (k = 0; k < fields->rows; k++) {
            if (strcmp(cell(fields, k, "c_name"), row) == 0) {
                expect_number("field", row, info->field, number(cell(fields, k, "encoding")));
                // The fact begins with a capital letter, the header's text goes into a sentence.
                snprintf(capital, sizeof(capital), "%s", cell(fields, k, "name"));
                if (capital[1] >= 'a' && capital[1] <= 'z' && strcmp(row, "CTRL_ENTRY") != 0) {
                    capital[0] = (char)(capital[0] | 0x20);
                }
                expect_text("text", row, info->text, capital);
                found = true;
            }
        }
        if (!found) {
            complain("%s is no field", row);
        }
        found = false;
        for (k = 0; k < msrs->rows; k++) {
            uint64_t index = number(cell(msrs, k, "index"));
            const char *name = cell(msrs, k, "name");

            if (strcmp(info->csv_msr + strlen("XVCPU_MSR_"), name) == 0) {
                expect_number("MSR", row, info->msr, index);
                found = true;
            }
            if (strcmp(info->csv_true_msr, "0") == 0) {
                expect_number("TRUE MSR", row, info->true_msr, 0);
            } else if (strstr(info->csv_true_msr, "_TRUE_") == NULL) {
                complain("%s: %s is no TRUE MSR", row, info->csv_true_msr);
            }
            if (strcmp(info->csv_true_msr, "0") != 0 &&
                strcmp(info->csv_true_msr + strlen("XVCPU_MSR_"), name) == 0) {
                expect_number("TRUE MSR", row, info->true_msr, index);
            }
        }
        if (!found) {
            complain("%s: %s is no MSR", row, info->csv_msr);
        }
        compared++;
    }
    expect_number("words", "header", COUNT(word_infos), XVCPU_WORD_COUNT);
    expect_number("words", "facts", COUNT(word_infos), COUNT(word_rows));
    // Default-1 classes: SDM, "Algorithms for Determining VMX Capabilities".
    expect_number("default-1", "pin", XVCPU_PIN_DEFAULT1, 0x00000016);
    expect_number("default-1", "proc1", XVCPU_PROC1_DEFAULT1, 0x0401E172);
    expect_number("default-1", "exit", XVCPU_EXIT_DEFAULT1, 0x00036DFF);
    expect_number("default-1", "entry", XVCPU_ENTRY_DEFAULT1, 0x000011FF);
    finish("control words", compared);
    free_table(fields);
    free_table(msrs);
}

// -- Exit reasons

typedef struct reason_row {
    uint32_t number;
    uint32_t enumerator;
    const char *name;
    const char *text;
    uint32_t flags;
} reason_row;

static const reason_row reason_rows[] = {
#define ROW(number, name, text, flags)                                                             \
    {(number), XVCPU_EXIT_REASON_##name, #name, text, (flags)},
    XVCPU_EXIT_REASONS(ROW)
#undef ROW
};

typedef struct prefix_value {
    const char *prefix;
    uint32_t value;
} prefix_value;

// How the columns of exit_reasons.csv begin, the longer prefix first.
static const prefix_value length_values[] = {
    {"conditional", XVCPU_REASON_LENGTH_SOMETIMES},
    {"y", XVCPU_REASON_LENGTH_ALWAYS},
    {"n", XVCPU_REASON_LENGTH_NEVER},
};
static const prefix_value class_values[] = {
    {"fault-like", XVCPU_REASON_CLASS_FAULT},
    {"trap-like", XVCPU_REASON_CLASS_TRAP},
    {"event", XVCPU_REASON_CLASS_EVENT},
    {"entry failure", XVCPU_REASON_CLASS_ENTRY_FAILURE},
    {"-", XVCPU_REASON_CLASS_NONE},
};
static const prefix_value info_values[] = {
    {"none", XVCPU_REASON_INFO_NONE},
    {"unverified", XVCPU_REASON_INFO_UNVERIFIED},
    {"I/O RCX/RSI/RDI/RIP", XVCPU_REASON_INFO_IO_FIELDS},
    {"MSR-data field", XVCPU_REASON_INFO_MSR_DATA},
    {"Table 30-8 ", XVCPU_REASON_INFO_INS_OUTS},
    {"Table 30-9", XVCPU_REASON_INFO_INVEPT_INVVPID},
    {"Table 30-10", XVCPU_REASON_INFO_GDTR_IDTR},
    {"Table 30-11", XVCPU_REASON_INFO_LDTR_TR},
    {"Table 30-12", XVCPU_REASON_INFO_RDRAND_RDSEED},
    {"Table 30-13", XVCPU_REASON_INFO_TPAUSE_UMWAIT},
    {"Table 30-14", XVCPU_REASON_INFO_VMX_MEM},
    {"Table 30-15", XVCPU_REASON_INFO_VMREAD_VMWRITE},
    {"Table 30-16", XVCPU_REASON_INFO_LOADIWKEY},
};

static uint64_t value_of(const prefix_value *values, size_t count, const char *text)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (starts(text, values[i].prefix)) {
            return values[i].value;
        }
    }
    complain("\"%s\" is not understood", text);
    return UINT64_MAX;
}

// Kinds must differ from each other and fit the four bits they are packed in.
static void expect_distinct(const char *what, const prefix_value *values, size_t count)
{
    size_t i;
    size_t k;

    for (i = 0; i < count; i++) {
        if (values[i].value > 0xF) {
            complain("%s: \"%s\" does not fit", what, values[i].prefix);
        }
        for (k = 0; k < i; k++) {
            if (values[k].value == values[i].value) {
                complain("%s: \"%s\" and \"%s\" are one number", what, values[k].prefix,
                         values[i].prefix);
            }
        }
    }
}

static void test_reasons(const char *folder)
{
    table *t = read_table(folder, "exit_reasons.csv");
    size_t compared = 0;
    size_t i;

    for (i = 0; i < t->rows; i++) {
        const char *name = cell(t, i, "c_name");
        uint32_t reason = (uint32_t)number(cell(t, i, "number"));
        const reason_row *row;

        if (reason >= COUNT(reason_rows)) {
            complain("%s (%u) is missing in the header", name, reason);
            continue;
        }
        row = &reason_rows[reason];
        compared++;
        expect_number("number", name, row->number, reason);
        expect_number("enumerator", name, row->enumerator, reason);
        expect_text("name", name, row->name, name);
        expect_text("text", name, row->text, cell(t, i, "sdm_name"));
        expect_number("length", name, XVCPU_REASON_LENGTH(row->flags),
                      value_of(length_values, COUNT(length_values), cell(t, i, "instr_len_valid")));
        expect_number("class", name, XVCPU_REASON_CLASS(row->flags),
                      value_of(class_values, COUNT(class_values), cell(t, i, "class")));
        expect_number("instruction information", name, XVCPU_REASON_INFO(row->flags),
                      value_of(info_values, COUNT(info_values), cell(t, i, "instr_info")));
        expect_text("xvcpu_exit_reason_name", name, xvcpu_exit_reason_name(reason), name);
        expect_number("xvcpui_exit_reason_flags", name, xvcpui_exit_reason_flags(reason),
                      row->flags);
    }
    expect_distinct("length", length_values, COUNT(length_values));
    expect_distinct("class", class_values, COUNT(class_values));
    expect_distinct("instruction information", info_values, COUNT(info_values));
    expect_number("exit reasons", "header", COUNT(reason_rows), t->rows);
    expect_number("XVCPU_EXIT_REASON_COUNT", "header", XVCPU_EXIT_REASON_COUNT, t->rows);
    finish("exit reasons", compared);
    free_table(t);
}

// -- VM-instruction errors

typedef struct error_row {
    uint32_t number;
    const char *meaning;
    const char *hint;
} error_row;

static const error_row error_rows[] = {
#define ROW(number, name, meaning, hint) {(number), meaning, hint},
    XVCPU_INSTRUCTION_ERRORS(ROW)
#undef ROW
};

static void test_errors(const char *folder)
{
    table *t = read_table(folder, "instruction_errors.csv");
    size_t compared = 0;
    size_t i;

    for (i = 0; i < t->rows; i++) {
        const char *row = cell(t, i, "number");
        uint32_t error = (uint32_t)number(row);
        const char *hint = cell(t, i, "hint");

        // Two hints name a fact table; the header says in words which checks it holds.
        if (error == 7) {
            hint = "one of the control-field checks failed; "
                   "may also be reported when host fields are bad too";
        } else if (error == 8) {
            hint = "one of the host-state checks failed";
        }
        if (i < COUNT(error_rows)) {
            expect_number("number", row, error_rows[i].number, error);
            expect_text("meaning", row, error_rows[i].meaning, cell(t, i, "meaning"));
            expect_text("hint", row, error_rows[i].hint, hint);
        }
        expect_text("text", row, xvcpu_instruction_error_text(error), cell(t, i, "meaning"));
        expect_text("hint", row, xvcpu_instruction_error_hint(error), hint);
        compared++;
    }
    expect_number("errors", "header", COUNT(error_rows), t->rows);
    expect_text("text", "0", xvcpu_instruction_error_text(0), "unknown VM-instruction error");
    expect_text("text", "14", xvcpu_instruction_error_text(14), "unknown VM-instruction error");
    finish("VM-instruction errors", compared);
    free_table(t);
}

// -- MSRs

typedef struct msr_row {
    uint32_t index;
    const char *name;
} msr_row;

static const msr_row msr_rows[] = {
#define ROW(name) {XVCPU_MSR_##name, #name},
    XVCPU_MSRS(ROW)
#undef ROW
};

static void test_msrs(const char *folder)
{
    table *t = read_table(folder, "vmx_msrs.csv");
    size_t compared = 0;
    size_t i;
    size_t k;

    for (i = 0; i < t->rows; i++) {
        const char *name = cell(t, i, "name");
        uint32_t index = (uint32_t)number(cell(t, i, "index"));

        for (k = 0; k < COUNT(msr_rows); k++) {
            if (strcmp(msr_rows[k].name, name) == 0) {
                break;
            }
        }
        if (k == COUNT(msr_rows)) {
            complain("%s is missing in the header", name);
            continue;
        }
        compared++;
        expect_number("index", name, msr_rows[k].index, index);
        expect_text("xvcpu_msr_name", name, xvcpu_msr_name(index), name);
    }
    finish("MSRs", compared);

    compared = 0;
    for (i = 0; i < COUNT(msr_rows); i++) {
        // Of two rows with one index the second would never be found.
        expect_text("xvcpu_msr_name", msr_rows[i].name, xvcpu_msr_name(msr_rows[i].index),
                    msr_rows[i].name);
        compared++;
    }
    // The whole range of VMX capability MSRs has names; nothing stands in the gap after it.
    for (i = 0x480; i <= 0x493; i++) {
        if (!starts(xvcpu_msr_name((uint32_t)i), "IA32_VMX_")) {
            complain("MSR 0x%zx is no VMX MSR", i);
        }
    }
    expect_text("name", "0x494", xvcpu_msr_name(0x494), "unknown MSR");
    expect_text("name", "0x8ff", xvcpu_msr_name(0x8FF), "x2APIC register");
    expect_text("name", "0x900", xvcpu_msr_name(0x900), "unknown MSR");
    expect_text("name", "0x47f", xvcpu_msr_name(0x47F), "machine-check bank register");
    finish("MSRs: names", compared);
    free_table(t);
}

// -- Layouts

typedef enum layout_file { MSRS, STRUCTS, QUALS, LAYOUT_FILES } layout_file;

static const char *const layout_names[LAYOUT_FILES] = {
    "vmx_msrs.csv",
    "struct_bits.csv",
    "exit_qualifications.csv",
};

typedef enum layout_kind {
    KIND_PART,      // _SHIFT and _MASK are the row's bits
    KIND_BIT,       // the mask is the row's bit
    KIND_NUMBER,    // the column "bits" is the value, the text says of what
    KIND_OFFSET,    // byte offset of the row's bits
    KIND_VALUE,     // the text holds "<value> <what>"
    KIND_TEXT_BIT,  // the text holds "<bit number> <what>" or "<what> <bit number>"
    KIND_TEXT_PART, // the text holds "<high>:<low>"
} layout_kind;

typedef struct layout {
    layout_file file;
    const char *key;
    const char *bits;
    layout_kind kind;
    const char *name;
    int shift;
    uint64_t value;
    const char *text;
} layout;

#define PART(file, key, bits, name)                                                                \
    {file, key, bits, KIND_PART, #name, XVCPU_##name##_SHIFT, XVCPU_##name##_MASK, ""}
#define BIT(file, key, bits, name) {file, key, bits, KIND_BIT, #name, 0, XVCPU_##name, ""}
#define NUMBER(file, key, bits, text, name)                                                        \
    {file, key, bits, KIND_NUMBER, #name, 0, XVCPU_##name, text}
#define OFFSET(file, key, bits, name) {file, key, bits, KIND_OFFSET, #name, 0, XVCPU_##name, ""}
#define VALUE(file, key, bits, text, name)                                                         \
    {file, key, bits, KIND_VALUE, #name, 0, XVCPU_##name, text}
#define TEXT_BIT(file, key, bits, text, name)                                                      \
    {file, key, bits, KIND_TEXT_BIT, #name, 0, XVCPU_##name, text}
#define TEXT_PART(file, key, bits, text, name)                                                     \
    {file, key, bits, KIND_TEXT_PART, #name, XVCPU_##name##_SHIFT, XVCPU_##name##_MASK, text}

static const layout layouts[] = {
    // vmx_msrs.csv
    PART(MSRS, "IA32_VMX_BASIC", "30:0", VMX_BASIC_REVISION),
    PART(MSRS, "IA32_VMX_BASIC", "44:32", VMX_BASIC_REGION_SIZE),
    BIT(MSRS, "IA32_VMX_BASIC", "48", VMX_BASIC_ADDRESS_32BIT),
    BIT(MSRS, "IA32_VMX_BASIC", "49", VMX_BASIC_DUAL_MONITOR),
    PART(MSRS, "IA32_VMX_BASIC", "53:50", VMX_BASIC_MEMORY_TYPE),
    BIT(MSRS, "IA32_VMX_BASIC", "54", VMX_BASIC_INS_OUTS_INFO),
    BIT(MSRS, "IA32_VMX_BASIC", "55", VMX_BASIC_TRUE_CONTROLS),
    BIT(MSRS, "IA32_VMX_BASIC", "56", VMX_BASIC_ANY_ERROR_CODE),
    BIT(MSRS, "IA32_VMX_BASIC", "58", VMX_BASIC_NESTED_EXCEPTION),
    PART(MSRS, "IA32_VMX_PINBASED_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_PINBASED_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_PROCBASED_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_PROCBASED_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_EXIT_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_EXIT_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_ENTRY_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_ENTRY_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_MISC", "4:0", VMX_MISC_TIMER_RATE),
    BIT(MSRS, "IA32_VMX_MISC", "5", VMX_MISC_SAVES_LMA),
    BIT(MSRS, "IA32_VMX_MISC", "6", VMX_MISC_ACTIVITY_HLT),
    BIT(MSRS, "IA32_VMX_MISC", "7", VMX_MISC_ACTIVITY_SHUTDOWN),
    BIT(MSRS, "IA32_VMX_MISC", "8", VMX_MISC_ACTIVITY_WAIT_FOR_SIPI),
    BIT(MSRS, "IA32_VMX_MISC", "14", VMX_MISC_INTEL_PT),
    BIT(MSRS, "IA32_VMX_MISC", "15", VMX_MISC_RDMSR_SMBASE),
    PART(MSRS, "IA32_VMX_MISC", "24:16", VMX_MISC_CR3_TARGETS),
    PART(MSRS, "IA32_VMX_MISC", "27:25", VMX_MISC_MSR_LIST_MAX),
    BIT(MSRS, "IA32_VMX_MISC", "28", VMX_MISC_SMM_MONITOR_CTL_BIT2),
    BIT(MSRS, "IA32_VMX_MISC", "29", VMX_MISC_VMWRITE_ALL),
    BIT(MSRS, "IA32_VMX_MISC", "30", VMX_MISC_ZERO_LENGTH_INJECTION),
    PART(MSRS, "IA32_VMX_MISC", "63:32", VMX_MISC_MSEG_REVISION),
    PART(MSRS, "IA32_VMX_VMCS_ENUM", "9:1", VMX_VMCS_ENUM_MAX_INDEX),
    PART(MSRS, "IA32_VMX_PROCBASED_CTLS2", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_PROCBASED_CTLS2", "63:32", VMX_CTLS_MAY_BE_1),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "0", VMX_EPT_VPID_CAP_EXECUTE_ONLY),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "6", VMX_EPT_VPID_CAP_WALK_4),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "7", VMX_EPT_VPID_CAP_WALK_5),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "8", VMX_EPT_VPID_CAP_MEMORY_UC),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "14", VMX_EPT_VPID_CAP_MEMORY_WB),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "16", VMX_EPT_VPID_CAP_PAGE_2M),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "17", VMX_EPT_VPID_CAP_PAGE_1G),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "20", VMX_EPT_VPID_CAP_INVEPT),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "21", VMX_EPT_VPID_CAP_ACCESSED_DIRTY),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "22", VMX_EPT_VPID_CAP_ADVANCED_EXIT_INFO),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "23", VMX_EPT_VPID_CAP_SUPERVISOR_SHADOW_STACK),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "25", VMX_EPT_VPID_CAP_INVEPT_SINGLE),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "26", VMX_EPT_VPID_CAP_INVEPT_ALL),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "32", VMX_EPT_VPID_CAP_INVVPID),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "40", VMX_EPT_VPID_CAP_INVVPID_ADDRESS),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "41", VMX_EPT_VPID_CAP_INVVPID_SINGLE),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "42", VMX_EPT_VPID_CAP_INVVPID_ALL),
    BIT(MSRS, "IA32_VMX_EPT_VPID_CAP", "43", VMX_EPT_VPID_CAP_INVVPID_SINGLE_GLOBALS),
    PART(MSRS, "IA32_VMX_EPT_VPID_CAP", "53:48", VMX_EPT_VPID_CAP_HLAT_PREFIX_MAX),
    PART(MSRS, "IA32_VMX_TRUE_PINBASED_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_PINBASED_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_PROCBASED_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_PROCBASED_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_EXIT_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_EXIT_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_ENTRY_CTLS", "31:0", VMX_CTLS_MUST_BE_1),
    PART(MSRS, "IA32_VMX_TRUE_ENTRY_CTLS", "63:32", VMX_CTLS_MAY_BE_1),
    BIT(MSRS, "IA32_VMX_VMFUNC", "0", VMX_VMFUNC_EPTP_SWITCHING),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "0", FEATURE_CONTROL_LOCK),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "1", FEATURE_CONTROL_VMX_IN_SMX),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "2", FEATURE_CONTROL_VMX_OUTSIDE_SMX),
    PART(MSRS, "IA32_FEATURE_CONTROL", "14:8", FEATURE_CONTROL_SENTER_LOCAL),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "15", FEATURE_CONTROL_SENTER_GLOBAL),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "17", FEATURE_CONTROL_SGX_LAUNCH_CONTROL),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "18", FEATURE_CONTROL_SGX),
    BIT(MSRS, "IA32_FEATURE_CONTROL", "20", FEATURE_CONTROL_LMCE),
    BIT(MSRS, "IA32_EFER", "0", EFER_SCE),
    BIT(MSRS, "IA32_EFER", "8", EFER_LME),
    BIT(MSRS, "IA32_EFER", "10", EFER_LMA),
    BIT(MSRS, "IA32_EFER", "11", EFER_NXE),
    PART(MSRS, "IA32_STAR", "31:0", STAR_LEGACY_EIP),
    PART(MSRS, "IA32_STAR", "47:32", STAR_SYSCALL_CS),
    PART(MSRS, "IA32_STAR", "63:48", STAR_SYSRET_CS),
    PART(MSRS, "IA32_FMASK", "31:0", FMASK_RFLAGS),
    PART(MSRS, "IA32_TSC_AUX", "31:0", TSC_AUX_VALUE),
    PART(MSRS, "IA32_SYSENTER_CS", "31:0", SYSENTER_CS_VALUE),
    BIT(MSRS, "IA32_DEBUGCTL", "0", DEBUGCTL_LBR),
    BIT(MSRS, "IA32_DEBUGCTL", "1", DEBUGCTL_BTF),
    BIT(MSRS, "IA32_DEBUGCTL", "2", DEBUGCTL_BUS_LOCK_DETECT),
    BIT(MSRS, "IA32_DEBUGCTL", "6", DEBUGCTL_TR),
    BIT(MSRS, "IA32_DEBUGCTL", "7", DEBUGCTL_BTS),
    BIT(MSRS, "IA32_DEBUGCTL", "8", DEBUGCTL_BTINT),
    BIT(MSRS, "IA32_DEBUGCTL", "9", DEBUGCTL_BTS_OFF_OS),
    BIT(MSRS, "IA32_DEBUGCTL", "10", DEBUGCTL_BTS_OFF_USR),
    BIT(MSRS, "IA32_DEBUGCTL", "11", DEBUGCTL_FREEZE_LBRS_ON_PMI),
    BIT(MSRS, "IA32_DEBUGCTL", "12", DEBUGCTL_FREEZE_PERFMON_ON_PMI),
    BIT(MSRS, "IA32_DEBUGCTL", "13", DEBUGCTL_UNCORE_PMI),
    BIT(MSRS, "IA32_DEBUGCTL", "14", DEBUGCTL_FREEZE_WHILE_SMM),
    BIT(MSRS, "IA32_DEBUGCTL", "15", DEBUGCTL_RTM),
    BIT(MSRS, "IA32_SPEC_CTRL", "0", SPEC_CTRL_IBRS),
    BIT(MSRS, "IA32_SPEC_CTRL", "1", SPEC_CTRL_STIBP),
    BIT(MSRS, "IA32_SPEC_CTRL", "2", SPEC_CTRL_SSBD),
    BIT(MSRS, "IA32_SPEC_CTRL", "3", SPEC_CTRL_IPRED_DIS_U),
    BIT(MSRS, "IA32_SPEC_CTRL", "4", SPEC_CTRL_IPRED_DIS_S),
    BIT(MSRS, "IA32_SPEC_CTRL", "5", SPEC_CTRL_RRSBA_DIS_U),
    BIT(MSRS, "IA32_SPEC_CTRL", "6", SPEC_CTRL_RRSBA_DIS_S),
    BIT(MSRS, "IA32_SPEC_CTRL", "7", SPEC_CTRL_PSFD),
    BIT(MSRS, "IA32_SPEC_CTRL", "8", SPEC_CTRL_DDPD_U),
    BIT(MSRS, "IA32_SPEC_CTRL", "10", SPEC_CTRL_BHI_DIS_S),
    BIT(MSRS, "IA32_PRED_CMD", "0", PRED_CMD_IBPB),
    PART(MSRS, "IA32_PKRS", "31:0", PKRS_RIGHTS),
    BIT(MSRS, "IA32_U_CET", "0", CET_SH_STK_EN),
    BIT(MSRS, "IA32_U_CET", "1", CET_WR_SHSTK_EN),
    BIT(MSRS, "IA32_U_CET", "2", CET_ENDBR_EN),
    BIT(MSRS, "IA32_U_CET", "3", CET_LEG_IW_EN),
    BIT(MSRS, "IA32_U_CET", "4", CET_NO_TRACK_EN),
    BIT(MSRS, "IA32_U_CET", "5", CET_SUPPRESS_DIS),
    BIT(MSRS, "IA32_U_CET", "10", CET_SUPPRESS),
    BIT(MSRS, "IA32_U_CET", "11", CET_TRACKER),
    PART(MSRS, "IA32_U_CET", "63:12", CET_BITMAP_BASE),
    BIT(MSRS, "IA32_S_CET", "0", CET_SH_STK_EN),
    BIT(MSRS, "IA32_S_CET", "1", CET_WR_SHSTK_EN),
    BIT(MSRS, "IA32_S_CET", "2", CET_ENDBR_EN),
    BIT(MSRS, "IA32_S_CET", "3", CET_LEG_IW_EN),
    BIT(MSRS, "IA32_S_CET", "4", CET_NO_TRACK_EN),
    BIT(MSRS, "IA32_S_CET", "5", CET_SUPPRESS_DIS),
    BIT(MSRS, "IA32_S_CET", "10", CET_SUPPRESS),
    BIT(MSRS, "IA32_S_CET", "11", CET_TRACKER),
    PART(MSRS, "IA32_S_CET", "63:12", CET_BITMAP_BASE),
    PART(MSRS, "IA32_FRED_RSP0", "63:6", FRED_RSP_ADDRESS),
    PART(MSRS, "IA32_FRED_RSP1", "63:6", FRED_RSP_ADDRESS),
    PART(MSRS, "IA32_FRED_RSP2", "63:6", FRED_RSP_ADDRESS),
    PART(MSRS, "IA32_FRED_RSP3", "63:6", FRED_RSP_ADDRESS),
    PART(MSRS, "IA32_FRED_SSP1", "63:3", FRED_SSP_ADDRESS),
    PART(MSRS, "IA32_FRED_SSP2", "63:3", FRED_SSP_ADDRESS),
    PART(MSRS, "IA32_FRED_SSP3", "63:3", FRED_SSP_ADDRESS),
    PART(MSRS, "IA32_FRED_CONFIG", "1:0", FRED_CONFIG_LEVEL),
    BIT(MSRS, "IA32_FRED_CONFIG", "3", FRED_CONFIG_DECREMENT_SSP),
    PART(MSRS, "IA32_FRED_CONFIG", "8:6", FRED_CONFIG_STACK_DECREMENT),
    PART(MSRS, "IA32_FRED_CONFIG", "10:9", FRED_CONFIG_INTERRUPT_LEVEL),
    PART(MSRS, "IA32_FRED_CONFIG", "63:12", FRED_CONFIG_HANDLERS),
    BIT(MSRS, "IA32_RTIT_CTL", "0", RTIT_CTL_TRACE_EN),
    BIT(MSRS, "IA32_LBR_CTL", "0", LBR_CTL_LBR_EN),
    BIT(MSRS, "IA32_BNDCFGS", "0", BNDCFGS_ENABLE),
    BIT(MSRS, "IA32_BNDCFGS", "1", BNDCFGS_PRESERVE),
    PART(MSRS, "IA32_BNDCFGS", "63:12", BNDCFGS_BASE),
    BIT(MSRS, "IA32_APIC_BASE", "8", APIC_BASE_BSP),
    BIT(MSRS, "IA32_APIC_BASE", "10", APIC_BASE_X2APIC),
    BIT(MSRS, "IA32_APIC_BASE", "11", APIC_BASE_ENABLE),
    PART(MSRS, "IA32_APIC_BASE", "N-1:12", APIC_BASE_ADDRESS),
    BIT(MSRS, "IA32_SMM_MONITOR_CTL", "0", SMM_MONITOR_CTL_VALID),
    PART(MSRS, "IA32_SMBASE", "31:0", SMBASE_ADDRESS),
    BIT(MSRS, "IA32_TME_ACTIVATE", "0", TME_ACTIVATE_LOCK),
    BIT(MSRS, "IA32_TME_ACTIVATE", "1", TME_ACTIVATE_ENABLE),
    PART(MSRS, "IA32_TME_ACTIVATE", "35:32", TME_ACTIVATE_KEYID_BITS),
    PART(MSRS, "IA32_TME_ACTIVATE", "39:36", TME_ACTIVATE_TDX_KEYID_BITS),
    PART(MSRS, "IA32_UMWAIT_CONTROL", "31:0", UMWAIT_CONTROL_LIMITS),
    PART(MSRS, "IA32_BIOS_SIGN_ID", "63:32", BIOS_SIGN_ID_REVISION),
    // struct_bits.csv
    PART(STRUCTS, "exit_reason", "15:0", EXIT_REASON_WORD_BASIC),
    BIT(STRUCTS, "exit_reason", "25", EXIT_REASON_WORD_BUSY_SHADOW_STACK),
    BIT(STRUCTS, "exit_reason", "26", EXIT_REASON_WORD_BUS_LOCK),
    BIT(STRUCTS, "exit_reason", "27", EXIT_REASON_WORD_ENCLAVE),
    BIT(STRUCTS, "exit_reason", "28", EXIT_REASON_WORD_PENDING_MTF),
    BIT(STRUCTS, "exit_reason", "29", EXIT_REASON_WORD_FROM_ROOT),
    BIT(STRUCTS, "exit_reason", "31", EXIT_REASON_WORD_ENTRY_FAILURE),
    PART(STRUCTS, "injected_event_id", "7:0", INTR_INFO_VECTOR),
    PART(STRUCTS, "injected_event_id", "10:8", INTR_INFO_TYPE),
    BIT(STRUCTS, "injected_event_id", "11", INTR_INFO_ERROR_CODE),
    BIT(STRUCTS, "injected_event_id", "13", INTR_INFO_NESTED),
    BIT(STRUCTS, "injected_event_id", "31", INTR_INFO_VALID),
    PART(STRUCTS, "exiting_event_id", "7:0", INTR_INFO_VECTOR),
    PART(STRUCTS, "exiting_event_id", "10:8", INTR_INFO_TYPE),
    BIT(STRUCTS, "exiting_event_id", "11", INTR_INFO_ERROR_CODE),
    BIT(STRUCTS, "exiting_event_id", "12", INTR_INFO_NMI_UNBLOCKING),
    BIT(STRUCTS, "exiting_event_id", "13", INTR_INFO_NESTED),
    BIT(STRUCTS, "exiting_event_id", "31", INTR_INFO_VALID),
    PART(STRUCTS, "original_event_id", "7:0", INTR_INFO_VECTOR),
    PART(STRUCTS, "original_event_id", "10:8", INTR_INFO_TYPE),
    BIT(STRUCTS, "original_event_id", "11", INTR_INFO_ERROR_CODE),
    BIT(STRUCTS, "original_event_id", "13", INTR_INFO_NESTED),
    BIT(STRUCTS, "original_event_id", "31", INTR_INFO_VALID),
    BIT(STRUCTS, "guest_interruptibility", "0", INTERRUPTIBILITY_STI),
    BIT(STRUCTS, "guest_interruptibility", "1", INTERRUPTIBILITY_MOV_SS),
    BIT(STRUCTS, "guest_interruptibility", "2", INTERRUPTIBILITY_SMI),
    BIT(STRUCTS, "guest_interruptibility", "3", INTERRUPTIBILITY_NMI),
    BIT(STRUCTS, "guest_interruptibility", "4", INTERRUPTIBILITY_ENCLAVE),
    PART(STRUCTS, "guest_interruptibility", "31:5", INTERRUPTIBILITY_RESERVED),
    PART(STRUCTS, "guest_pending_dbg", "3:0", PENDING_DBG_B),
    BIT(STRUCTS, "guest_pending_dbg", "11", PENDING_DBG_BLD),
    BIT(STRUCTS, "guest_pending_dbg", "12", PENDING_DBG_ENABLED),
    BIT(STRUCTS, "guest_pending_dbg", "14", PENDING_DBG_BS),
    BIT(STRUCTS, "guest_pending_dbg", "16", PENDING_DBG_RTM),
    PART(STRUCTS, "segment_access_rights", "3:0", AR_TYPE),
    BIT(STRUCTS, "segment_access_rights", "4", AR_S),
    PART(STRUCTS, "segment_access_rights", "6:5", AR_DPL),
    BIT(STRUCTS, "segment_access_rights", "7", AR_P),
    PART(STRUCTS, "segment_access_rights", "11:8", AR_RESERVED_LOW),
    BIT(STRUCTS, "segment_access_rights", "12", AR_AVL),
    BIT(STRUCTS, "segment_access_rights", "13", AR_L),
    BIT(STRUCTS, "segment_access_rights", "14", AR_DB),
    BIT(STRUCTS, "segment_access_rights", "15", AR_G),
    BIT(STRUCTS, "segment_access_rights", "16", AR_UNUSABLE),
    PART(STRUCTS, "segment_access_rights", "31:17", AR_RESERVED_HIGH),
    PART(STRUCTS, "eptp", "2:0", EPTP_MEMORY_TYPE),
    PART(STRUCTS, "eptp", "5:3", EPTP_WALK_MINUS_1),
    BIT(STRUCTS, "eptp", "6", EPTP_ACCESSED_DIRTY),
    BIT(STRUCTS, "eptp", "7", EPTP_SUPERVISOR_SHADOW_STACK),
    PART(STRUCTS, "eptp", "11:8", EPTP_RESERVED),
    PART(STRUCTS, "eptp", "N-1:12", EPTP_ADDRESS),
    BIT(STRUCTS, "hlatp", "3", HLATP_PWT),
    BIT(STRUCTS, "hlatp", "4", HLATP_PCD),
    PART(STRUCTS, "hlatp", "N-1:12", HLATP_ADDRESS),
    BIT(STRUCTS, "vmcs_encoding", "0", VMCS_ENCODING_HIGH),
    PART(STRUCTS, "vmcs_encoding", "9:1", VMCS_ENCODING_INDEX),
    PART(STRUCTS, "vmcs_encoding", "11:10", VMCS_ENCODING_TYPE),
    PART(STRUCTS, "vmcs_encoding", "14:13", VMCS_ENCODING_WIDTH),
    PART(STRUCTS, "instr_info_ins_outs", "9:7", INSTR_INFO_ADDRESS_SIZE),
    PART(STRUCTS, "instr_info_ins_outs", "17:15", INSTR_INFO_SEGMENT),
    PART(STRUCTS, "instr_info_invept_invvpid_invpcid", "1:0", INSTR_INFO_SCALE),
    PART(STRUCTS, "instr_info_invept_invvpid_invpcid", "9:7", INSTR_INFO_ADDRESS_SIZE),
    PART(STRUCTS, "instr_info_invept_invvpid_invpcid", "17:15", INSTR_INFO_SEGMENT),
    PART(STRUCTS, "instr_info_invept_invvpid_invpcid", "21:18", INSTR_INFO_INDEX_REG),
    BIT(STRUCTS, "instr_info_invept_invvpid_invpcid", "22", INSTR_INFO_INDEX_INVALID),
    PART(STRUCTS, "instr_info_invept_invvpid_invpcid", "26:23", INSTR_INFO_BASE_REG),
    BIT(STRUCTS, "instr_info_invept_invvpid_invpcid", "27", INSTR_INFO_BASE_INVALID),
    PART(STRUCTS, "instr_info_invept_invvpid_invpcid", "31:28", INSTR_INFO_REG2),
    PART(STRUCTS, "instr_info_gdtr_idtr", "1:0", INSTR_INFO_SCALE),
    PART(STRUCTS, "instr_info_gdtr_idtr", "9:7", INSTR_INFO_ADDRESS_SIZE),
    BIT(STRUCTS, "instr_info_gdtr_idtr", "11", INSTR_INFO_OPERAND_32),
    PART(STRUCTS, "instr_info_gdtr_idtr", "17:15", INSTR_INFO_SEGMENT),
    PART(STRUCTS, "instr_info_gdtr_idtr", "21:18", INSTR_INFO_INDEX_REG),
    BIT(STRUCTS, "instr_info_gdtr_idtr", "22", INSTR_INFO_INDEX_INVALID),
    PART(STRUCTS, "instr_info_gdtr_idtr", "26:23", INSTR_INFO_BASE_REG),
    BIT(STRUCTS, "instr_info_gdtr_idtr", "27", INSTR_INFO_BASE_INVALID),
    PART(STRUCTS, "instr_info_gdtr_idtr", "29:28", INSTR_INFO_IDENTITY),
    PART(STRUCTS, "instr_info_ldtr_tr", "1:0", INSTR_INFO_SCALE),
    PART(STRUCTS, "instr_info_ldtr_tr", "6:3", INSTR_INFO_REG1),
    PART(STRUCTS, "instr_info_ldtr_tr", "9:7", INSTR_INFO_ADDRESS_SIZE),
    BIT(STRUCTS, "instr_info_ldtr_tr", "10", INSTR_INFO_REGISTER),
    PART(STRUCTS, "instr_info_ldtr_tr", "17:15", INSTR_INFO_SEGMENT),
    PART(STRUCTS, "instr_info_ldtr_tr", "21:18", INSTR_INFO_INDEX_REG),
    BIT(STRUCTS, "instr_info_ldtr_tr", "22", INSTR_INFO_INDEX_INVALID),
    PART(STRUCTS, "instr_info_ldtr_tr", "26:23", INSTR_INFO_BASE_REG),
    BIT(STRUCTS, "instr_info_ldtr_tr", "27", INSTR_INFO_BASE_INVALID),
    PART(STRUCTS, "instr_info_ldtr_tr", "29:28", INSTR_INFO_IDENTITY),
    PART(STRUCTS, "instr_info_rdrand_rdseed", "6:3", INSTR_INFO_REG1),
    PART(STRUCTS, "instr_info_rdrand_rdseed", "12:11", INSTR_INFO_OPERAND_SIZE),
    PART(STRUCTS, "instr_info_tpause_umwait", "6:3", INSTR_INFO_REG1),
    PART(STRUCTS, "instr_info_vmx_mem", "1:0", INSTR_INFO_SCALE),
    PART(STRUCTS, "instr_info_vmx_mem", "9:7", INSTR_INFO_ADDRESS_SIZE),
    PART(STRUCTS, "instr_info_vmx_mem", "17:15", INSTR_INFO_SEGMENT),
    PART(STRUCTS, "instr_info_vmx_mem", "21:18", INSTR_INFO_INDEX_REG),
    BIT(STRUCTS, "instr_info_vmx_mem", "22", INSTR_INFO_INDEX_INVALID),
    PART(STRUCTS, "instr_info_vmx_mem", "26:23", INSTR_INFO_BASE_REG),
    BIT(STRUCTS, "instr_info_vmx_mem", "27", INSTR_INFO_BASE_INVALID),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "1:0", INSTR_INFO_SCALE),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "6:3", INSTR_INFO_REG1),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "9:7", INSTR_INFO_ADDRESS_SIZE),
    BIT(STRUCTS, "instr_info_vmread_vmwrite", "10", INSTR_INFO_REGISTER),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "17:15", INSTR_INFO_SEGMENT),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "21:18", INSTR_INFO_INDEX_REG),
    BIT(STRUCTS, "instr_info_vmread_vmwrite", "22", INSTR_INFO_INDEX_INVALID),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "26:23", INSTR_INFO_BASE_REG),
    BIT(STRUCTS, "instr_info_vmread_vmwrite", "27", INSTR_INFO_BASE_INVALID),
    PART(STRUCTS, "instr_info_vmread_vmwrite", "31:28", INSTR_INFO_REG2),
    PART(STRUCTS, "instr_info_loadiwkey", "6:3", INSTR_INFO_REG1),
    PART(STRUCTS, "instr_info_loadiwkey", "31:28", INSTR_INFO_REG2),
    // exit_qualifications.csv
    PART(QUALS, "0/#DB", "3:0", QUAL_DB_B),
    BIT(QUALS, "0/#DB", "11", QUAL_DB_BLD),
    BIT(QUALS, "0/#DB", "13", QUAL_DB_BD),
    BIT(QUALS, "0/#DB", "14", QUAL_DB_BS),
    BIT(QUALS, "0/#DB", "16", QUAL_DB_RTM),
    PART(QUALS, "4/-", "7:0", QUAL_SIPI_VECTOR),
    PART(QUALS, "5/-", "2:0", QUAL_IO_SIZE_MINUS_1),
    BIT(QUALS, "5/-", "3", QUAL_IO_IN),
    BIT(QUALS, "5/-", "4", QUAL_IO_STRING),
    BIT(QUALS, "5/-", "5", QUAL_IO_REP),
    BIT(QUALS, "5/-", "6", QUAL_IO_IMMEDIATE),
    PART(QUALS, "5/-", "31:16", QUAL_IO_PORT),
    PART(QUALS, "9/-", "15:0", QUAL_TASK_SELECTOR),
    PART(QUALS, "9/-", "31:30", QUAL_TASK_SOURCE),
    PART(QUALS, "28/-", "3:0", QUAL_CR_NUMBER),
    PART(QUALS, "28/-", "5:4", QUAL_CR_ACCESS),
    BIT(QUALS, "28/-", "6", QUAL_CR_LMSW_MEMORY),
    PART(QUALS, "28/-", "11:8", QUAL_CR_GPR),
    PART(QUALS, "28/-", "31:16", QUAL_CR_LMSW_DATA),
    PART(QUALS, "29/-", "2:0", QUAL_DR_NUMBER),
    BIT(QUALS, "29/-", "4", QUAL_DR_READ),
    PART(QUALS, "29/-", "11:8", QUAL_DR_GPR),
    PART(QUALS, "30/-", "2:0", QUAL_IO_SIZE_MINUS_1),
    BIT(QUALS, "30/-", "3", QUAL_IO_IN),
    BIT(QUALS, "30/-", "4", QUAL_IO_STRING),
    BIT(QUALS, "30/-", "5", QUAL_IO_REP),
    BIT(QUALS, "30/-", "6", QUAL_IO_IMMEDIATE),
    PART(QUALS, "30/-", "31:16", QUAL_IO_PORT),
    PART(QUALS, "44/-", "11:0", QUAL_APIC_OFFSET),
    PART(QUALS, "44/-", "15:12", QUAL_APIC_TYPE),
    BIT(QUALS, "44/-", "16", QUAL_APIC_ASYNC),
    PART(QUALS, "45/-", "7:0", QUAL_EOI_VECTOR),
    BIT(QUALS, "48/-", "0", QUAL_EPT_READ),
    BIT(QUALS, "48/-", "1", QUAL_EPT_WRITE),
    BIT(QUALS, "48/-", "2", QUAL_EPT_FETCH),
    BIT(QUALS, "48/-", "3", QUAL_EPT_READABLE),
    BIT(QUALS, "48/-", "4", QUAL_EPT_WRITABLE),
    BIT(QUALS, "48/-", "5", QUAL_EPT_EXECUTABLE),
    BIT(QUALS, "48/-", "6", QUAL_EPT_USER_EXECUTABLE),
    BIT(QUALS, "48/-", "7", QUAL_EPT_LINEAR_VALID),
    BIT(QUALS, "48/-", "8", QUAL_EPT_TRANSLATED),
    BIT(QUALS, "48/-", "9", QUAL_EPT_USER_LINEAR),
    BIT(QUALS, "48/-", "10", QUAL_EPT_PAGE_WRITABLE),
    BIT(QUALS, "48/-", "11", QUAL_EPT_PAGE_XD),
    BIT(QUALS, "48/-", "12", QUAL_EPT_NMI_UNBLOCKING),
    BIT(QUALS, "48/-", "13", QUAL_EPT_SHADOW_STACK),
    BIT(QUALS, "48/-", "14", QUAL_EPT_SUPERVISOR_SHADOW_STACK),
    BIT(QUALS, "48/-", "15", QUAL_EPT_PAGING_VERIFICATION),
    BIT(QUALS, "48/-", "16", QUAL_EPT_ASYNC),
    PART(QUALS, "56/-", "11:0", QUAL_APIC_WRITE_OFFSET),
    BIT(QUALS, "62/-", "12", QUAL_PML_NMI_UNBLOCKING),
    BIT(QUALS, "62/-", "16", QUAL_PML_ASYNC),
    BIT(QUALS, "66/-", "11", QUAL_SPP_MISS),
    BIT(QUALS, "66/-", "12", QUAL_SPP_NMI_UNBLOCKING),
    BIT(QUALS, "66/-", "16", QUAL_SPP_ASYNC),
    PART(QUALS, "72/-", "19:0", QUAL_ENQCMD_PASID),
    PART(QUALS, "73/-", "31:0", QUAL_ENQCMDS_SOURCE),
    BIT(QUALS, "75/-", "0", QUAL_TIMEOUT_INVALID),
    BIT(QUALS, "75/-", "12", QUAL_TIMEOUT_NMI_UNBLOCKING),
    // Numbers: the column "bits" holds the value itself, or 8 * the byte offset.
    NUMBER(STRUCTS, "guest_activity_value", "0", "active", ACTIVITY_ACTIVE),
    NUMBER(STRUCTS, "guest_activity_value", "1", "HLT", ACTIVITY_HLT),
    NUMBER(STRUCTS, "guest_activity_value", "2", "shutdown", ACTIVITY_SHUTDOWN),
    NUMBER(STRUCTS, "guest_activity_value", "3", "wait-for-SIPI", ACTIVITY_WAIT_FOR_SIPI),
    NUMBER(STRUCTS, "vmx_abort_value", "1", "saving a guest MSR", VMX_ABORT_GUEST_MSR_SAVE),
    NUMBER(STRUCTS, "vmx_abort_value", "2", "host PDPTE", VMX_ABORT_HOST_PDPTE),
    NUMBER(STRUCTS, "vmx_abort_value", "3", "VMCS corrupted", VMX_ABORT_VMCS_CORRUPT),
    NUMBER(STRUCTS, "vmx_abort_value", "4", "loading a host MSR", VMX_ABORT_HOST_MSR_LOAD),
    NUMBER(STRUCTS, "vmx_abort_value", "5", "machine check", VMX_ABORT_MACHINE_CHECK),
    NUMBER(STRUCTS, "vmx_abort_value", "6", "host address-space", VMX_ABORT_HOST_ADDRESS_SIZE),
    OFFSET(STRUCTS, "msr_area_entry", "31:0", MSR_AREA_INDEX_OFFSET),
    OFFSET(STRUCTS, "msr_area_entry", "63:32", MSR_AREA_RESERVED_OFFSET),
    OFFSET(STRUCTS, "msr_area_entry", "127:64", MSR_AREA_DATA_OFFSET),
    // Values that stand inside the text of a row, as in "2 NMI".
    VALUE(STRUCTS, "injected_event_id", "10:8", "0 external interrupt",
          INTR_TYPE_EXTERNAL_INTERRUPT),
    VALUE(STRUCTS, "injected_event_id", "10:8", "2 NMI", INTR_TYPE_NMI),
    VALUE(STRUCTS, "injected_event_id", "10:8", "3 hardware exception",
          INTR_TYPE_HARDWARE_EXCEPTION),
    VALUE(STRUCTS, "injected_event_id", "10:8", "4 software interrupt",
          INTR_TYPE_SOFTWARE_INTERRUPT),
    VALUE(STRUCTS, "injected_event_id", "10:8", "5 privileged software exception",
          INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION),
    VALUE(STRUCTS, "injected_event_id", "10:8", "6 software exception",
          INTR_TYPE_SOFTWARE_EXCEPTION),
    VALUE(STRUCTS, "injected_event_id", "10:8", "7 other event", INTR_TYPE_OTHER),
    VALUE(STRUCTS, "injected_event_id", "10:8", "0 pending MTF", INTR_OTHER_MTF),
    VALUE(STRUCTS, "injected_event_id", "10:8", "1 SYSCALL", INTR_OTHER_SYSCALL),
    VALUE(STRUCTS, "injected_event_id", "10:8", "2 SYSENTER", INTR_OTHER_SYSENTER),
    VALUE(STRUCTS, "exiting_event_id", "10:8", "0 external interrupt",
          INTR_TYPE_EXTERNAL_INTERRUPT),
    VALUE(STRUCTS, "exiting_event_id", "10:8", "2 NMI", INTR_TYPE_NMI),
    VALUE(STRUCTS, "exiting_event_id", "10:8", "3 hardware exception",
          INTR_TYPE_HARDWARE_EXCEPTION),
    VALUE(STRUCTS, "exiting_event_id", "10:8", "5 privileged software exception",
          INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION),
    VALUE(STRUCTS, "exiting_event_id", "10:8", "6 software exception",
          INTR_TYPE_SOFTWARE_EXCEPTION),
    VALUE(STRUCTS, "eptp", "2:0", "0 UC", MEMORY_TYPE_UC),
    VALUE(STRUCTS, "eptp", "2:0", "6 WB", MEMORY_TYPE_WB),
    VALUE(STRUCTS, "vmcs_encoding", "11:10", "0 control", VMCS_TYPE_CONTROL),
    VALUE(STRUCTS, "vmcs_encoding", "11:10", "1 read-only", VMCS_TYPE_READ_ONLY),
    VALUE(STRUCTS, "vmcs_encoding", "11:10", "2 guest", VMCS_TYPE_GUEST),
    VALUE(STRUCTS, "vmcs_encoding", "11:10", "3 host", VMCS_TYPE_HOST),
    VALUE(STRUCTS, "vmcs_encoding", "14:13", "0 16-bit", VMCS_WIDTH_16),
    VALUE(STRUCTS, "vmcs_encoding", "14:13", "1 64-bit", VMCS_WIDTH_64),
    VALUE(STRUCTS, "vmcs_encoding", "14:13", "2 32-bit", VMCS_WIDTH_32),
    VALUE(STRUCTS, "vmcs_encoding", "14:13", "3 natural", VMCS_WIDTH_NATURAL),
    VALUE(STRUCTS, "instr_info_ins_outs", "17:15", "0 ES", SEGMENT_REGISTER_ES),
    VALUE(STRUCTS, "instr_info_ins_outs", "17:15", "5 GS", SEGMENT_REGISTER_GS),
    VALUE(STRUCTS, "instr_info_gdtr_idtr", "29:28", "0 SGDT", INSTR_INFO_SGDT),
    VALUE(STRUCTS, "instr_info_gdtr_idtr", "29:28", "1 SIDT", INSTR_INFO_SIDT),
    VALUE(STRUCTS, "instr_info_gdtr_idtr", "29:28", "2 LGDT", INSTR_INFO_LGDT),
    VALUE(STRUCTS, "instr_info_gdtr_idtr", "29:28", "3 LIDT", INSTR_INFO_LIDT),
    VALUE(STRUCTS, "instr_info_ldtr_tr", "29:28", "0 SLDT", INSTR_INFO_SLDT),
    VALUE(STRUCTS, "instr_info_ldtr_tr", "29:28", "1 STR", INSTR_INFO_STR),
    VALUE(STRUCTS, "instr_info_ldtr_tr", "29:28", "2 LLDT", INSTR_INFO_LLDT),
    VALUE(STRUCTS, "instr_info_ldtr_tr", "29:28", "3 LTR", INSTR_INFO_LTR),
    VALUE(QUALS, "9/-", "31:30", "0 CALL", QUAL_TASK_SOURCE_CALL),
    VALUE(QUALS, "9/-", "31:30", "1 IRET", QUAL_TASK_SOURCE_IRET),
    VALUE(QUALS, "9/-", "31:30", "2 JMP", QUAL_TASK_SOURCE_JMP),
    VALUE(QUALS, "9/-", "31:30", "3 task gate", QUAL_TASK_SOURCE_GATE),
    VALUE(QUALS, "28/-", "5:4", "0 MOV to CR", QUAL_CR_ACCESS_WRITE),
    VALUE(QUALS, "28/-", "5:4", "1 MOV from CR", QUAL_CR_ACCESS_READ),
    VALUE(QUALS, "28/-", "5:4", "2 CLTS", QUAL_CR_ACCESS_CLTS),
    VALUE(QUALS, "28/-", "5:4", "3 LMSW", QUAL_CR_ACCESS_LMSW),
    VALUE(QUALS, "44/-", "15:12", "0 linear data read", QUAL_APIC_TYPE_READ),
    VALUE(QUALS, "44/-", "15:12", "1 linear data write", QUAL_APIC_TYPE_WRITE),
    VALUE(QUALS, "44/-", "15:12", "2 linear fetch", QUAL_APIC_TYPE_FETCH),
    VALUE(QUALS, "44/-", "15:12", "3 linear during event delivery", QUAL_APIC_TYPE_EVENT),
    VALUE(QUALS, "44/-", "15:12", "4 linear asynchronous", QUAL_APIC_TYPE_ASYNC),
    VALUE(QUALS, "44/-", "15:12", "10 guest-physical during event delivery",
          QUAL_APIC_TYPE_PHYSICAL_EVENT),
    VALUE(QUALS, "44/-", "15:12", "11 guest-physical asynchronous", QUAL_APIC_TYPE_PHYSICAL_ASYNC),
    VALUE(QUALS, "44/-", "15:12", "15 guest-physical", QUAL_APIC_TYPE_PHYSICAL),
    VALUE(QUALS, "32/-", "63:0", "1 for WRMSRNS", QUAL_WRMSR_NS),
    VALUE(QUALS, "33/-", "63:0", "2 PDPTE loading", QUAL_ENTRY_FAIL_PDPTE),
    VALUE(QUALS, "33/-", "63:0", "3 NMI injected", QUAL_ENTRY_FAIL_NMI),
    VALUE(QUALS, "33/-", "63:0", "4 invalid VMCS link pointer", QUAL_ENTRY_FAIL_LINK_POINTER),
    VALUE(QUALS, "36/-", "63:0", "1 armed", QUAL_MWAIT_ARMED),
    VALUE(QUALS, "54/-", "63:0", "1 WBNOINVD", QUAL_WBINVD_WBNOINVD),
    TEXT_PART(MSRS, "IA32_LBR_CTL", "0", "22:16", LBR_CTL_FILTER),
    TEXT_BIT(MSRS, "IA32_LBR_CTL", "0", "OS 1", LBR_CTL_OS),
    TEXT_BIT(MSRS, "IA32_LBR_CTL", "0", "USR 2", LBR_CTL_USR),
    TEXT_BIT(MSRS, "IA32_LBR_CTL", "0", "call-stack 3", LBR_CTL_CALL_STACK),
    TEXT_PART(MSRS, "IA32_SMM_MONITOR_CTL", "0", "31:12", SMM_MONITOR_CTL_MSEG_BASE),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "8 PT", XSS_PT),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "10 PASID", XSS_PASID),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "11 CET_U", XSS_CET_U),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "12 CET_S", XSS_CET_S),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "13 HDC", XSS_HDC),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "14 UINTR", XSS_UINTR),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "15 LBR", XSS_LBR),
    TEXT_BIT(MSRS, "IA32_XSS", "63:0", "16 HWP", XSS_HWP),
    TEXT_BIT(MSRS, "IA32_SMM_MONITOR_CTL", "0", "2 SMI unblocking", SMM_MONITOR_CTL_SMI_UNBLOCKING),
};

#undef PART
#undef BIT
#undef NUMBER
#undef OFFSET
#undef VALUE
#undef TEXT_BIT
#undef TEXT_PART

// "44:32", "31", "N-1:12" (N is at most 52).
static void parse_bits(const char *text, unsigned *high, unsigned *low)
{
    char *end;

    if (starts(text, "N-1")) {
        *high = 51;
        end = NULL;
        text += 3;
    } else {
        *high = (unsigned)strtoul(text, &end, 10);
        text = end;
    }
    *low = *text == ':' ? (unsigned)strtoul(text + 1, NULL, 10) : *high;
}

static uint64_t mask_of(unsigned high, unsigned low)
{
    uint64_t mask = 0;
    unsigned i;

    for (i = low; i <= high && i < 64; i++) {
        mask |= (uint64_t)1 << i;
    }
    return mask;
}

static const char *layout_key(const table *t, layout_file file, size_t row, char *buffer,
                              size_t bytes)
{
    if (file == MSRS) {
        return cell(t, row, "name");
    }
    if (file == STRUCTS) {
        return cell(t, row, "structure");
    }
    snprintf(buffer, bytes, "%s/%s", cell(t, row, "exit_reason"), cell(t, row, "case"));
    return buffer;
}

// Rows that need no macro: reserved bits, and rows about the whole register or field.
static bool needs_no_macro(const char *bits, const char *meaning)
{
    return starts(meaning, "reserved") || starts(meaning, "undefined") || starts(meaning, "zero") ||
           starts(meaning, "always 0") || strcmp(meaning, "0") == 0 || strcmp(bits, "63:0") == 0;
}

static void check_layout(const layout *l, const char *meaning)
{
    unsigned high;
    unsigned low;
    const char *at;
    size_t length = strlen(l->text);

    if (l->kind == KIND_TEXT_PART) {
        parse_bits(l->text, &high, &low);
    } else {
        parse_bits(l->bits, &high, &low);
    }
    at = strstr(meaning, l->text);
    // "1 for WRMSRNS" must not be found inside "11 for WRMSRNS", nor "2 NMI" in "2 NMIs".
    while (at != NULL && length != 0 &&
           ((at != meaning && strchr(" :(,;.", at[-1]) == NULL) ||
            (at[length] >= '0' && at[length] <= '9'))) {
        at = strstr(at + 1, l->text);
    }
    if (at == NULL) {
        complain("%s: the fact \"%s\" says nothing of \"%s\"", l->name, meaning, l->text);
        return;
    }
    switch (l->kind) {
    case KIND_PART:
    case KIND_TEXT_PART:
        expect_number("shift", l->name, (uint64_t)l->shift, low);
        expect_number("mask", l->name, l->value, mask_of(high, low));
        break;
    case KIND_BIT:
        expect_number("mask", l->name, l->value, mask_of(high, low));
        if (high != low) {
            complain("%s: one bit is mapped to several", l->name);
        }
        break;
    case KIND_NUMBER:
        expect_number("value", l->name, l->value, low);
        break;
    case KIND_OFFSET:
        expect_number("bit position", l->name, l->value * 8, low);
        break;
    case KIND_VALUE:
        expect_number("value", l->name, l->value, strtoul(l->text, NULL, 10));
        break;
    case KIND_TEXT_BIT: {
        const char *digit = l->text[0] >= '0' && l->text[0] <= '9' ? l->text
                                                                   : strrchr(l->text, ' ') + 1;

        expect_number("mask", l->name, l->value, (uint64_t)1 << strtoul(digit, NULL, 10));
        break;
    }
    }
}

static void test_layouts(const char *folder, layout_file file)
{
    table *t = read_table(folder, layout_names[file]);
    bool used[COUNT(layouts)] = {false};
    size_t compared = 0;
    size_t without = 0;
    size_t i;
    size_t k;

    for (i = 0; i < t->rows; i++) {
        char buffer[120];
        const char *key = layout_key(t, file, i, buffer, sizeof(buffer));
        const char *bits = cell(t, i, "bits");
        const char *meaning = cell(t, i, "meaning");
        bool mapped = false;

        for (k = 0; k < COUNT(layouts); k++) {
            const layout *l = &layouts[k];

            if (l->file == file && strcmp(l->key, key) == 0 && strcmp(l->bits, bits) == 0) {
                check_layout(l, meaning);
                used[k] = true;
                mapped = mapped || (l->kind != KIND_VALUE && l->kind != KIND_TEXT_BIT &&
                                    l->kind != KIND_TEXT_PART);
            }
        }
        if (strcmp(bits, "7:0 per entry") == 0) {
            for (k = 0; k < 8; k++) {
                expect_number("shift", key, XVCPU_PAT_ENTRY_SHIFT(k), 8 * k);
                expect_number("mask", key, XVCPU_PAT_ENTRY_MASK(k), (uint64_t)0xFF << (8 * k));
            }
            mapped = true;
        }
        if (mapped) {
            compared++;
        } else if (needs_no_macro(bits, meaning)) {
            without++;
        } else {
            complain("%s %s (%s) has no macro", key, bits, meaning);
        }
    }
    for (k = 0; k < COUNT(layouts); k++) {
        if (layouts[k].file == file && !used[k]) {
            complain("%s: no row %s %s in %s", layouts[k].name, layouts[k].key, layouts[k].bits,
                     layout_names[file]);
        }
    }
    printf("# %s: %zu rows are reserved or whole registers\n", layout_names[file], without);
    finish(layout_names[file], compared);
    free_table(t);
}

// -- The header's text: macros that no table lists

// Everything that begins with these is described by the layout facts, ...
static const char *const covered[] = {
    "VMX_BASIC_", "VMX_CTLS_", "VMX_MISC_", "VMX_VMCS_ENUM_", "VMX_EPT_VPID_CAP_", "VMX_VMFUNC_",
    "VMX_ABORT_", "FEATURE_CONTROL_", "SMM_MONITOR_CTL_", "EFER_", "STAR_", "DEBUGCTL_",
    "SPEC_CTRL_", "CET_", "FRED_", "LBR_CTL_", "BNDCFGS_", "APIC_BASE_", "TME_ACTIVATE_", "XSS_",
    "EXIT_REASON_WORD_", "INTR_INFO_", "INTR_TYPE_", "INTR_OTHER_", "INTERRUPTIBILITY_",
    "ACTIVITY_", "PENDING_DBG_", "AR_", "EPTP_", "HLATP_", "VMCS_ENCODING_", "VMCS_TYPE_",
    "VMCS_WIDTH_", "MSR_AREA_", "INSTR_INFO_", "QUAL_",
};

// ... except these.
static const char *const uncovered[] = {
    "VMCS_ENCODING_LIMIT", // an enumerator, one more than the largest encoding
    "MSR_AREA_ENTRY_SIZE", // the sum of the parts
};

static bool is_layout_name(const char *name)
{
    size_t i;

    for (i = 0; i < COUNT(layouts); i++) {
        if (strcmp(layouts[i].name, name) == 0) {
            return true;
        }
    }
    for (i = 0; i < COUNT(uncovered); i++) {
        if (strcmp(uncovered[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool ends(const char *name, const char *with)
{
    size_t length = strlen(name);
    size_t end = strlen(with);

    return length > end && strcmp(name + length - end, with) == 0;
}

static bool cut_end(char *name, const char *end)
{
    if (!ends(name, end)) {
        return false;
    }
    name[strlen(name) - strlen(end)] = '\0';
    return true;
}

static void test_macros(const char *header_path)
{
    static const char define[] = "#define XVCPU_";
    char *header = read_file(header_path);
    char last_shift_name[128] = "";
    unsigned last_shift = 0;
    size_t compared = 0;
    size_t masks = 0;
    size_t msrs = 0;
    size_t ranges = 0;
    size_t controls = 0;
    size_t i;
    const char *line;

    for (line = header; line != NULL; line = strchr(line, '\n')) {
        char name[128];
        size_t length;
        const char *value;

        line += *line == '\n' ? 1 : 0;
        if (!starts(line, define)) {
            continue;
        }
        line += strlen(define);
        length = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        value = line + length;
        if (length >= sizeof(name) || *value == '(') {
            continue; // a macro with parameters
        }
        memcpy(name, line, length);
        name[length] = '\0';
        value += strspn(value, " ");

        // A part's _SHIFT is followed by its _MASK, and they agree.
        if (cut_end(name, "_SHIFT")) {
            snprintf(last_shift_name, sizeof(last_shift_name), "%s", name);
            last_shift = (unsigned)strtoul(value, NULL, 10);
        } else if (starts(value, "XVCPU_BITS64(") && cut_end(name, "_MASK")) {
            expect_text("_SHIFT before _MASK", name, last_shift_name, name);
            expect_number("_SHIFT and _MASK", name, last_shift,
                          strtoul(strchr(value, ',') + 1, NULL, 10));
            masks++;
        }
        for (i = 0; i < COUNT(covered); i++) {
            if (starts(name, covered[i])) {
                if (!is_layout_name(name)) {
                    complain("XVCPU_%s is in no fact", name);
                }
                compared++;
                break;
            }
        }
        if (starts(name, "MSR_") && !starts(name, "MSR_AREA_") && !starts(name, "MSR_BITMAP_")) {
            bool listed = ends(name, "_FIRST") || ends(name, "_LAST"); // a range, not an MSR

            for (i = 0; i < COUNT(msr_rows); i++) {
                listed = listed || strcmp(name + strlen("MSR_"), msr_rows[i].name) == 0;
            }
            if (!listed) {
                complain("XVCPU_%s is not in XVCPU_MSRS", name);
            }
            ranges += ends(name, "_FIRST") || ends(name, "_LAST") ? 1 : 0;
            msrs++;
        }
        if (starts(value, "XVCPU_BIT64(XVCPU_")) {
            bool listed = false;

            for (i = 0; i < COUNT(control_rows); i++) {
                listed = listed || strcmp(name, control_rows[i].name) == 0;
            }
            if (!listed) {
                complain("XVCPU_%s is not in XVCPU_CONTROLS", name);
            }
            controls++;
        }
    }
    expect_number("MSR macros", "header", msrs - ranges, COUNT(msr_rows));
    expect_number("control masks", "header", controls, COUNT(control_rows));
    printf("# %zu pairs of _SHIFT and _MASK, %zu MSR macros\n", masks, msrs);
    if (masks == 0) {
        complain("no pair of _SHIFT and _MASK found");
    }
    finish("macros of the header are in a fact", compared);
    free(header);
}

// -- Constants that the VMX facts do not mention

// "XVCPU_BIT64(7)" is "bit 7", "XVCPU_BITS64(51, 12)" is "51:12", "0x10U" is "0x10"; anything else
// is composed of other constants and gives false.
static bool value_text(const char *line, char *out, size_t bytes)
{
    unsigned high;
    unsigned low;
    char digits[32];

    if (sscanf(line, "XVCPU_BIT64(%u)", &low) == 1) {
        snprintf(out, bytes, "bit %u", low);
        return true;
    }
    if (sscanf(line, "XVCPU_BITS64(%u, %u)", &high, &low) == 2) {
        snprintf(out, bytes, "%u:%u", high, low);
        return true;
    }
    if (sscanf(line, "%31[0-9A-Fx]", digits) == 1) {
        snprintf(out, bytes, "%s", digits);
        return true;
    }
    return false;
}

static void test_other_constants(const char *folder, const char *header_path)
{
    static const char begin[] = "// -- Architecture constants\n";
    static const char define[] = "#define XVCPU_";
    table *t = read_table(folder, "other_constants.csv");
    table *msrs = read_table(folder, "vmx_msrs.csv");
    char *header = read_file(header_path);
    bool seen[MAX_ROWS] = {false};
    size_t compared = 0;
    size_t i;
    const char *line = strstr(header, begin);

    if (line == NULL) {
        complain("no section of constants in %s", header_path);
    } else {
        line += strlen(begin);
    }
    while (line != NULL && !starts(line, "// -- ")) {
        char name[128];
        char value[64];
        size_t length;
        bool elsewhere;

        if (starts(line, define)) {
            line += strlen(define);
            length = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
            snprintf(name, sizeof(name), "%.*s", (int)length, line);
            line += length;
            // Numbers of our own, and what other tests compare.
            elsewhere = *line != ' ' || ends(name, "_SHIFT") || starts(name, "REASON_") ||
                        starts(name, "SINCE_");
            for (i = 0; i < COUNT(covered); i++) {
                elsewhere = elsewhere || starts(name, covered[i]);
            }
            for (i = 0; i < msrs->rows; i++) {
                const char *msr = cell(msrs, i, "name");

                elsewhere =
                    elsewhere || (starts(name, "MSR_") && strcmp(name + strlen("MSR_"), msr) == 0);
            }
            if (!elsewhere && value_text(line + 1, value, sizeof(value))) {
                if (strchr(value, ':') != NULL) {
                    cut_end(name, "_MASK");
                }
                for (i = 0; i < t->rows; i++) {
                    if (strcmp(cell(t, i, "name"), name) == 0) {
                        expect_text("value", name, value, cell(t, i, "value"));
                        seen[i] = true;
                        compared++;
                        break;
                    }
                }
                if (i == t->rows) {
                    complain("XVCPU_%s is in no fact", name);
                }
            }
        }
        line = strchr(line, '\n');
        line += line != NULL ? 1 : 0;
    }
    for (i = 0; i < t->rows; i++) {
        if (!seen[i]) {
            complain("%s is missing in the header", cell(t, i, "name"));
        }
    }
    // The composed ones.
    expect_number("value", "DR6_FIXED_1", XVCPU_DR6_FIXED_1, 0xFFFF0FF0);
    expect_number("value", "PAT_RESET", XVCPU_PAT_RESET, 0x0007040600070406);
    for (i = 0; i < 10; i++) {
        expect_number("index", "MTRR_PHYSBASE", XVCPU_MSR_IA32_MTRR_PHYSBASE(i), 0x200 + 2 * i);
        expect_number("index", "MTRR_PHYSMASK", XVCPU_MSR_IA32_MTRR_PHYSMASK(i), 0x201 + 2 * i);
        expect_number("index", "MC_CTL", XVCPU_MSR_IA32_MC_CTL(i), 0x400 + 4 * i);
        expect_number("index", "MC_STATUS", XVCPU_MSR_IA32_MC_STATUS(i), 0x401 + 4 * i);
        expect_number("index", "MC_ADDR", XVCPU_MSR_IA32_MC_ADDR(i), 0x402 + 4 * i);
        expect_number("index", "MC_MISC", XVCPU_MSR_IA32_MC_MISC(i), 0x403 + 4 * i);
    }
    for (i = 0; i < 64; i++) {
        size_t low;

        for (low = 0; low <= i; low++) {
            expect_number("value", "BITS64", XVCPU_BITS64(i, low),
                          mask_of((unsigned)i, (unsigned)low));
        }
    }
    expect_number("value", "PART", XVCPU_PART(0xABCD5678U, INTR_INFO_VECTOR), 0x78);
    expect_number("value", "PART_OF", XVCPU_PART_OF(VMX_BASIC_REGION_SIZE, 0xFFFFF),
                  0x1FFF00000000);
    finish("other_constants.csv", compared);
    free(header);
    free_table(msrs);
    free_table(t);
}

// -- "since": packing and unpacking

static void test_since(void)
{
    uint32_t both = XVCPU_SINCE_DOUBTFUL | XVCPU_SINCE_EITHER(ENTRY, LOAD_PAT, EXIT, SAVE_PAT);
    uint32_t second = XVCPU_SINCE_SECOND(both);
    static const uint32_t sources[] = {
        XVCPU_SINCE_SOURCE_NEVER,  XVCPU_SINCE_SOURCE_ALWAYS,      XVCPU_SINCE_SOURCE_BASIC,
        XVCPU_SINCE_SOURCE_VMFUNC, XVCPU_SINCE_SOURCE_CR3_TARGETS, XVCPU_SINCE_SOURCE_FRED,
        XVCPU_SINCE_SOURCE_PIN,    XVCPU_SINCE_SOURCE_PROC1,       XVCPU_SINCE_SOURCE_PROC2,
        XVCPU_SINCE_SOURCE_PROC3,  XVCPU_SINCE_SOURCE_EXIT,        XVCPU_SINCE_SOURCE_EXIT2,
        XVCPU_SINCE_SOURCE_ENTRY,
    };
    size_t compared = 0;
    size_t i;

    expect_number("source", "first", XVCPU_SINCE_SOURCE(both), XVCPU_SINCE_SOURCE_ENTRY);
    expect_number("number", "first", XVCPU_SINCE_NUMBER(both), 14);
    expect_number("source", "second", XVCPU_SINCE_SOURCE(second), XVCPU_SINCE_SOURCE_EXIT);
    expect_number("number", "second", XVCPU_SINCE_NUMBER(second), 18);
    expect_number("size", "MSR-area entry", XVCPU_MSR_AREA_ENTRY_SIZE,
                  XVCPU_MSR_AREA_DATA_OFFSET + sizeof(uint64_t));
    expect_number("limit", "VM-instruction errors", XVCPU_VMX_ERROR_LIMIT,
                  error_rows[COUNT(error_rows) - 1].number + 1);
    for (i = 0; i < COUNT(sources); i++) {
        size_t k;

        for (k = 0; k < i; k++) {
            if (sources[i] == sources[k]) {
                complain("sources %zu and %zu are one number", i, k);
            }
        }
    }
    // "No second alternative" must read as NEVER, and every packed value must come out again.
    expect_number("value", "NEVER", XVCPU_SINCE_NEVER, 0);
    for (i = 0; i < COUNT(field_rows); i++) {
        uint32_t since = field_rows[i].since;
        uint32_t again = pack(XVCPU_SINCE_SOURCE(since), XVCPU_SINCE_NUMBER(since)) |
                         pack(XVCPU_SINCE_SOURCE(XVCPU_SINCE_SECOND(since)),
                              XVCPU_SINCE_NUMBER(XVCPU_SINCE_SECOND(since))) << 16;

        expect_number("packed", field_rows[i].name, again, since & ~XVCPU_SINCE_DOUBTFUL);
        compared++;
    }
    finish("since: packing", compared);
}

// -- Names for every input

static bool is_text(const char *s)
{
    size_t i;

    if (s == NULL || *s == '\0') {
        return false;
    }
    for (i = 0; s[i] != '\0'; i++) {
        if (s[i] < ' ' || s[i] > '~') {
            return false;
        }
    }
    return true;
}

static void test_every_input(void)
{
    size_t compared = 0;
    size_t known = 0;
    uint64_t i;

    for (i = 0; i < 0x30000; i++) {
        // Small numbers, large ones, and everything in between in steps that meet all low bits.
        uint32_t inputs[3];
        size_t k;

        inputs[0] = (uint32_t)i;
        inputs[1] = UINT32_MAX - (uint32_t)i;
        inputs[2] = (uint32_t)(i * 2654435761U);
        for (k = 0; k < 3; k++) {
            uint32_t n = inputs[k];
            const char *field = xvcpu_vmcs_field_name(n);

            if (!is_text(field) || !is_text(xvcpu_exit_reason_name(n)) ||
                !is_text(xvcpu_instruction_error_text(n)) ||
                !is_text(xvcpu_instruction_error_hint(n)) || !is_text(xvcpu_msr_name(n)) ||
                !is_text(xvcpu_exception_name(n)) ||
                !is_text(xvcpu_control_word_name((xvcpu_control_word)n)) ||
                !is_text(xvcpu_control_name((xvcpu_control_word)(n & 15), n)) ||
                !is_text(xvcpu_control_name((xvcpu_control_word)n, n & 63))) {
                complain("a name for 0x%x is no text", n);
            }
            if (k == 0 && strcmp(field, "unknown VMCS field") != 0) {
                known++;
            }
            if (n > 0xFFFF && strcmp(field, "unknown VMCS field") != 0) {
                complain("0x%x is %s", n, field);
            }
            if (n >= XVCPU_EXIT_REASON_COUNT &&
                (strcmp(xvcpu_exit_reason_name(n), "unknown exit reason") != 0 ||
                 XVCPU_REASON_LENGTH(xvcpui_exit_reason_flags(n)) != XVCPU_REASON_LENGTH_NEVER)) {
                complain("exit reason %u is known", n);
            }
            compared++;
        }
    }
    expect_number("known encodings", "header", known, COUNT(field_rows) + COUNT(high_rows));
    finish("names: every input has a text", compared);
}

// -- Exceptions

static void test_exceptions(void)
{
    // Mnemonics of vectors 0-21; those that push an error code are marked with a star. SDM
    // Volume 3A, "Protected-Mode Exceptions and Interrupts".
    static const char *const expected[] = {
        "#DE",  "#DB",  "NMI", "#BP", "#OF",  "#BR", "#UD", "#NM", "#DF*", "#9",  "#TS*",
        "#NP*", "#SS*", "#GP*", "#PF*", "#15", "#MF", "#AC*", "#MC", "#XM", "#VE", "#CP*",
    };
    static const uint32_t vectors[] = {
#define ROW(vector, name, mnemonic, text, error_code) (vector),
        XVCPU_EXCEPTIONS(ROW)
#undef ROW
    };
    size_t i;

    expect_number("rows", "exceptions", COUNT(vectors), COUNT(expected));
    for (i = 0; i < COUNT(vectors); i++) {
        expect_number("vector", xvcpu_exception_name((uint32_t)i), vectors[i], i);
    }
    for (i = 0; i < COUNT(expected); i++) {
        char name[8];
        bool error_code;

        snprintf(name, sizeof(name), "%s", expected[i]);
        error_code = cut_end(name, "*");
        expect_text("xvcpu_exception_name", expected[i], xvcpu_exception_name((uint32_t)i), name);
        expect_number("error code", name, XVCPU_EXCEPTION_ERROR_CODE_MASK >> i & 1, error_code);
    }
    expect_number("last", "exceptions", XVCPU_EXCEPTION_LAST, COUNT(expected) - 1);
    expect_text("name", "22", xvcpu_exception_name(22), "unknown exception");
    finish("exceptions", COUNT(expected));
}

// -- Second opinion: constants that other headers know as well

typedef struct opinion {
    const char *name;
    uint64_t ours;
    uint64_t theirs;
} opinion;

#define SAME(ours, theirs) {#ours, (uint64_t)XVCPU_##ours, (uint64_t)(theirs)}

static const opinion opinions[] = {
#ifdef X86_CR0_PE
    SAME(RFLAGS_CF, X86_EFLAGS_CF),
    SAME(RFLAGS_FIXED_1, X86_EFLAGS_FIXED),
    SAME(RFLAGS_PF, X86_EFLAGS_PF),
    SAME(RFLAGS_AF, X86_EFLAGS_AF),
    SAME(RFLAGS_ZF, X86_EFLAGS_ZF),
    SAME(RFLAGS_SF, X86_EFLAGS_SF),
    SAME(RFLAGS_TF, X86_EFLAGS_TF),
    SAME(RFLAGS_IF, X86_EFLAGS_IF),
    SAME(RFLAGS_DF, X86_EFLAGS_DF),
    SAME(RFLAGS_OF, X86_EFLAGS_OF),
    SAME(RFLAGS_IOPL_MASK, X86_EFLAGS_IOPL),
    SAME(RFLAGS_NT, X86_EFLAGS_NT),
    SAME(RFLAGS_RF, X86_EFLAGS_RF),
    SAME(RFLAGS_VM, X86_EFLAGS_VM),
    SAME(RFLAGS_AC, X86_EFLAGS_AC),
    SAME(RFLAGS_VIF, X86_EFLAGS_VIF),
    SAME(RFLAGS_VIP, X86_EFLAGS_VIP),
    SAME(RFLAGS_ID, X86_EFLAGS_ID),
    SAME(CR0_PE, X86_CR0_PE),
    SAME(CR0_MP, X86_CR0_MP),
    SAME(CR0_EM, X86_CR0_EM),
    SAME(CR0_TS, X86_CR0_TS),
    SAME(CR0_ET, X86_CR0_ET),
    SAME(CR0_NE, X86_CR0_NE),
    SAME(CR0_WP, X86_CR0_WP),
    SAME(CR0_AM, X86_CR0_AM),
    SAME(CR0_NW, X86_CR0_NW),
    SAME(CR0_CD, X86_CR0_CD),
    SAME(CR0_PG, X86_CR0_PG),
    SAME(CR3_PWT, X86_CR3_PWT),
    SAME(CR3_PCD, X86_CR3_PCD),
    SAME(CR3_PCID_MASK, X86_CR3_PCID_MASK),
    SAME(CR4_VME, X86_CR4_VME),
    SAME(CR4_PVI, X86_CR4_PVI),
    SAME(CR4_TSD, X86_CR4_TSD),
    SAME(CR4_DE, X86_CR4_DE),
    SAME(CR4_PSE, X86_CR4_PSE),
    SAME(CR4_PAE, X86_CR4_PAE),
    SAME(CR4_MCE, X86_CR4_MCE),
    SAME(CR4_PGE, X86_CR4_PGE),
    SAME(CR4_PCE, X86_CR4_PCE),
    SAME(CR4_OSFXSR, X86_CR4_OSFXSR),
    SAME(CR4_OSXMMEXCPT, X86_CR4_OSXMMEXCPT),
    SAME(CR4_UMIP, X86_CR4_UMIP),
    SAME(CR4_LA57, X86_CR4_LA57),
    SAME(CR4_VMXE, X86_CR4_VMXE),
    SAME(CR4_SMXE, X86_CR4_SMXE),
    SAME(CR4_FSGSBASE, X86_CR4_FSGSBASE),
    SAME(CR4_PCIDE, X86_CR4_PCIDE),
    SAME(CR4_OSXSAVE, X86_CR4_OSXSAVE),
    SAME(CR4_SMEP, X86_CR4_SMEP),
    SAME(CR4_SMAP, X86_CR4_SMAP),
    SAME(CR4_PKE, X86_CR4_PKE),
#ifdef X86_CR4_CET
    SAME(CR4_CET, X86_CR4_CET),
#endif
#endif
#ifdef EXIT_REASON_NOTIFY
    SAME(EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_EXCEPTION_NMI),
    SAME(EXIT_REASON_EXTERNAL_INTERRUPT, EXIT_REASON_EXTERNAL_INTERRUPT),
    SAME(EXIT_REASON_TRIPLE_FAULT, EXIT_REASON_TRIPLE_FAULT),
    SAME(EXIT_REASON_INIT, EXIT_REASON_INIT_SIGNAL),
    SAME(EXIT_REASON_SIPI, EXIT_REASON_SIPI_SIGNAL),
    SAME(EXIT_REASON_INTERRUPT_WINDOW, EXIT_REASON_INTERRUPT_WINDOW),
    SAME(EXIT_REASON_NMI_WINDOW, EXIT_REASON_NMI_WINDOW),
    SAME(EXIT_REASON_TASK_SWITCH, EXIT_REASON_TASK_SWITCH),
    SAME(EXIT_REASON_CPUID, EXIT_REASON_CPUID),
    SAME(EXIT_REASON_HLT, EXIT_REASON_HLT),
    SAME(EXIT_REASON_INVD, EXIT_REASON_INVD),
    SAME(EXIT_REASON_INVLPG, EXIT_REASON_INVLPG),
    SAME(EXIT_REASON_RDPMC, EXIT_REASON_RDPMC),
    SAME(EXIT_REASON_RDTSC, EXIT_REASON_RDTSC),
    SAME(EXIT_REASON_VMCALL, EXIT_REASON_VMCALL),
    SAME(EXIT_REASON_VMCLEAR, EXIT_REASON_VMCLEAR),
    SAME(EXIT_REASON_VMLAUNCH, EXIT_REASON_VMLAUNCH),
    SAME(EXIT_REASON_VMPTRLD, EXIT_REASON_VMPTRLD),
    SAME(EXIT_REASON_VMPTRST, EXIT_REASON_VMPTRST),
    SAME(EXIT_REASON_VMREAD, EXIT_REASON_VMREAD),
    SAME(EXIT_REASON_VMRESUME, EXIT_REASON_VMRESUME),
    SAME(EXIT_REASON_VMWRITE, EXIT_REASON_VMWRITE),
    SAME(EXIT_REASON_VMXOFF, EXIT_REASON_VMOFF),
    SAME(EXIT_REASON_VMXON, EXIT_REASON_VMON),
    SAME(EXIT_REASON_CR_ACCESS, EXIT_REASON_CR_ACCESS),
    SAME(EXIT_REASON_MOV_DR, EXIT_REASON_DR_ACCESS),
    SAME(EXIT_REASON_IO_INSTRUCTION, EXIT_REASON_IO_INSTRUCTION),
    SAME(EXIT_REASON_RDMSR, EXIT_REASON_MSR_READ),
    SAME(EXIT_REASON_WRMSR, EXIT_REASON_MSR_WRITE),
    SAME(EXIT_REASON_ENTRY_FAIL_GUEST_STATE, EXIT_REASON_INVALID_STATE),
    SAME(EXIT_REASON_ENTRY_FAIL_MSR_LOAD, EXIT_REASON_MSR_LOAD_FAIL),
    SAME(EXIT_REASON_MWAIT, EXIT_REASON_MWAIT_INSTRUCTION),
    SAME(EXIT_REASON_MONITOR_TRAP_FLAG, EXIT_REASON_MONITOR_TRAP_FLAG),
    SAME(EXIT_REASON_MONITOR, EXIT_REASON_MONITOR_INSTRUCTION),
    SAME(EXIT_REASON_PAUSE, EXIT_REASON_PAUSE_INSTRUCTION),
    SAME(EXIT_REASON_ENTRY_FAIL_MACHINE_CHECK, EXIT_REASON_MCE_DURING_VMENTRY),
    SAME(EXIT_REASON_TPR_BELOW_THRESHOLD, EXIT_REASON_TPR_BELOW_THRESHOLD),
    SAME(EXIT_REASON_APIC_ACCESS, EXIT_REASON_APIC_ACCESS),
    SAME(EXIT_REASON_VIRTUALIZED_EOI, EXIT_REASON_EOI_INDUCED),
    SAME(EXIT_REASON_GDTR_IDTR_ACCESS, EXIT_REASON_GDTR_IDTR),
    SAME(EXIT_REASON_LDTR_TR_ACCESS, EXIT_REASON_LDTR_TR),
    SAME(EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EPT_VIOLATION),
    SAME(EXIT_REASON_EPT_MISCONFIG, EXIT_REASON_EPT_MISCONFIG),
    SAME(EXIT_REASON_INVEPT, EXIT_REASON_INVEPT),
    SAME(EXIT_REASON_RDTSCP, EXIT_REASON_RDTSCP),
    SAME(EXIT_REASON_PREEMPTION_TIMER, EXIT_REASON_PREEMPTION_TIMER),
    SAME(EXIT_REASON_INVVPID, EXIT_REASON_INVVPID),
    SAME(EXIT_REASON_WBINVD, EXIT_REASON_WBINVD),
    SAME(EXIT_REASON_XSETBV, EXIT_REASON_XSETBV),
    SAME(EXIT_REASON_APIC_WRITE, EXIT_REASON_APIC_WRITE),
    SAME(EXIT_REASON_RDRAND, EXIT_REASON_RDRAND),
    SAME(EXIT_REASON_INVPCID, EXIT_REASON_INVPCID),
    SAME(EXIT_REASON_VMFUNC, EXIT_REASON_VMFUNC),
    SAME(EXIT_REASON_ENCLS, EXIT_REASON_ENCLS),
    SAME(EXIT_REASON_RDSEED, EXIT_REASON_RDSEED),
    SAME(EXIT_REASON_PML_FULL, EXIT_REASON_PML_FULL),
    SAME(EXIT_REASON_XSAVES, EXIT_REASON_XSAVES),
    SAME(EXIT_REASON_XRSTORS, EXIT_REASON_XRSTORS),
    SAME(EXIT_REASON_UMWAIT, EXIT_REASON_UMWAIT),
    SAME(EXIT_REASON_TPAUSE, EXIT_REASON_TPAUSE),
    SAME(EXIT_REASON_BUS_LOCK, EXIT_REASON_BUS_LOCK),
    SAME(EXIT_REASON_INSTRUCTION_TIMEOUT, EXIT_REASON_NOTIFY),
    SAME(EXIT_REASON_WORD_ENTRY_FAILURE, VMX_EXIT_REASONS_FAILED_VMENTRY),
#endif
#if !defined(__clang__)
    SAME(CPUID_1_ECX_SSE3, bit_SSE3),
    SAME(CPUID_1_ECX_PCLMULQDQ, bit_PCLMUL),
    SAME(CPUID_1_ECX_SSSE3, bit_SSSE3),
    SAME(CPUID_1_ECX_FMA, bit_FMA),
    SAME(CPUID_1_ECX_CMPXCHG16B, bit_CMPXCHG16B),
    SAME(CPUID_1_ECX_SSE4_1, bit_SSE4_1),
    SAME(CPUID_1_ECX_SSE4_2, bit_SSE4_2),
    SAME(CPUID_1_ECX_MOVBE, bit_MOVBE),
    SAME(CPUID_1_ECX_POPCNT, bit_POPCNT),
    SAME(CPUID_1_ECX_AES, bit_AES),
    SAME(CPUID_1_ECX_XSAVE, bit_XSAVE),
    SAME(CPUID_1_ECX_OSXSAVE, bit_OSXSAVE),
    SAME(CPUID_1_ECX_AVX, bit_AVX),
    SAME(CPUID_1_ECX_F16C, bit_F16C),
    SAME(CPUID_1_ECX_RDRAND, bit_RDRND),
    SAME(CPUID_1_EDX_CX8, bit_CMPXCHG8B),
    SAME(CPUID_1_EDX_CMOV, bit_CMOV),
    SAME(CPUID_1_EDX_MMX, bit_MMX),
    SAME(CPUID_1_EDX_FXSR, bit_FXSAVE),
    SAME(CPUID_1_EDX_SSE, bit_SSE),
    SAME(CPUID_1_EDX_SSE2, bit_SSE2),
    SAME(CPUID_7_EBX_FSGSBASE, bit_FSGSBASE),
    SAME(CPUID_7_EBX_SGX, bit_SGX),
    SAME(CPUID_7_EBX_BMI1, bit_BMI),
    SAME(CPUID_7_EBX_HLE, bit_HLE),
    SAME(CPUID_7_EBX_AVX2, bit_AVX2),
    SAME(CPUID_7_EBX_BMI2, bit_BMI2),
    SAME(CPUID_7_EBX_RTM, bit_RTM),
    SAME(CPUID_7_EBX_AVX512F, bit_AVX512F),
    SAME(CPUID_7_EBX_RDSEED, bit_RDSEED),
    SAME(CPUID_7_EBX_ADX, bit_ADX),
    SAME(CPUID_7_EBX_CLFLUSHOPT, bit_CLFLUSHOPT),
    SAME(CPUID_7_EBX_CLWB, bit_CLWB),
    SAME(CPUID_7_EBX_SHA, bit_SHA),
    SAME(CPUID_7_ECX_PKU, bit_PKU),
    SAME(CPUID_7_ECX_OSPKE, bit_OSPKE),
    SAME(CPUID_7_ECX_WAITPKG, bit_WAITPKG),
    SAME(CPUID_7_ECX_CET_SS, bit_SHSTK),
    SAME(CPUID_7_ECX_RDPID, bit_RDPID),
    SAME(CPUID_7_ECX_KEY_LOCKER, bit_KL),
    SAME(CPUID_7_ECX_CLDEMOTE, bit_CLDEMOTE),
    SAME(CPUID_7_ECX_MOVDIRI, bit_MOVDIRI),
    SAME(CPUID_7_ECX_MOVDIR64B, bit_MOVDIR64B),
    SAME(CPUID_7_ECX_ENQCMD, bit_ENQCMD),
    SAME(CPUID_7_EDX_UINTR, bit_UINTR),
    SAME(CPUID_7_EDX_SERIALIZE, bit_SERIALIZE),
    SAME(CPUID_7_EDX_TSXLDTRK, bit_TSXLDTRK),
    SAME(CPUID_7_EDX_PCONFIG, bit_PCONFIG),
    SAME(CPUID_7_EDX_CET_IBT, bit_IBT),
    SAME(CPUID_7_EDX_AMX_BF16, bit_AMX_BF16),
    SAME(CPUID_7_EDX_AMX_TILE, bit_AMX_TILE),
    SAME(CPUID_7_EDX_AMX_INT8, bit_AMX_INT8),
    SAME(CPUID_D_1_EAX_XSAVEOPT, bit_XSAVEOPT),
    SAME(CPUID_D_1_EAX_XSAVEC, bit_XSAVEC),
    SAME(CPUID_D_1_EAX_XSAVES, bit_XSAVES),
    SAME(CPUID_EXT_1_ECX_LAHF, bit_LAHF_LM),
    SAME(CPUID_EXT_1_ECX_LZCNT, bit_LZCNT),
    SAME(CPUID_EXT_1_ECX_PREFETCHW, bit_PRFCHW),
    SAME(CPUID_EXT_1_EDX_LM, bit_LM),
#endif
    // Without any of these headers there is still one.
    SAME(CPUID_LEAF_EXTENDED, 0x80000000U),
};

#undef SAME

static void test_opinions(void)
{
    size_t i;

    for (i = 0; i < COUNT(opinions); i++) {
        expect_number("value", opinions[i].name, opinions[i].ours, opinions[i].theirs);
    }
    finish("second opinion of other headers", COUNT(opinions));
}

// Where the facts are if nobody says: the test is started in the project's folder or in its own.
static const char *find(const char *const *candidates, size_t count, const char *file)
{
    size_t i;

    for (i = 0; i < count; i++) {
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s%s", candidates[i], file);
        f = fopen(path, "rb");
        if (f != NULL) {
            fclose(f);
            return candidates[i];
        }
    }
    return candidates[0];
}

int main(int argc, char **argv)
{
    static const char *const folders[] = {"tests/facts", "../facts", "../../tests/facts"};
    static const char *const roots[] = {"", "../../"};
    const char *folder = argc > 1 ? argv[1] : find(folders, COUNT(folders), "/vmcs_fields.csv");
    char header[4096];
    unsigned i;

    if (argc > 2) {
        snprintf(header, sizeof(header), "%s", argv[2]);
    } else {
        snprintf(header, sizeof(header), "%sxvcpu.h", find(roots, COUNT(roots), "xvcpu.h"));
    }
    test_fields(folder);
    test_controls(folder);
    test_control_words(folder);
    test_reasons(folder);
    test_errors(folder);
    test_msrs(folder);
    for (i = 0; i < LAYOUT_FILES; i++) {
        test_layouts(folder, (layout_file)i);
    }
    test_macros(header);
    test_other_constants(folder, header);
    test_since();
    test_exceptions();
    test_opinions();
    test_every_input();
    printf("1..%u\n", tap_number);
    return tap_failures == 0 ? 0 : 1;
}
