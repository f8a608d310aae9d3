/* JSON objects to Arrow columns, without the interpreter.
 *
 * Called through ctypes by parse_native.py, which lets go of the GIL for the length of each call. reader.py has the same
 * from Arrow's own JSON reader, for installations without a compiler, and for every batch that is refused here: a value
 * that is not of its column's type, half a surrogate pair, a key that comes twice. What is taken here is taken exactly.
 *
 *     sl_records_parse   objects one after the other -> columns, NULL when the batch is refused
 *     sl_records_column  where one column's buffers lie; they live until sl_records_free
 *
 * The text is UTF-8 and its nested values are JSON: both are known from before. RFC 8259.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)

enum { TEXT = 0, INTEGER = 1, NUMBER = 2, BOOLEAN = 3, NESTED = 4 };

typedef struct {
    const char *name;
    int64_t length;
    int kind;
    int64_t nulls;
    int64_t last;    /* the row that had it last */
    uint8_t *valid;  /* bitmap */
    void *values;    /* int64, double, or bitmap */
    int32_t *ends;   /* of text: offsets */
    char *data;
    int64_t used, room;
} Column;

typedef struct {
    int32_t count;
    int64_t rows;
    char *names, *key;
    int64_t key_used, key_room;
    Column columns[];
} Records;

typedef struct {
    const char *at, *end;
} Text;

/* So that a library compiled from another version of this file is not used. */
EXPORT int32_t sl_records_layout(void) { return 1; }

EXPORT void sl_records_free(Records *r) {
    if (r == NULL) return;
    for (int32_t i = 0; i < r->count; i++) {
        free(r->columns[i].valid);
        free(r->columns[i].values);
        free(r->columns[i].ends);
        free(r->columns[i].data);
    }
    free(r->names);
    free(r->key);
    free(r);
}

static int reserve(char **data, int64_t used, int64_t *room, int64_t more) {
    if (LIKELY(used + more <= *room)) return 1;
    int64_t wanted = *room * 2 > used + more ? *room * 2 : used + more + 4096;
    char *grown = realloc(*data, (size_t)wanted);
    if (grown == NULL) return 0;
    *data = grown;
    *room = wanted;
    return 1;
}

static inline void skip_space(Text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\r' || *t->at == '\t')) t->at++;
}

static int hex4(const char *at, uint32_t *out) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15) return 0;
        value = value << 4 | digit;
    }
    *out = value;
    return 1;
}

