/* COPY ... TO STDOUT (FORMAT binary) into Arrow buffers, without the interpreter.
 *
 * Called through ctypes by decode_native.py, which lets go of the GIL for the length of each call; nothing here touches
 * a Python object except the empty module at the end, which exists so that the build and the import machinery treat
 * this file as any extension.
 *
 *     sl_decoder_open     columns -> a handle
 *     sl_decoder_read     messages of libpq -> column buffers, until the batch is full, the stream ends or none comes
 *     sl_decoder_feed     the same for one message that the caller holds (tests)
 *     sl_decoder_misfits  the cells of the batch that its Arrow types cannot hold, with their bytes
 *     sl_decoder_take     the batch, through the Arrow C data interface; its buffers then belong to the taker
 *     sl_decoder_close
 *     sl_relay_read       messages of libpq -> the caller's buffer, undecoded
 *     sl_relay_close
 *
 * libpq's functions come as pointers from the copy of libpq that made the connection, so TLS and GSS work alike.
 *
 * Formats, in Postgres' src/backend: commands/copyto.c (file header, rows, trailer), utils/adt/{bool,int,int8,float,
 * numeric,varlena,jsonb,date,timestamp,uuid,arrayfuncs}.c (the *_send functions; *_recv says what is legal). All
 * integers are big-endian. Every length is checked against its message: what does not fit is an error, never a guess.
 *
 * Needs gcc or clang (128-bit integers), poll(2) and a little-endian machine; elsewhere the build fails and the Python
 * version in copy_fallback.py serves.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "little-endian machines only; the Python version serves the others"
#endif

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef unsigned __int128 u128;

/* ---- the Arrow C data interface ------------------------------------------------------------------------------ */

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

/* ---- the plan: keep in step with decode_native.py -------------------------------------------------------------- */

enum op {
    OP_BOOL, OP_INT2, OP_INT4, OP_INT8, OP_OID4, OP_OID8, OP_FLOAT4, OP_FLOAT8, OP_DECIMAL128, OP_DECIMAL256,
    OP_NUMERIC_TEXT, OP_TEXT, OP_JSONB, OP_BYTEA, OP_DATE, OP_TIME, OP_TIMESTAMP, OP_UUID, OP_COUNT
};

/* Bytes of one value in Arrow; 0: variable, -1: bits. */
static const int8_t WIDTHS[OP_COUNT] = {-1, 2, 4, 8, 4, 8, 4, 8, 16, 32, 0, 0, 0, 0, 4, 8, 8, 0};
/* Bytes of one value on the wire; 0: variable. */
static const int8_t WIRE[OP_COUNT] = {1, 2, 4, 8, 4, 4, 4, 8, 0, 0, 0, 0, 0, 0, 4, 8, 8, 16};

struct spec {
    int32_t op, depth, precision, scale;
};

struct libpq {
    int (*get_copy_data)(void *conn, char **buffer, int async);
    int (*consume_input)(void *conn);
    int (*socket)(const void *conn);
    void (*freemem)(void *);
};

/* Why a cell is not in the batch. */
enum reason {
    FITS, R_INFINITE, R_RANGE, R_NAN, R_PRECISION, R_SCALE, R_END_OF_DAY, R_DIMENSIONS, R_LOWER_BOUND, R_UTF8
};

/* What a decoding function says besides FITS and a reason. */
enum { MALFORMED = -1, NO_MEMORY = -2, TOO_LARGE = -3 };

enum status { S_IDLE, S_FULL, S_END, S_SERVER_ENDED, S_CONNECTION, S_MALFORMED, S_MEMORY, S_TOO_LARGE };

/* ---- growing buffers ------------------------------------------------------------------------------------------- */

#define SLACK 64 /* copies may write this much past the end */

/* One Arrow array in the making: a column, or a level of a list, or the items of the innermost list. */
struct vector {
    uint8_t *values;   /* width * capacity bytes, or bits, or `bytes` of text */
    int32_t *offsets;  /* capacity + 1; lists and text */
    uint8_t *validity; /* bits; those from `length` on are 1 */
    int64_t length, capacity, nulls;
    int64_t bytes, bytes_capacity; /* of text */
    int32_t width, has_offsets;
};

struct column {
    int32_t op, depth, precision, scale;
    uint64_t limit;     /* 10^precision when it fits, else the greatest */
    struct vector *top; /* levels[0] */
    struct vector *levels;
};

struct misfit {
    int64_t row, start, length;
    int32_t column, reason;
};

struct decoder {
    int32_t count, validate;
    struct column *columns;
    int64_t rows, capacity, hint;
    int64_t fixed; /* bytes per row that do not depend on the values */
    int64_t bytes; /* all others of this batch */
    int32_t header_seen, ended, dead, unused;
    char *message; /* the message being decoded: the next byte is at `at` */
    int64_t message_length, at;
    struct misfit *misfits;
    int64_t misfit_count, misfit_capacity;
    uint8_t *misfit_bytes;
    int64_t misfit_bytes_used, misfit_bytes_capacity;
    char error[256];
};

static int64_t bits_to_bytes(int64_t bits) { return (bits + 7) >> 3; }

static int grow(void **buffer, int64_t bytes) {
    void *p = realloc(*buffer, (size_t)bytes + SLACK);
    if (!p) return 0;
    *buffer = p;
    return 1;
}