static int put_code(uint32_t code, char *to) {
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 63));
        to[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 63));
    to[2] = (char)(0x80 | (code >> 6 & 63));
    to[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* Bytes at which plain text ends: a quote, a backslash, a control character. */
static inline const char *plain_end(const char *at, const char *end) {
    while (end - at >= 8) {
        uint64_t w, quote, slash, low;
        memcpy(&w, at, 8);
        quote = w ^ 0x2222222222222222u;
        slash = w ^ 0x5C5C5C5C5C5C5C5Cu;
        low = (w - 0x2020202020202020u) & ~w;
        quote = (quote - 0x0101010101010101u) & ~quote;
        slash = (slash - 0x0101010101010101u) & ~slash;
        if ((low | quote | slash) & 0x8080808080808080u) break;
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++;
    return at;
}

/* After the opening quote: the text without its escapes is added to `data`. */
static int take_text(Text *t, char **data, int64_t *used, int64_t *room) {
    for (;;) {
        const char *stop = plain_end(t->at, t->end);
        int64_t length = stop - t->at;
        if (!reserve(data, *used, room, length + 4)) return 0;
        memcpy(*data + *used, t->at, (size_t)length);
        *used += length;
        t->at = stop;
        if (t->at >= t->end) return 0;
        if (*t->at == '"') {
            t->at++;
            return 1;
        }
        if (*t->at != '\\' || t->end - t->at < 2) return 0;
        char c = t->at[1], plain;
        t->at += 2;
        switch (c) {
            case '"': case '\\': case '/': plain = c; break;
            case 'b': plain = '\b'; break;
            case 'f': plain = '\f'; break;
            case 'n': plain = '\n'; break;
            case 'r': plain = '\r'; break;
            case 't': plain = '\t'; break;
            case 'u': {
                uint32_t code, second;
                if (t->end - t->at < 4 || !hex4(t->at, &code)) return 0;
                t->at += 4;
                if (code >= 0xD800 && code <= 0xDFFF) {
                    if (code > 0xDBFF || t->end - t->at < 6 || t->at[0] != '\\' || t->at[1] != 'u') return 0;
                    if (!hex4(t->at + 2, &second) || second < 0xDC00 || second > 0xDFFF) return 0;
                    t->at += 6;
                    code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
                }
                *used += put_code(code, *data + *used);
                continue;
            }
            default: return 0;
        }
        (*data)[(*used)++] = plain;
    }
}

/* After the opening quote, to behind the closing one. */
static int skip_text(Text *t) {
    for (;;) {
        t->at = plain_end(t->at, t->end);
        if (t->at >= t->end) return 0;
        if (*t->at == '"') {
            t->at++;
            return 1;
        }
        if (*t->at != '\\' || t->end - t->at < 2) return 0;
        t->at += 2;
    }
}

static int skip_value(Text *t) {
    int64_t depth = 0;
    if (t->at >= t->end) return 0;
    if (*t->at != '{' && *t->at != '[' && *t->at != '"') {
        const char *from = t->at;
        while (t->at < t->end && !strchr(",]} \n\r\t", *t->at)) t->at++;
        return t->at > from;
    }
    while (t->at < t->end) {
        char c = *t->at++;
        if (c == '"') {
            if (!skip_text(t)) return 0;
        } else if (c == '{' || c == '[') {
            depth++;
            continue;
        } else if (c == '}' || c == ']') {
            depth--;
        } else {
            continue;
        }
        if (depth == 0) return 1;
    }
    return 0;
}

static int word(Text *t, const char *what, int64_t length) {
    if (t->end - t->at < length || memcmp(t->at, what, (size_t)length) != 0) return 0;
    t->at += length;
    return 1;
}

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static int is_digit(const Text *t) { return t->at < t->end && *t->at >= '0' && *t->at <= '9'; }

static int take_integer(Text *t, int64_t *out) {
    int negative = *t->at == '-';
    t->at += negative;
    if (!is_digit(t)) return 0;
    const char *from = t->at;
    uint64_t value = 0;
    while (is_digit(t)) value = value * 10 + (uint64_t)(*t->at++ - '0');
    int64_t digits = t->at - from;
    if (digits > 18 || (*from == '0' && digits > 1)) return 0; /* nineteen digits may not fit: rare, and refused */
    if (t->at < t->end && (*t->at == '.' || *t->at == 'e' || *t->at == 'E')) return 0;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return 1;
}

static int take_number(Text *t, locale_t plain, double *out) {
    const char *from = t->at;
    int negative = *t->at == '-';
    t->at += negative;
    if (!is_digit(t)) return 0;
    if (*t->at == '0' && t->end - t->at > 1 && t->at[1] >= '0' && t->at[1] <= '9') return 0;
    uint64_t value = 0;
    int digits = 0, scale = 0, exponent = 0;
    for (; is_digit(t); digits++) value = value * 10 + (uint64_t)(*t->at++ - '0');
    if (t->at < t->end && *t->at == '.') {
        t->at++;
        if (!is_digit(t)) return 0;
        for (; is_digit(t); digits++, scale++) value = value * 10 + (uint64_t)(*t->at++ - '0');
    }
    if (t->at < t->end && (*t->at == 'e' || *t->at == 'E')) {
        t->at++;
        int minus = t->at < t->end && *t->at == '-';
        if (t->at < t->end && (*t->at == '-' || *t->at == '+')) t->at++;
        if (!is_digit(t)) return 0;
        for (; is_digit(t); t->at++) {
            if (exponent < 100000) exponent = exponent * 10 + (*t->at - '0');
        }
        if (minus) exponent = -exponent;
    }
    exponent -= scale;
    if (digits <= 15 && exponent >= -22 && exponent <= 22) { /* both exact, so one rounding (Clinger) */
        double exact = (double)value;
        exact = exponent < 0 ? exact / TENS[-exponent] : exact * TENS[exponent];
        *out = negative ? -exact : exact;
        return 1;
    }
    char buffer[512];
    int64_t length = t->at - from;
    if (length >= (int64_t)sizeof buffer) return 0;
    memcpy(buffer, from, (size_t)length);
    buffer[length] = 0;
    *out = strtod_l(buffer, NULL, plain);
    return isfinite(*out);
}

static int take_value(Text *t, Column *c, int64_t row, locale_t plain) {
    if (t->at >= t->end) return 0;
    if (*t->at == 'n') return word(t, "null", 4);
    switch (c->kind) {
        case TEXT:
            if (*t->at++ != '"' || !take_text(t, &c->data, &c->used, &c->room)) return 0;
            break;
        case INTEGER:
            if (!take_integer(t, (int64_t *)c->values + row)) return 0;
            break;
        case NUMBER:
            if (!take_number(t, plain, (double *)c->values + row)) return 0;
            break;
        case BOOLEAN:
            if (*t->at == 't') {
                if (!word(t, "true", 4)) return 0;
                ((uint8_t *)c->values)[row >> 3] |= (uint8_t)(1 << (row & 7));
            } else if (!word(t, "false", 5)) {
                return 0;
            }
            break;
        default: {
            const char *from = t->at;
            if (!skip_value(t)) return 0;
            int64_t length = t->at - from;
            if (!reserve(&c->data, c->used, &c->room, length)) return 0;
            memcpy(c->data + c->used, from, (size_t)length);
            c->used += length;
        }
    }
    c->valid[row >> 3] |= (uint8_t)(1 << (row & 7));
    c->nulls--;
    return 1;
}

/* The column of a key; keys mostly come in the columns' order. -1: none of ours. */
static int32_t find(const Records *r, const char *key, int64_t length, int32_t hint) {
    for (int32_t n = 0, i = hint; n < r->count; n++, i++) {
        if (i >= r->count) i = 0;
        if (r->columns[i].length == length && memcmp(r->columns[i].name, key, (size_t)length) == 0) return i;
    }
    return -1;
}

static int take_object(Text *t, Records *r, int64_t row, locale_t plain) {
    int32_t hint = 0;
    skip_space(t);
    if (t->at >= t->end || *t->at++ != '{') return 0;
    skip_space(t);
    if (t->at < t->end && *t->at == '}') {
        t->at++;
        return 1;
    }
    for (;;) {
        skip_space(t);
        if (t->at >= t->end || *t->at++ != '"') return 0;
        const char *key = t->at, *stop = plain_end(t->at, t->end);
        int64_t length = stop - key;
        if (stop < t->end && *stop == '"') {
            t->at = stop + 1;
        } else { /* a key with escapes */
            r->key_used = 0;
            if (!take_text(t, &r->key, &r->key_used, &r->key_room)) return 0;
            key = r->key;
            length = r->key_used;
        }
        skip_space(t);
        if (t->at >= t->end || *t->at++ != ':') return 0;
        skip_space(t);
        int32_t i = find(r, key, length, hint);
        if (i < 0) {
            if (!skip_value(t)) return 0;
        } else {
            if (r->columns[i].last == row) return 0;
            r->columns[i].last = row;
            if (!take_value(t, &r->columns[i], row, plain)) return 0;
            hint = i + 1;
        }
        skip_space(t);
        if (t->at >= t->end) return 0;
        char c = *t->at++;
        if (c == '}') return 1;
        if (c != ',') return 0;
    }
}

static int prepare(Records *r, int64_t length) {
    for (int32_t i = 0; i < r->count; i++) {
        Column *c = r->columns + i;
        size_t bits = (size_t)(r->rows / 8 + 1);
        c->last = -1;
        c->nulls = r->rows;
        if ((c->valid = calloc(bits, 1)) == NULL) return 0;
        if (c->kind == TEXT || c->kind == NESTED) {
            c->room = length / r->count + 64;
            c->ends = malloc(((size_t)r->rows + 1) * 4);
            c->data = malloc((size_t)c->room);
            if (c->ends == NULL || c->data == NULL) return 0;
            c->ends[0] = 0;
        } else if ((c->values = calloc(c->kind == BOOLEAN ? bits : (size_t)r->rows + 1, c->kind == BOOLEAN ? 1 : 8)) ==
                   NULL) {
            return 0;
        }
    }
    return 1;
}

/* `names` are the columns' names one after the other, `ends` where each ends. */
EXPORT Records *sl_records_parse(const char *text, int64_t length, int64_t rows, int32_t count, const char *names,
                                 const int32_t *ends, const uint8_t *kinds) {
    if (length >= INT32_MAX || count < 1) return NULL; /* offsets are of 32 bits */
    Records *r = calloc(1, sizeof(Records) + (size_t)count * sizeof(Column));
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (r == NULL || plain == (locale_t)0) goto refused;
    r->count = count;
    r->rows = rows;
    if ((r->names = malloc((size_t)ends[count - 1] + 1)) == NULL) goto refused;
    memcpy(r->names, names, (size_t)ends[count - 1]);
    for (int32_t i = 0; i < count; i++) {
        int32_t from = i ? ends[i - 1] : 0;
        r->columns[i].name = r->names + from;
        r->columns[i].length = ends[i] - from;
        r->columns[i].kind = kinds[i];
    }
    if (!prepare(r, length)) goto refused;
    Text t = {text, text + length};
    for (int64_t row = 0; row < rows; row++) {
        if (!take_object(&t, r, row, plain)) goto refused;
        for (int32_t i = 0; i < count; i++) {
            Column *c = r->columns + i;
            if (c->ends != NULL) c->ends[row + 1] = (int32_t)c->used;
        }
    }
    skip_space(&t);
    if (t.at != t.end) goto refused;
    freelocale(plain);
    return r;
refused:
    if (plain != (locale_t)0) freelocale(plain);
    sl_records_free(r);
    return NULL;
}

/* out: validity, number of NULLs, values or offsets, text, its length */
EXPORT void sl_records_column(const Records *r, int32_t i, int64_t *out) {
    const Column *c = r->columns + i;
    out[0] = (int64_t)(intptr_t)c->valid;
    out[1] = c->nulls;
    out[2] = (int64_t)(intptr_t)(c->ends != NULL ? (void *)c->ends : c->values);
    out[3] = (int64_t)(intptr_t)c->data;
    out[4] = c->used;
}

static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_parse", "Reads records; called through ctypes.", 0, NULL, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__parse(void) { return PyModuleDef_Init(&module); }