NOINLINE int reserve(struct vector *v, int64_t capacity) {
    if (capacity <= v->capacity) return 1;
    if (capacity < v->capacity * 2) capacity = v->capacity * 2;
    if (capacity < 64) capacity = 64;
    if (!grow((void **)&v->validity, bits_to_bytes(capacity))) return 0;
    int64_t old = bits_to_bytes(v->capacity);
    memset(v->validity + old, 0xff, (size_t)(bits_to_bytes(capacity) + SLACK - old));
    if (v->has_offsets) {
        int fresh = v->offsets == NULL;
        if (!grow((void **)&v->offsets, (capacity + 1) * 4)) return 0;
        if (fresh) v->offsets[0] = 0;
    }
    if (v->width) {
        if (!grow((void **)&v->values, v->width < 0 ? bits_to_bytes(capacity) : capacity * v->width)) return 0;
    }
    v->capacity = capacity;
    return 1;
}

NOINLINE int grow_bytes(struct vector *v, int64_t more) {
    int64_t capacity = v->bytes_capacity + v->bytes_capacity / 2;
    if (capacity < v->bytes + more) capacity = v->bytes + more;
    if (capacity < 1024) capacity = 1024;
    if (capacity > INT32_MAX) capacity = INT32_MAX; /* room() relies on it */
    if (!grow((void **)&v->values, capacity)) return 0;
    v->bytes_capacity = capacity;
    return 1;
}

/* Room for `more` bytes of text in an array whose offsets are 32 bits wide. Less, not equal: an empty text as the first
 * value must find a buffer, since copies of a fixed size are made whatever the length. */
INLINE int room(struct vector *v, int64_t more) {
    if (likely(v->bytes + more < v->bytes_capacity)) return FITS;
    if (v->bytes + more > INT32_MAX) return TOO_LARGE;
    return grow_bytes(v, more) ? FITS : NO_MEMORY;
}

INLINE void set_bit(uint8_t *bits, int64_t i) { bits[i >> 3] |= (uint8_t)(1u << (i & 7)); }
INLINE void clear_bit(uint8_t *bits, int64_t i) { bits[i >> 3] &= (uint8_t)~(1u << (i & 7)); }
INLINE int get_bit(const uint8_t *bits, int64_t i) { return bits[i >> 3] >> (i & 7) & 1; }

INLINE uint16_t be16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
INLINE uint32_t be32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
INLINE uint64_t be64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }

/* ---- numeric ---------------------------------------------------------------------------------------------------- */

/* int16 count of digits, int16 weight of the first, uint16 sign, uint16 display scale, then digits of base 10000. */

static const uint64_t POW10[20] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull, 1000000000ull,
    10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull, 100000000000000ull, 1000000000000000ull,
    10000000000000000ull, 100000000000000000ull, 1000000000000000000ull, 10000000000000000000ull};

#define SIGN_MINUS 0x4000
#define SIGN_NAN 0xC000
#define SIGN_INFINITY 0xD000
#define SIGN_MINUS_INFINITY 0xF000

static void multiply_add(uint64_t limbs[4], uint64_t factor, uint64_t add) {
    u128 carry = add;
    for (int i = 0; i < 4; i++) {
        carry += (u128)limbs[i] * factor;
        limbs[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static int numeric_special(uint16_t sign, int digits) {
    if (digits) return MALFORMED;
    if (sign == SIGN_NAN) return R_NAN;
    if (sign == SIGN_INFINITY || sign == SIGN_MINUS_INFINITY) return R_INFINITE;
    return MALFORMED;
}

/* Any value into the magnitude of decimal(precision, scale). */
NOINLINE int numeric_slow(const uint8_t *digits, int count, int weight, const struct column *c, uint64_t limbs[4]) {
    memset(limbs, 0, 32);
    for (int i = 0; i < count; i++)
        if (be16(digits + 2 * i) > 9999) return MALFORMED;
    while (count && be16(digits) == 0) digits += 2, count--, weight--;
    while (count && be16(digits + 2 * (count - 1)) == 0) count--;
    if (!count) return FITS;
    int first = be16(digits), width = first > 999 ? 4 : first > 99 ? 3 : first > 9 ? 2 : 1;
    int written = 4 * weight + width + c->scale; /* decimal digits of the result */
    if (written > c->precision) return R_PRECISION;
    int shift = 4 * (weight - count + 1) + c->scale, last = be16(digits + 2 * (count - 1));
    if (written <= 0 || shift <= -4) return R_SCALE;
    for (int i = 0; i < count - 1; i++) multiply_add(limbs, 10000, be16(digits + 2 * i));
    if (shift < 0) {
        int unit = (int)POW10[-shift];
        if (last % unit) return R_SCALE;
        multiply_add(limbs, 10000 / (uint64_t)unit, (uint64_t)(last / unit));
        return FITS;
    }
    multiply_add(limbs, 10000, (uint64_t)last);
    for (; shift > 0; shift -= 19) multiply_add(limbs, POW10[shift > 19 ? 19 : shift], 0);
    return FITS;
}

INLINE int numeric_header(const uint8_t *p, int64_t length, int *count, int *weight, uint16_t *sign) {
    if (unlikely(length < 8)) return MALFORMED;
    *count = be16(p);
    *weight = (int16_t)be16(p + 2);
    *sign = be16(p + 4);
    return unlikely(length != 8 + 2 * (int64_t)*count) ? MALFORMED : FITS;
}

/* At most four digits of base 10000 that end near the scale: nearly all there are. 1: done, 0: take the slow way. */
INLINE int numeric_fast(const uint8_t *digits, int count, int weight, const struct column *c, uint64_t *magnitude) {
    int shift = 4 * (weight - count + 1) + c->scale;
    if (unlikely(count > 4 || shift < -3 || shift > 3)) return 0;
    uint64_t sum = 0;
    unsigned last = 0, bad = 0;
    if (count) {
        for (int i = 0; i < count - 1; i++) {
            unsigned d = be16(digits + 2 * i);
            bad |= d > 9999;
            sum = sum * 10000 + d;
        }
        last = be16(digits + 2 * (count - 1));
        bad |= last > 9999;
    }
    if (unlikely(bad)) return 0;
    switch (shift) {
    case -3: sum = sum * 10 + last / 1000; bad = last % 1000; break;
    case -2: sum = sum * 100 + last / 100; bad = last % 100; break;
    case -1: sum = sum * 1000 + last / 10; bad = last % 10; break;
    default: sum = (sum * 10000 + last) * POW10[shift]; break;
    }
    *magnitude = sum;
    return !bad && sum < c->limit;
}

INLINE int decode_decimal128(const uint8_t *p, int64_t length, const struct column *c, uint8_t *to) {
    int count, weight;
    uint16_t sign;
    if (unlikely(numeric_header(p, length, &count, &weight, &sign))) return MALFORMED;
    if (unlikely(sign & ~SIGN_MINUS)) return numeric_special(sign, count);
    uint64_t magnitude;
    u128 value;
    if (likely(numeric_fast(p + 8, count, weight, c, &magnitude))) {
        value = magnitude;
    } else {
        uint64_t limbs[4];
        int r = numeric_slow(p + 8, count, weight, c, limbs);
        if (r) return r;
        value = (u128)limbs[1] << 64 | limbs[0];
    }
    if (sign) value = -value;
    memcpy(to, &value, 16);
    return FITS;
}

static int decode_decimal256(const uint8_t *p, int64_t length, const struct column *c, uint8_t *to) {
    int count, weight;
    uint16_t sign;
    if (numeric_header(p, length, &count, &weight, &sign)) return MALFORMED;
    if (sign & ~SIGN_MINUS) return numeric_special(sign, count);
    uint64_t limbs[4] = {0};
    if (!numeric_fast(p + 8, count, weight, c, limbs)) {
        int r = numeric_slow(p + 8, count, weight, c, limbs);
        if (r) return r;
    }
    if (sign) {
        u128 carry = 1;
        for (int i = 0; i < 4; i++) {
            carry += (uint64_t)~limbs[i];
            limbs[i] = (uint64_t)carry;
            carry >>= 64;
        }
    }
    memcpy(to, limbs, 32);
    return FITS;
}

INLINE char *four_digits(char *to, unsigned d) {
    to[0] = (char)('0' + d / 1000);
    to[1] = (char)('0' + d / 100 % 10);
    to[2] = (char)('0' + d / 10 % 10);
    to[3] = (char)('0' + d % 10);
    return to + 4;
}

/* As get_str_from_var() of numeric.c prints it. */
static int append_numeric_text(const uint8_t *p, int64_t length, struct vector *v) {
    int count, weight;
    uint16_t sign;
    if (numeric_header(p, length, &count, &weight, &sign)) return MALFORMED;
    int scale = be16(p + 6);
    const uint8_t *digits = p + 8;
    if (unlikely(sign & ~SIGN_MINUS)) {
        const char *name = sign == SIGN_NAN ? "NaN" : sign == SIGN_INFINITY ? "Infinity" : "-Infinity";
        if (numeric_special(sign, count) < 0) return MALFORMED;
        int r = room(v, 9);
        if (r) return r;
        memcpy(v->values + v->bytes, name, strlen(name));
        v->bytes += (int64_t)strlen(name);
        return FITS;
    }
    if (scale > 0x3FFF) return MALFORMED;
    for (int i = 0; i < count; i++)
        if (be16(digits + 2 * i) > 9999) return MALFORMED;
    int r = room(v, (weight > 0 ? 4 * (int64_t)weight : 0) + scale + 16);
    if (r) return r;
    char *start = (char *)v->values + v->bytes, *to = start;
    if (sign) *to++ = '-';
    if (weight < 0) {
        *to++ = '0';
    } else {
        char *first = to;
        for (int i = 0; i <= weight; i++) to = four_digits(to, i < count ? be16(digits + 2 * i) : 0);
        char *skip = first;
        while (skip < to - 1 && skip < first + 3 && *skip == '0') skip++;
        if (skip > first) {
            memmove(first, skip, (size_t)(to - skip));
            to -= skip - first;
        }
    }
    if (scale) {
        *to++ = '.';
        char *end = to + scale;
        for (int i = weight + 1; to < end; i++) to = four_digits(to, i >= 0 && i < count ? be16(digits + 2 * i) : 0);
        to = end;
    }
    v->bytes += to - start;
    return FITS;
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Only for databases without an encoding of their own (SQL_ASCII): all others send what they have checked. */
NOINLINE int is_utf8(const uint8_t *p, int64_t length) {
    const uint8_t *end = p + length;
    while (p < end) {
        uint8_t a = *p++;
        if (a < 0x80) continue;
        int more = a >= 0xC2 && a <= 0xDF ? 1 : a >= 0xE0 && a <= 0xEF ? 2 : a >= 0xF0 && a <= 0xF4 ? 3 : 0;
        if (!more || end - p < more) return 0;
        uint8_t low = a == 0xE0 ? 0xA0 : a == 0xF0 ? 0x90 : 0x80, high = a == 0xED ? 0x9F : a == 0xF4 ? 0x8F : 0xBF;
        if (*p < low || *p > high) return 0;
        for (int i = 1; i < more; i++)
            if ((p[i] & 0xC0) != 0x80) return 0;
        p += more;
    }
    return 1;
}

/* `readable`: bytes from p to the end of the message, which a copy of a fixed size may read. */
INLINE int append_bytes(struct vector *v, const uint8_t *p, int64_t length, int64_t readable) {
    int r = room(v, length);
    if (unlikely(r)) return r;
    if (likely(length <= 32 && readable >= 32)) memcpy(v->values + v->bytes, p, 32); /* SLACK is more */
    else memcpy(v->values + v->bytes, p, (size_t)length);
    v->bytes += length;
    return FITS;
}

static const char HEX[16] = "0123456789abcdef";

INLINE int append_uuid(struct vector *v, const uint8_t *p) {
    int r = room(v, 36);
    if (unlikely(r)) return r;
    char *to = (char *)v->values + v->bytes;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *to++ = '-';
        *to++ = HEX[p[i] >> 4];
        *to++ = HEX[p[i] & 15];
    }
    v->bytes += 36;
    return FITS;
}

/* ---- one value -------------------------------------------------------------------------------------------------- */

#define DAYS_1970_TO_2000 10957
#define MICROSECONDS_1970_TO_2000 946684800000000ll
#define MICROSECONDS_PER_DAY 86400000000ll

/* The value at position i of v; there is room for i. FITS, a reason, or an error. */
INLINE int decode_value(const struct decoder *d, const struct column *c, struct vector *v, int64_t i, const uint8_t *p,
                        int64_t length, int64_t readable) {
    int r = FITS;
    if (unlikely(WIRE[c->op] && WIRE[c->op] != length)) return MALFORMED;
    switch (c->op) {
    case OP_BOOL:
        if (*p > 1) return MALFORMED;
        if (*p) set_bit(v->values, i);
        else clear_bit(v->values, i);
        return FITS;
    case OP_INT2: ((uint16_t *)v->values)[i] = be16(p); return FITS;
    case OP_INT4:
    case OP_OID4:
    case OP_FLOAT4: ((uint32_t *)v->values)[i] = be32(p); return FITS;
    case OP_OID8: ((uint64_t *)v->values)[i] = be32(p); return FITS;
    case OP_INT8:
    case OP_FLOAT8: ((uint64_t *)v->values)[i] = be64(p); return FITS;
    case OP_DECIMAL128: return decode_decimal128(p, length, c, v->values + 16 * i);
    case OP_DECIMAL256: return decode_decimal256(p, length, c, v->values + 32 * i);
    case OP_DATE: {
        int32_t days = (int32_t)be32(p);
        if (unlikely(days == INT32_MAX || days == INT32_MIN)) return R_INFINITE;
        if (unlikely(days > INT32_MAX - DAYS_1970_TO_2000)) return MALFORMED;
        ((int32_t *)v->values)[i] = days + DAYS_1970_TO_2000;
        return FITS;
    }
    case OP_TIME: {
        int64_t t = (int64_t)be64(p);
        if (unlikely(t == MICROSECONDS_PER_DAY)) return R_END_OF_DAY;
        if (unlikely(t < 0 || t > MICROSECONDS_PER_DAY)) return MALFORMED;
        ((int64_t *)v->values)[i] = t;
        return FITS;
    }
    case OP_TIMESTAMP: {
        int64_t t = (int64_t)be64(p);
        if (unlikely(t == INT64_MAX || t == INT64_MIN)) return R_INFINITE;
        if (unlikely(t > INT64_MAX - MICROSECONDS_1970_TO_2000)) return R_RANGE;
        ((int64_t *)v->values)[i] = t + MICROSECONDS_1970_TO_2000;
        return FITS;
    }
    case OP_JSONB: /* a version, then the text of jsonb_out() */
        if (unlikely(length < 1 || *p != 1)) return MALFORMED;
        p++, length--, readable--;
        /* fall through */
    case OP_TEXT:
        if (unlikely(d->validate && !is_utf8(p, length))) return R_UTF8;
        /* fall through */
    case OP_BYTEA: r = append_bytes(v, p, length, readable); break;
    case OP_UUID: r = append_uuid(v, p); break;
    case OP_NUMERIC_TEXT: r = append_numeric_text(p, length, v); break;
    default: return MALFORMED;
    }
    v->offsets[i + 1] = (int32_t)v->bytes;
    return r;
}

INLINE void put_null(struct vector *v, int64_t i) {
    clear_bit(v->validity, i);
    v->nulls++;
    if (v->width > 0) memset(v->values + v->width * i, 0, (size_t)v->width);
    else if (v->width < 0) clear_bit(v->values, i);
}

/* ---- arrays ------------------------------------------------------------------------------------------------------ */

#define MAX_DIMENSIONS 6

/* array_send: int32 dimensions, int32 flags, uint32 type of items; per dimension int32 size, int32 lower bound; per
 * item int32 length (-1: NULL) and its bytes. Items of an array that is not kept anyway are only walked over. */
static int decode_items(const struct decoder *d, struct column *c, const uint8_t *p, int64_t length) {
    const uint8_t *end = p + length;
    if (length < 12) return MALFORMED;
    int32_t dimensions = (int32_t)be32(p), reason = FITS;
    uint32_t flags = be32(p + 4);
    p += 12;
    if (dimensions < 0 || dimensions > MAX_DIMENSIONS || flags > 1) return MALFORMED;
    if (end - p < 8 * (int64_t)dimensions) return MALFORMED;
    if (dimensions == 0) return p == end ? FITS : MALFORMED;
    int64_t sizes[MAX_DIMENSIONS], items = 1;
    for (int k = 0; k < dimensions; k++, p += 8) {
        sizes[k] = (int32_t)be32(p);
        if (sizes[k] < 1) return MALFORMED;
        if ((int32_t)be32(p + 4) != 1 && !reason) reason = R_LOWER_BOUND;
        items *= sizes[k];
        if (items > (end - p) / 4) return MALFORMED; /* every item has at least a length */
    }
    if (dimensions != c->depth) reason = R_DIMENSIONS;
    if (reason) { /* only walk through */
        for (int64_t k = 0; k < items; k++) {
            if (end - p < 4) return MALFORMED;
            int32_t n = (int32_t)be32(p);
            p += 4;
            if (n < -1 || n > end - p) return MALFORMED;
            if (n > 0) p += n;
        }
        return p == end ? reason : MALFORMED;
    }
    int64_t lists = 1; /* at this level */
    for (int k = 0; k < dimensions; k++) {
        struct vector *below = &c->levels[k + 1];
        int64_t more = lists * sizes[k];
        if (below->length + more > INT32_MAX) return TOO_LARGE;
        if (unlikely(!reserve(below, below->length + more + 1))) return NO_MEMORY;
        if (k > 0) {
            struct vector *level = &c->levels[k];
            int64_t at = below->length;
            for (int64_t j = 0; j < lists; j++) {
                at += sizes[k];
                level->offsets[level->length + j + 1] = (int32_t)at;
                set_bit(level->validity, level->length + j);
            }
            level->length += lists;
        }
        lists = more;
    }
    struct vector *leaf = &c->levels[c->depth];
    int64_t i = leaf->length;
    for (int64_t stop = i + items; i < stop; i++) {
        if (unlikely(end - p < 4)) return MALFORMED;
        int32_t n = (int32_t)be32(p);
        p += 4;
        if (n == -1) {
            put_null(leaf, i);
            if (leaf->has_offsets) leaf->offsets[i + 1] = (int32_t)leaf->bytes;
            continue;
        }
        if (unlikely(n < 0 || n > end - p)) return MALFORMED;
        int r = decode_value(d, c, leaf, i, p, n, end - p);
        if (unlikely(r)) {
            if (r < 0) return r;
            if (!reason) reason = r;
            if (leaf->has_offsets) leaf->offsets[i + 1] = (int32_t)leaf->bytes;
        }
        set_bit(leaf->validity, i);
        p += n;
    }
    if (p != end) return MALFORMED;
    leaf->length = i;
    return reason;
}

/* Back to what the levels below the top held before a cell; the items of a cell that failed half way may lie past the
 * innermost length, up to `touched`. */
static void cut_levels(struct column *c, const int64_t lengths[MAX_DIMENSIONS + 2], int64_t bytes, int64_t touched) {
    for (int k = 1; k <= c->depth; k++) {
        struct vector *v = &c->levels[k];
        int64_t stop = k == c->depth && v->length < touched ? touched : v->length;
        if (stop > v->capacity) stop = v->capacity;
        for (int64_t i = lengths[k]; i < stop; i++) {
            if (!get_bit(v->validity, i)) {
                set_bit(v->validity, i);
                v->nulls--;
            }
        }
        v->length = lengths[k];
    }
    c->levels[c->depth].bytes = bytes;
}

/* Row `row` of a list column. */
static int decode_array(struct decoder *d, struct column *c, int64_t row, const uint8_t *p, int64_t length) {
    int64_t lengths[MAX_DIMENSIONS + 2];
    struct vector *leaf = &c->levels[c->depth];
    int64_t bytes = leaf->bytes;
    for (int k = 1; k <= c->depth; k++) lengths[k] = c->levels[k].length;
    int r = decode_items(d, c, p, length);
    if (unlikely(r)) {
        cut_levels(c, lengths, bytes, lengths[c->depth] + length / 4);
    } else {
        d->bytes += (leaf->bytes - bytes) + (leaf->length - lengths[c->depth]) * (leaf->width > 0 ? leaf->width : 4);
    }
    c->top->offsets[row + 1] = (int32_t)c->levels[1].length;
    return r;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

NOINLINE int add_misfit(struct decoder *d, int32_t column, int reason, const uint8_t *p, int64_t length) {
    if (d->misfit_count == d->misfit_capacity) {
        int64_t capacity = d->misfit_capacity ? d->misfit_capacity * 2 : 64;
        if (!grow((void **)&d->misfits, capacity * (int64_t)sizeof(struct misfit))) return NO_MEMORY;
        d->misfit_capacity = capacity;
    }
    if (d->misfit_bytes_used + length > d->misfit_bytes_capacity) {
        int64_t capacity = d->misfit_bytes_capacity * 2;
        if (capacity < d->misfit_bytes_used + length) capacity = d->misfit_bytes_used + length;
        if (!grow((void **)&d->misfit_bytes, capacity)) return NO_MEMORY;
        d->misfit_bytes_capacity = capacity;
    }
    memcpy(d->misfit_bytes + d->misfit_bytes_used, p, (size_t)length);
    d->misfits[d->misfit_count++] = (struct misfit){
        .row = d->rows, .start = d->misfit_bytes_used, .length = length, .column = column, .reason = reason};
    d->misfit_bytes_used += length;
    /* Each becomes a Python object of some hundred bytes in the end. */
    d->bytes += length + 256;
    return FITS;
}

NOINLINE int reserve_rows(struct decoder *d, int64_t capacity) {
    for (int32_t k = 0; k < d->count; k++)
        if (!reserve(d->columns[k].top, capacity)) return 0;
    d->capacity = capacity;
    return 1;
}

/* Take back what the columns before `stop` hold of the row that is being decoded. */
static void cut_row(struct decoder *d, int32_t stop) {
    for (int32_t k = 0; k < stop; k++) {
        struct column *c = &d->columns[k];
        int64_t lengths[MAX_DIMENSIONS + 2];
        if (!get_bit(c->top->validity, d->rows)) {
            set_bit(c->top->validity, d->rows);
            c->top->nulls--;
        }
        if (!c->top->has_offsets) continue;
        int64_t at = c->top->offsets[d->rows];
        if (!c->depth) {
            c->top->bytes = at;
            continue;
        }
        for (int level = 1; level <= c->depth; level++) {
            lengths[level] = at;
            struct vector *v = &c->levels[level];
            at = v->has_offsets && v->offsets ? v->offsets[at] : 0;
        }
        cut_levels(c, lengths, at, c->levels[c->depth].length);
    }
    while (d->misfit_count && d->misfits[d->misfit_count - 1].row == d->rows)
        d->misfit_bytes_used = d->misfits[--d->misfit_count].start;
}

NOINLINE int malformed(struct decoder *d, const char *what, int64_t column, int64_t length) {
    snprintf(d->error, sizeof d->error, "%s (column %lld, %lld bytes)", what, (long long)column, (long long)length);
    return MALFORMED;
}

/* The fields of one row, from after their count. Gives the position after it in *next. */
static int decode_row(struct decoder *d, const uint8_t *p, const uint8_t *end, const uint8_t **next) {
    int64_t row = d->rows;
    if (unlikely(row == d->capacity) && !reserve_rows(d, row ? row * 2 : d->hint)) return NO_MEMORY;
    for (int32_t k = 0; k < d->count; k++) {
        struct column *c = &d->columns[k];
        struct vector *v = c->top;
        if (unlikely(end - p < 4)) return malformed(d, "the row ends before its last column", k, end - p);
        int32_t length = (int32_t)be32(p);
        p += 4;
        int r;
        if (unlikely(length < 0)) {
            if (length != -1) return malformed(d, "a negative length", k, length);
            put_null(v, row);
            if (v->has_offsets) v->offsets[row + 1] = c->depth ? (int32_t)c->levels[1].length : (int32_t)v->bytes;
            continue;
        }
        if (unlikely(length > end - p)) return malformed(d, "a value longer than its row", k, length);
        if (likely(!c->depth)) {
            r = decode_value(d, c, v, row, p, length, end - p);
            if (v->has_offsets) d->bytes += v->bytes - v->offsets[row];
        } else {
            r = decode_array(d, c, row, p, length);
        }
        if (unlikely(r)) {
            if (r == MALFORMED) return malformed(d, "not the bytes of its type", k, length);
            if (r == TOO_LARGE) cut_row(d, k + 1);
            if (r < 0) return r;
            put_null(v, row);
            if (v->has_offsets) v->offsets[row + 1] = c->depth ? (int32_t)c->levels[1].length : (int32_t)v->bytes;
            if ((r = add_misfit(d, k, r, p, length))) return r;
        }
        p += length;
    }
    d->rows++;
    *next = p;
    return FITS;
}

static const uint8_t SIGNATURE[11] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0};

static int refuse(struct decoder *d, const char *what, int64_t column, int64_t length) {
    malformed(d, what, column, length);
    return S_MALFORMED;
}

/* One message: (header) row | (header) trailer. "Always one per row", says the protocol's description of CopyData. */
static int decode_message(struct decoder *d, int64_t max_bytes, int64_t max_rows) {
    const uint8_t *start = (const uint8_t *)d->message, *p = start + d->at, *end = start + d->message_length;
    if (unlikely(!d->header_seen)) {
        if (end - p < 19 || memcmp(p, SIGNATURE, 11)) return refuse(d, "no signature of COPY BINARY", -1, end - p);
        if (be32(p + 11) >> 16) return refuse(d, "flags of COPY BINARY that we do not know", -1, 0);
        int64_t extension = be32(p + 15);
        p += 19;
        if (extension > end - p) return refuse(d, "a header longer than its message", -1, extension);
        p += extension;
        d->header_seen = 1;
        d->at = p - start;
    }
    if (unlikely(d->ended)) return refuse(d, "data after the trailer", -1, end - p);
    if (unlikely(end - p < 2)) return refuse(d, "a row without its count of columns", -1, end - p);
    int count = (int16_t)be16(p);
    p += 2;
    if (unlikely(count != d->count)) {
        if (count != -1 || p != end) return refuse(d, "a row of another count of columns", count, end - p);
        d->ended = 1;
        d->at = d->message_length;
        return S_END;
    }
    int r = decode_row(d, p, end, &p);
    if (unlikely(r)) {
        if (r == TOO_LARGE) return d->rows ? S_FULL : S_TOO_LARGE; /* the same message again, into the next batch */
        return r == NO_MEMORY ? S_MEMORY : S_MALFORMED;
    }
    if (unlikely(p != end)) return refuse(d, "a row longer than its columns", -1, end - p);
    d->at = d->message_length;
    return d->rows >= max_rows || d->bytes + d->rows * d->fixed >= max_bytes ? S_FULL : S_IDLE;
}

/* ---- the connection ---------------------------------------------------------------------------------------------- */

enum { MESSAGE_NONE = 0, MESSAGE_ENDED = -1, MESSAGE_FAILED = -2 };

/* The next message: its length, or one of the above. Waits at most `timeout` ms, or until a signal. */
INLINE int next_message(const struct libpq *pq, void *conn, int32_t *dead, int timeout, char **message) {
    int n = pq->get_copy_data(conn, message, 1);
    if (likely(n)) return n;
    for (int waited = 0;; waited = 1) {
        /* Ask the socket before poll(2): TLS may hold decrypted bytes that poll does not see. A broken connection may
         * have left the server's last words in libpq's buffer: look there once more. */
        if (!*dead && !pq->consume_input(conn)) *dead = 1;
        n = pq->get_copy_data(conn, message, 1);
        if (n) return n;
        if (*dead) return MESSAGE_FAILED;
        if (waited) return MESSAGE_NONE;
        struct pollfd wanted = {.fd = pq->socket(conn), .events = POLLIN, .revents = 0};
        if (wanted.fd < 0) return MESSAGE_FAILED;
        if (poll(&wanted, 1, timeout) <= 0) return MESSAGE_NONE;
    }
}

EXPORT int32_t sl_decoder_read(struct decoder *d, void *conn, const struct libpq *pq, int64_t max_bytes,
                               int64_t max_rows, int32_t timeout) {
    for (;;) {
        if (d->message) {
            int status = decode_message(d, max_bytes, max_rows);
            if (d->at == d->message_length || status >= S_MALFORMED) {
                pq->freemem(d->message);
                d->message = NULL;
            }
            if (status != S_IDLE) return status;
        }
        int n = next_message(pq, conn, &d->dead, timeout, &d->message);
        if (unlikely(n <= 0)) {
            d->message = NULL;
            return n == MESSAGE_NONE ? S_IDLE : n == MESSAGE_ENDED ? S_SERVER_ENDED : S_CONNECTION;
        }
        d->message_length = n;
        d->at = 0;
    }
}

/* Decode `length` bytes as the next message. After S_FULL, call again with `length` 0 for the rest of it. */
EXPORT int32_t sl_decoder_feed(struct decoder *d, const char *bytes, int64_t length, int64_t max_bytes,
                               int64_t max_rows) {
    if (length) {
        char *copy = malloc((size_t)length); /* of exactly that size: a sanitizer then sees every step too far */
        if (!copy) return S_MEMORY;
        memcpy(copy, bytes, (size_t)length);
        free(d->message);
        d->message = copy;
        d->message_length = length;
        d->at = 0;
    }
    if (!d->message) return d->ended ? S_END : S_IDLE;
    int status = decode_message(d, max_bytes, max_rows);
    if (d->at == d->message_length || status >= S_MALFORMED) {
        free(d->message);
        d->message = NULL;
    }
    return status;
}

/* Messages as they are, one after the other in the caller's buffer. Each holds one row, except that the header shares
 * the first and the trailer has one of its own (or that of the header, when there are no rows). */
struct relay {
    char *buffer;
    int64_t used, capacity, messages;
    char *waiting; /* a message for which there was no room */
    int64_t waiting_length;
    int32_t dead, unused;
};

/* S_FULL: the next message (waiting_length bytes) does not fit any more. */
EXPORT int32_t sl_relay_read(struct relay *r, void *conn, const struct libpq *pq, int32_t timeout) {
    for (;;) {
        if (!r->waiting) {
            int got = next_message(pq, conn, &r->dead, timeout, &r->waiting);
            if (got <= 0) {
                r->waiting = NULL;
                return got == MESSAGE_NONE ? S_IDLE : got == MESSAGE_ENDED ? S_SERVER_ENDED : S_CONNECTION;
            }
            r->waiting_length = got;
        }
        int64_t n = r->waiting_length;
        if (n > r->capacity - r->used) return S_FULL;
        memcpy(r->buffer + r->used, r->waiting, (size_t)n);
        r->used += n;
        r->messages++;
        int ended = (n == 2 || (n == 21 && r->messages == 1)) && be16((const uint8_t *)r->waiting + n - 2) == 0xffff;
        pq->freemem(r->waiting);
        r->waiting = NULL;
        if (ended) return S_END;
    }
}

EXPORT void sl_relay_close(struct relay *r) {
    free(r->waiting);
    r->waiting = NULL;
}

/* ---- the batch --------------------------------------------------------------------------------------------------- */

struct owned {
    const void *pointers[3];
    struct ArrowArray *child;
    struct ArrowArray **children;
};

static void release_array(struct ArrowArray *array) {
    struct owned *o = array->private_data;
    for (int i = 0; i < 3; i++) free((void *)o->pointers[i]);
    for (int64_t i = 0; i < array->n_children; i++) {
        struct ArrowArray *child = array->children[i];
        if (child->release) child->release(child);
        free(child);
    }
    if (o->children) free(o->children);
    free(o);
    array->release = NULL;
}

/* The vector becomes an array; empty buffers stay with nobody. NULL without memory, the vector is then untouched. */
static struct ArrowArray *give(struct vector *v, struct ArrowArray *child) {
    if (!v->validity && !reserve(v, 1)) return NULL;
    if (!v->values && !child && !grow((void **)&v->values, 0)) return NULL;
    struct ArrowArray *array = calloc(1, sizeof *array);
    struct owned *o = calloc(1, sizeof *o);
    if (!array || !o) {
        free(array);
        free(o);
        return NULL;
    }
    int n = 0;
    if (v->nulls) o->pointers[n] = v->validity;
    else free(v->validity);
    n++;
    if (v->has_offsets) o->pointers[n++] = v->offsets;
    if (!child) o->pointers[n++] = v->values;
    o->child = child;
    array->length = v->length;
    array->null_count = v->nulls;
    array->n_buffers = n;
    array->buffers = o->pointers;
    if (child) {
        array->n_children = 1;
        array->children = &o->child;
    }
    array->release = release_array;
    array->private_data = o;
    v->values = v->validity = NULL;
    v->offsets = NULL;
    v->length = v->capacity = v->nulls = v->bytes = v->bytes_capacity = 0;
    return array;
}

static struct ArrowArray *give_column(struct column *c, int level) {
    struct ArrowArray *child = level < c->depth ? give_column(c, level + 1) : NULL;
    if (level < c->depth && !child) return NULL;
    struct ArrowArray *array = give(&c->levels[level], child);
    if (!array && child) {
        child->release(child);
        free(child);
    }
    return array;
}

/* The rows so far as a struct array; the decoder starts anew. 0 without memory: then it is only good to close. */
EXPORT int32_t sl_decoder_take(struct decoder *d, struct ArrowArray *out) {
    memset(out, 0, sizeof *out);
    struct owned *o = calloc(1, sizeof *o);
    struct ArrowArray **children = calloc((size_t)d->count + 1, sizeof *children);
    if (!o || !children) {
        free(o);
        free(children);
        return 0;
    }
    o->children = children;
    *out = (struct ArrowArray){.length = d->rows, .n_buffers = 1, .buffers = o->pointers, .children = children,
                               .release = release_array, .private_data = o};
    for (int32_t k = 0; k < d->count; k++) {
        d->columns[k].top->length = d->rows;
        if (!(children[k] = give_column(&d->columns[k], 0))) {
            out->release(out);
            return 0;
        }
        out->n_children++;
    }
    d->hint = d->rows < 1024 ? 1024 : d->rows + d->rows / 16;
    d->rows = d->capacity = d->bytes = 0;
    d->misfit_count = d->misfit_bytes_used = 0;
    return 1;
}

/* ---- the handle -------------------------------------------------------------------------------------------------- */

EXPORT void sl_decoder_close(struct decoder *d) {
    if (!d) return;
    for (int32_t k = 0; d->columns && k < d->count; k++) {
        struct column *c = &d->columns[k];
        for (int level = 0; c->levels && level <= c->depth; level++) {
            free(c->levels[level].values);
            free(c->levels[level].offsets);
            free(c->levels[level].validity);
        }
        free(c->levels);
    }
    free(d->columns);
    free(d->misfits);
    free(d->misfit_bytes);
    free(d->message); /* PQfreemem is free() on every system that this file builds on */
    free(d);
}

EXPORT struct decoder *sl_decoder_open(const struct spec *specs, int32_t count, int32_t validate) {
    struct decoder *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->count = count;
    d->validate = validate;
    d->hint = 1024;
    d->columns = calloc((size_t)count + 1, sizeof *d->columns);
    if (!d->columns) goto failed;
    for (int32_t k = 0; k < count; k++) {
        struct column *c = &d->columns[k];
        if (specs[k].op < 0 || specs[k].op >= OP_COUNT) goto failed;
        if (specs[k].depth < 0 || specs[k].depth > MAX_DIMENSIONS) goto failed;
        c->op = specs[k].op;
        c->depth = specs[k].depth;
        c->precision = specs[k].precision;
        c->scale = specs[k].scale;
        c->limit = c->precision < 20 ? POW10[c->precision < 0 ? 0 : c->precision] : UINT64_MAX;
        c->levels = calloc((size_t)c->depth + 1, sizeof *c->levels);
        if (!c->levels) goto failed;
        c->top = c->levels;
        for (int level = 0; level < c->depth; level++) c->levels[level].has_offsets = 1;
        struct vector *leaf = &c->levels[c->depth];
        leaf->width = WIDTHS[c->op];
        leaf->has_offsets = leaf->width == 0;
        d->fixed += c->depth || leaf->width == 0 ? 5 : leaf->width > 0 ? leaf->width + 1 : 1;
    }
    return d;
failed:
    sl_decoder_close(d);
    return NULL;
}

EXPORT int64_t sl_decoder_rows(const struct decoder *d) { return d->rows; }
EXPORT const char *sl_decoder_error(const struct decoder *d) { return d->error; }

EXPORT int64_t sl_decoder_misfits(const struct decoder *d, const struct misfit **misfits, const uint8_t **bytes) {
    *misfits = d->misfits;
    *bytes = d->misfit_bytes;
    return d->misfit_count;
}

/* So that a library compiled from another version of this file is not used. */
EXPORT int32_t sl_decoder_layout(void) { return 2; }

/* ---- a module without contents ----------------------------------------------------------------------------------- */

static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_decode", "COPY BINARY into Arrow buffers; called through ctypes.", 0, NULL, slots,
    NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__decode(void) { return PyModuleDef_Init(&module); }
