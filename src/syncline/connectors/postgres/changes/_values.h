/* Values in Postgres' text form (the *_out functions of src/backend/utils/adt) into Arrow buffers. Included by
 * _changes.c only; values_fallback.py does the same in Python and must accept exactly the same texts.
 *
 * The session that printed them has DateStyle ISO, TimeZone UTC, bytea_output hex, extra_float_digits 1, lc_monetary C.
 * What is not of its type's form is MALFORMED, never a guess.
 */

#ifndef SYNCLINE_CHANGES_VALUES_H
#define SYNCLINE_CHANGES_VALUES_H

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "_vectors.h"

#if defined(__APPLE__)
#include <xlocale.h>
#endif

/* Keep in step with _OPS of decode_native.py. */
enum op {
    OP_BOOL, OP_INT2, OP_INT4, OP_INT8, OP_OID8, OP_FLOAT4, OP_FLOAT8, OP_DECIMAL128, OP_DECIMAL256, OP_TEXT, OP_BYTEA,
    OP_DATE, OP_TIME, OP_TIMESTAMP, OP_TIMESTAMPTZ, OP_MONEY, OP_INET, OP_COUNT
};

/* Bytes of one value in Arrow; 0: variable, -1: bits. */
static const int8_t WIDTHS[OP_COUNT] = {-1, 2, 4, 8, 8, 4, 8, 16, 32, 0, 0, 4, 8, 8, 8, 0, 0};

#define MAX_DIMENSIONS 6 /* MAXDIM of Postgres */

/* A column of a stream. */
struct field {
    int32_t op, depth, precision, scale;
    int32_t source;     /* which column of the relation */
    int32_t validate;   /* look at the bytes of text: they may not be UTF-8 */
    uint8_t delimiter;  /* between the items of an array */
    uint64_t limit;     /* 10^precision when it fits, else the greatest */
    struct vector *top; /* levels[0] */
    struct vector *levels;
};

/* Room for one item of an array without its escapes. */
struct scratch {
    uint8_t *bytes;
    int64_t capacity;
};

INLINE int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

INLINE int equals(const uint8_t *p, int64_t n, const char *word) {
    return n == (int64_t)strlen(word) && memcmp(p, word, (size_t)n) == 0;
}

static int is_infinity(const uint8_t *p, int64_t n, const char *word) {
    return n && *p == '-' ? equals(p + 1, n - 1, word) : equals(p, n, word);
}

/* ---- integers --------------------------------------------------------------------------------------------------- */

INLINE int parse_integer(const uint8_t *p, int64_t n, int64_t low, int64_t high, int64_t *value) {
    const uint8_t *end = p + n;
    int negative = n && *p == '-';
    p += negative;
    if (unlikely(end - p < 1 || end - p > 19)) return MALFORMED;
    uint64_t sum = 0;
    unsigned bad = 0;
    for (; p < end; p++) {
        unsigned d = (unsigned)*p - '0';
        bad |= d > 9;
        sum = sum * 10 + d;
    }
    if (unlikely(bad || sum > (uint64_t)INT64_MAX + (uint64_t)negative)) return MALFORMED;
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return unlikely(*value < low || *value > high) ? MALFORMED : FITS;
}

/* ---- floats ----------------------------------------------------------------------------------------------------- */

static const double EXACT10[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const float EXACT10F[11] = {1e0f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f, 1e7f, 1e8f, 1e9f, 1e10f};

static uint64_t power_of_5(int k) { /* k <= 27 */
    uint64_t power = 1, base = 5;
    for (; k; k >>= 1, base *= base)
        if (k & 1) power *= base;
    return power;
}

/* m * 10^q as a mantissa of `bits` bits and a binary exponent, rounded to the nearest, ties to even; exact integer
 * arithmetic. m is not 0, |q| <= 27. */
static uint64_t scale_by_10(uint64_t m, int q, int bits, int *exponent) {
    u128 x;
    int sticky = 0, e;
    if (q >= 0) {
        x = (u128)m * power_of_5(q);
        e = q;
    } else {
        int lead = __builtin_clzll(m);
        u128 n = (u128)(m << lead) << 64;
        uint64_t divisor = power_of_5(-q);
        x = n / divisor; /* 65 bits at least */
        sticky = x * divisor != n;
        e = q - 64 - lead;
    }
    uint64_t high = (uint64_t)(x >> 64);
    int length = high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)x);
    int shift = length - bits;
    if (shift > 0) {
        u128 rest = x & (((u128)1 << shift) - 1), half = (u128)1 << (shift - 1);
        x >>= shift;
        x += rest > half || (rest == half && (sticky || (x & 1)));
        e += shift;
    } else {
        x <<= -shift;
        e += shift;
    }
    if (x >> bits) x >>= 1, e++;
    *exponent = e + bits - 1;
    return (uint64_t)x;
}

/* `-?digits(.digits)?(e[+-]digits)?`; NaN; Infinity. The value as a double, or as a float (rounded once, not twice). */
NOINLINE int parse_float(const uint8_t *p, int64_t n, int is_float, double *as_double, float *as_float) {
    char text[64];
    const uint8_t *start = p, *end = p + n;
    if (n < 1 || n >= (int64_t)sizeof text) return MALFORMED;
    if (equals(p, n, "NaN")) {
        *as_double = NAN, *as_float = NAN;
        return FITS;
    }
    if (is_infinity(p, n, "Infinity")) {
        *as_double = *p == '-' ? -HUGE_VAL : HUGE_VAL, *as_float = *p == '-' ? -HUGE_VALF : HUGE_VALF;
        return FITS;
    }
    int negative = *p == '-', digits = 0, q = 0;
    uint64_t m = 0;
    p += negative;
    const uint8_t *mark = p;
    for (; p < end && is_digit(*p); p++) {
        digits += digits || *p != '0';
        if (digits <= 19) m = m * 10 + (*p - '0');
    }
    if (p == mark) return MALFORMED;
    if (p < end && *p == '.') {
        mark = ++p;
        for (; p < end && is_digit(*p); p++, q--) {
            digits += digits || *p != '0';
            if (digits <= 19) m = m * 10 + (*p - '0');
        }
        if (p == mark) return MALFORMED;
    }
    if (p < end) {
        int sign, e = 0;
        if (*p++ != 'e' || p == end || (*p != '+' && *p != '-')) return MALFORMED;
        sign = *p++ == '-' ? -1 : 1;
        if (p == end || end - p > 3) return MALFORMED;
        for (; p < end; p++) {
            if (!is_digit(*p)) return MALFORMED;
            e = e * 10 + (*p - '0');
        }
        q += sign * e;
    }
    if (!digits) {
        *as_double = negative ? -0.0 : 0.0, *as_float = negative ? -0.0f : 0.0f;
        return FITS;
    }
    if (likely(digits <= 19 && q >= -27 && q <= 27)) {
        if (!is_float) {
            double d;
            if (m < (1ull << 53) && q >= -22 && q <= 22) {
                d = q < 0 ? (double)m / EXACT10[-q] : (double)m * EXACT10[q];
            } else {
                int exponent;
                uint64_t mantissa = scale_by_10(m, q, 53, &exponent);
                uint64_t bits = (uint64_t)(exponent + 1023) << 52 | (mantissa & ((1ull << 52) - 1));
                memcpy(&d, &bits, 8);
            }
            *as_double = negative ? -d : d;
            return FITS;
        }
        float f;
        if (m < (1u << 24) && q >= -10 && q <= 10) {
            f = q < 0 ? (float)m / EXACT10F[-q] : (float)m * EXACT10F[q];
            *as_float = negative ? -f : f;
            return FITS;
        }
        int exponent;
        uint64_t mantissa = scale_by_10(m, q, 24, &exponent);
        if (exponent <= 127) {
            uint32_t bits = (uint32_t)(exponent + 127) << 23 | (uint32_t)(mantissa & ((1u << 23) - 1));
            memcpy(&f, &bits, 4);
            *as_float = negative ? -f : f;
            return FITS;
        }
    }
    /* Many digits or far exponents: rare, and the C library rounds them correctly. Its decimal point depends on the
     * locale, which the program around us may have changed. */
    static locale_t locale;
    locale_t c = __atomic_load_n(&locale, __ATOMIC_ACQUIRE);
    if (!c) {
        if (!(c = newlocale(LC_ALL_MASK, "C", (locale_t)0))) return NO_MEMORY;
        locale_t none = (locale_t)0;
        if (!__atomic_compare_exchange_n(&locale, &none, c, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            freelocale(c);
            c = none;
        }
    }
    memcpy(text, start, (size_t)n);
    text[n] = 0;
    if (is_float) *as_float = strtof_l(text, NULL, c);
    else *as_double = strtod_l(text, NULL, c);
    return isinf(is_float ? (double)*as_float : *as_double) ? MALFORMED : FITS;
}

/* ---- decimals --------------------------------------------------------------------------------------------------- */

static const uint64_t POW10[20] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull, 1000000000ull,
    10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull, 100000000000000ull, 1000000000000000ull,
    10000000000000000ull, 100000000000000000ull, 1000000000000000000ull, 10000000000000000000ull};

static void multiply_add(uint64_t limbs[4], uint64_t factor, uint64_t add) {
    u128 carry = add;
    for (int i = 0; i < 4; i++) {
        carry += (u128)limbs[i] * factor;
        limbs[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* Any length of `digits(.digits)?` (p is after the sign) into the magnitude of decimal(precision, scale). */
NOINLINE int decimal_slow(const uint8_t *p, int64_t n, const struct field *f, uint64_t limbs[4]) {
    const uint8_t *end = p + n, *point = NULL, *first = NULL, *last = NULL;
    memset(limbs, 0, 32);
    for (const uint8_t *at = p; at < end; at++) {
        if (*at == '.') {
            if (point || at == p || at + 1 == end) return MALFORMED;
            point = at;
        } else if (!is_digit(*at)) {
            return MALFORMED;
        } else if (*at != '0') {
            if (!first) first = at;
            last = at;
        }
    }
    if (p == end) return MALFORMED;
    if (!first) return FITS;
    if (!point) point = end;
    /* The power of ten that a digit counts. */
    int64_t high = first < point ? point - first - 1 : point - first, low = last < point ? point - last - 1 : point - last;
    if (high + 1 + f->scale > f->precision) return R_PRECISION;
    if (low < -f->scale) return R_SCALE;
    for (const uint8_t *at = first; at <= last; at++)
        if (at != point) multiply_add(limbs, 10, (uint64_t)(*at - '0'));
    for (int64_t k = low + f->scale; k > 0; k -= 19) multiply_add(limbs, POW10[k > 19 ? 19 : k], 0);
    return FITS;
}

/* 1: done; 0: take the slow way. */
INLINE int decimal_fast(const uint8_t *p, int64_t n, const struct field *f, uint64_t *magnitude) {
    if (unlikely(n < 1 || n > 19 || !is_digit(*p))) return 0;
    const uint8_t *end = p + n;
    uint64_t sum = 0;
    while (p < end && is_digit(*p)) sum = sum * 10 + (uint64_t)(*p++ - '0');
    int64_t decimals = 0;
    if (p < end) {
        if (*p++ != '.' || p == end) return 0;
        decimals = end - p;
        while (p < end && is_digit(*p)) sum = sum * 10 + (uint64_t)(*p++ - '0');
        if (p < end) return 0;
    }
    int64_t more = f->scale - decimals;
    if (unlikely(more < 0 || n + more > 19)) return 0;
    sum *= POW10[more];
    *magnitude = sum;
    return sum < f->limit;
}

INLINE int parse_decimal(const uint8_t *p, int64_t n, const struct field *f, uint64_t limbs[4], int *negative) {
    *negative = n && *p == '-';
    if (likely(decimal_fast(p + *negative, n - *negative, f, limbs))) {
        limbs[1] = limbs[2] = limbs[3] = 0;
        return FITS;
    }
    if (equals(p, n, "NaN")) return R_NAN;
    if (is_infinity(p, n, "Infinity")) return R_INFINITE;
    return decimal_slow(p + *negative, n - *negative, f, limbs);
}

INLINE int put_decimal(const uint8_t *p, int64_t n, const struct field *f, uint8_t *to, int width) {
    uint64_t limbs[4];
    int negative, r = parse_decimal(p, n, f, limbs, &negative);
    if (unlikely(r)) return r;
    if (negative) {
        u128 carry = 1;
        for (int i = 0; i < 4; i++) {
            carry += (uint64_t)~limbs[i];
            limbs[i] = (uint64_t)carry;
            carry >>= 64;
        }
    }
    memcpy(to, limbs, (size_t)width);
    return FITS;
}

/* ---- moments ---------------------------------------------------------------------------------------------------- */

#define DAY_MICROS 86400000000ll

INLINE int two_digits(const uint8_t *p, int *value) {
    unsigned a = (unsigned)p[0] - '0', b = (unsigned)p[1] - '0';
    *value = (int)(a * 10 + b);
    return a <= 9 && b <= 9;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC. */
INLINE int64_t days_of(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Takes ` BC` off the end. */
INLINE int64_t cut_bc(const uint8_t *p, int64_t n, int *bc) {
    *bc = n > 3 && p[n - 1] == 'C' && p[n - 2] == 'B' && p[n - 3] == ' ';
    return *bc ? n - 3 : n;
}

/* `YYYY-MM-DD` with four to seven digits of a year, at the start of the text: how much it takes, or 0. */
INLINE int64_t parse_day(const uint8_t *p, int64_t n, int bc, int64_t *days) {
    int64_t year = 0, k = 0;
    for (; k < n && k < 7 && is_digit(p[k]); k++) year = year * 10 + (p[k] - '0');
    int month, day;
    if (unlikely(k < 4 || n - k < 6 || p[k] != '-' || p[k + 3] != '-' || !two_digits(p + k + 1, &month) ||
                 !two_digits(p + k + 4, &day)))
        return 0;
    if (unlikely(year < 1 || month < 1 || month > 12 || day < 1 || day > 31)) return 0;
    *days = days_of(bc ? 1 - year : year, month, day);
    return k + 6;
}

/* `HH:MM:SS(.f{1,6})?` at the start of the text: how much it takes, or 0. */
INLINE int64_t parse_clock(const uint8_t *p, int64_t n, int64_t *micros) {
    int h, m, s;
    if (unlikely(n < 8 || p[2] != ':' || p[5] != ':' || !two_digits(p, &h) || !two_digits(p + 3, &m) ||
                 !two_digits(p + 6, &s) || h > 24 || m > 59 || s > 60))
        return 0;
    int64_t fraction = 0, k = 8;
    if (k < n && p[k] == '.') {
        int count = 0;
        for (k++; k < n && count < 6 && is_digit(p[k]); k++, count++) fraction = fraction * 10 + (p[k] - '0');
        if (unlikely(!count)) return 0;
        for (; count < 6; count++) fraction *= 10;
    }
    *micros = ((int64_t)h * 3600 + m * 60 + s) * 1000000 + fraction;
    return k;
}

/* `[+-]HH(:MM(:SS)?)?`, the whole text. */
static int parse_zone(const uint8_t *p, int64_t n, int64_t *micros) {
    int h, m = 0, s = 0;
    if (n < 3 || (*p != '+' && *p != '-') || !two_digits(p + 1, &h)) return MALFORMED;
    if (n >= 6 && (p[3] != ':' || !two_digits(p + 4, &m))) return MALFORMED;
    if (n >= 9 && (p[6] != ':' || !two_digits(p + 7, &s))) return MALFORMED;
    if ((n != 3 && n != 6 && n != 9) || m > 59 || s > 59) return MALFORMED;
    *micros = ((int64_t)h * 3600 + m * 60 + s) * 1000000;
    if (*p == '-') *micros = -*micros;
    return FITS;
}

INLINE int parse_date(const uint8_t *p, int64_t n, int32_t *value) {
    int bc;
    int64_t days, left = cut_bc(p, n, &bc);
    if (unlikely(parse_day(p, left, bc, &days) != left || !left))
        return is_infinity(p, n, "infinity") ? R_INFINITE : MALFORMED;
    if (unlikely(days > INT32_MAX || days < INT32_MIN)) return MALFORMED;
    *value = (int32_t)days;
    return FITS;
}

INLINE int parse_time(const uint8_t *p, int64_t n, int64_t *value) {
    if (unlikely(parse_clock(p, n, value) != n || !n || *value > DAY_MICROS)) return MALFORMED;
    return unlikely(*value == DAY_MICROS) ? R_END_OF_DAY : FITS;
}

INLINE int parse_timestamp(const uint8_t *p, int64_t n, int zoned, int64_t *value) {
    int bc;
    int64_t days, clock, zone = 0, left = cut_bc(p, n, &bc), k = parse_day(p, left, bc, &days);
    if (unlikely(!k)) return is_infinity(p, n, "infinity") ? R_INFINITE : MALFORMED;
    if (unlikely(k >= left || p[k] != ' ')) return MALFORMED;
    int64_t taken = parse_clock(p + k + 1, left - k - 1, &clock);
    if (unlikely(!taken)) return MALFORMED;
    k += 1 + taken;
    if (zoned) {
        if (likely(left - k == 3 && p[k] == '+' && p[k + 1] == '0' && p[k + 2] == '0')) zone = 0;
        else if (parse_zone(p + k, left - k, &zone)) return MALFORMED;
    } else if (unlikely(k != left)) {
        return MALFORMED;
    }
    __int128 moment = (__int128)days * DAY_MICROS + clock - zone;
    *value = (int64_t)moment;
    return unlikely(*value != moment) ? R_RANGE : FITS;
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

/* `readable`: bytes from p on that a copy of a fixed size may read. */
INLINE int append_bytes(struct vector *v, const uint8_t *p, int64_t n, int64_t readable) {
    int r = room(v, n);
    if (unlikely(r)) return r;
    if (likely(n <= 32 && readable >= 32)) memcpy(v->values + v->bytes, p, 32); /* SLACK is more */
    else memcpy(v->values + v->bytes, p, (size_t)n);
    v->bytes += n;
    return FITS;
}

INLINE int hex_value(uint8_t c) {
    if (is_digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int append_hex(struct vector *v, const uint8_t *p, int64_t n) {
    if (n < 2 || p[0] != '\\' || p[1] != 'x' || n % 2) return MALFORMED;
    int r = room(v, n / 2);
    if (r) return r;
    uint8_t *to = v->values + v->bytes;
    int bad = 0;
    for (int64_t k = 2; k < n; k += 2) {
        int a = hex_value(p[k]), b = hex_value(p[k + 1]);
        bad |= a | b;
        *to++ = (uint8_t)((unsigned)a << 4 | ((unsigned)b & 15));
    }
    if (bad < 0) return MALFORMED;
    v->bytes += n / 2 - 1;
    return FITS;
}

/* `-$1,234.56` as `-1234.56`. */
static int append_money(struct vector *v, const uint8_t *p, int64_t n) {
    const uint8_t *end = p + n;
    int r = room(v, n);
    if (r) return r;
    uint8_t *to = v->values + v->bytes, *start = to;
    if (p < end && *p == '-') *to++ = *p++;
    if (p == end || *p++ != '$' || p == end || !is_digit(*p)) return MALFORMED;
    int point = 0;
    for (; p < end; p++) {
        if (*p == ',' && !point) continue;
        if (*p == '.') {
            if (point++ || p + 1 == end) return MALFORMED;
        } else if (!is_digit(*p)) {
            return MALFORMED;
        }
        *to++ = *p;
    }
    v->bytes += to - start;
    return FITS;
}

/* As the cast to text prints it, which a snapshot asks for: with the mask of a host. */
static int append_inet(struct vector *v, const uint8_t *p, int64_t n) {
    int r = room(v, n + 4);
    if (r) return r;
    memcpy(v->values + v->bytes, p, (size_t)n);
    v->bytes += n;
    if (!memchr(p, '/', (size_t)n)) {
        const char *mask = memchr(p, ':', (size_t)n) ? "/128" : "/32";
        memcpy(v->values + v->bytes, mask, strlen(mask));
        v->bytes += (int64_t)strlen(mask);
    }
    return FITS;
}

/* ---- one value -------------------------------------------------------------------------------------------------- */

/* The value at position i of v; there is room for i. FITS, a reason, or an error. */
INLINE int put_value(const struct field *f, struct vector *v, int64_t i, const uint8_t *p, int64_t n,
                     int64_t readable) {
    int64_t number = 0;
    int r;
    switch (f->op) {
    case OP_BOOL:
        if (unlikely(n != 1 || (*p != 't' && *p != 'f'))) return MALFORMED;
        if (*p == 't') set_bit(v->values, i);
        else clear_bit(v->values, i);
        return FITS;
    case OP_INT2:
        r = parse_integer(p, n, INT16_MIN, INT16_MAX, &number);
        ((int16_t *)v->values)[i] = (int16_t)number;
        return r;
    case OP_INT4:
        r = parse_integer(p, n, INT32_MIN, INT32_MAX, &number);
        ((int32_t *)v->values)[i] = (int32_t)number;
        return r;
    case OP_INT8: return parse_integer(p, n, INT64_MIN, INT64_MAX, (int64_t *)v->values + i);
    case OP_OID8: return parse_integer(p, n, 0, UINT32_MAX, (int64_t *)v->values + i);
    case OP_FLOAT4: {
        double unused;
        return parse_float(p, n, 1, &unused, (float *)v->values + i);
    }
    case OP_FLOAT8: {
        float unused;
        return parse_float(p, n, 0, (double *)v->values + i, &unused);
    }
    case OP_DECIMAL128: return put_decimal(p, n, f, v->values + 16 * i, 16);
    case OP_DECIMAL256: return put_decimal(p, n, f, v->values + 32 * i, 32);
    case OP_DATE: return parse_date(p, n, (int32_t *)v->values + i);
    case OP_TIME: return parse_time(p, n, (int64_t *)v->values + i);
    case OP_TIMESTAMP: return parse_timestamp(p, n, 0, (int64_t *)v->values + i);
    case OP_TIMESTAMPTZ: return parse_timestamp(p, n, 1, (int64_t *)v->values + i);
    case OP_TEXT:
        if (unlikely(f->validate && !is_utf8(p, n))) r = R_UTF8;
        else r = append_bytes(v, p, n, readable);
        break;
    case OP_BYTEA: r = append_hex(v, p, n); break;
    case OP_MONEY: r = append_money(v, p, n); break;
    case OP_INET: r = append_inet(v, p, n); break;
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

/* ---- arrays: array_out() of arrayfuncs.c ------------------------------------------------------------------------ */

/* `[1:2][-3:4]={…`: the number of dimensions, or MALFORMED. */
static int parse_bounds(const uint8_t *p, const uint8_t *end) {
    int dimensions = 0;
    while (p < end && *p == '[') {
        p++, dimensions++;
        for (int side = 0; side < 2; side++) {
            p += p < end && *p == '-';
            if (p >= end || !is_digit(*p)) return MALFORMED;
            while (p < end && is_digit(*p)) p++;
            if (p >= end || *p++ != (side ? ']' : ':')) return MALFORMED;
        }
    }
    return end - p < 2 || p[0] != '=' || p[1] != '{' || dimensions > MAX_DIMENSIONS ? MALFORMED : dimensions;
}

/* The item between quotes that begins at p (after the quote): its bytes without escapes. Gives the place after it. */
static const uint8_t *parse_quoted(const uint8_t *p, const uint8_t *end, struct scratch *scratch,
                                   const uint8_t **item, int64_t *n, int *error) {
    const uint8_t *start = p;
    while (p < end && *p != '"' && *p != '\\') p++;
    *error = MALFORMED;
    if (p == end) return NULL;
    if (*p == '"') {
        *item = start, *n = p - start;
        return p + 1;
    }
    if (scratch->capacity < end - start) {
        if (!grow((void **)&scratch->bytes, end - start)) {
            *error = NO_MEMORY;
            return NULL;
        }
        scratch->capacity = end - start;
    }
    uint8_t *to = scratch->bytes;
    for (p = start; p < end && *p != '"'; p++) {
        if (*p == '\\' && ++p == end) return NULL;
        *to++ = *p;
    }
    if (p == end) return NULL;
    *item = scratch->bytes, *n = to - scratch->bytes;
    return p + 1;
}

/* One item into the innermost list. Gives the place after it, NULL after an error. */
static const uint8_t *put_item(struct field *f, struct scratch *scratch, const uint8_t *p, const uint8_t *end,
                               int *reason, int *error) {
    struct vector *leaf = &f->levels[f->depth];
    const uint8_t *item = p;
    int64_t i = leaf->length, n, readable;
    if (i >= INT32_MAX - 1) {
        *error = TOO_LARGE;
        return NULL;
    }
    if (unlikely(i >= leaf->capacity) && !reserve(leaf, i + 1)) {
        *error = NO_MEMORY;
        return NULL;
    }
    *error = MALFORMED;
    int quoted = p < end && *p == '"';
    if (quoted) {
        p = parse_quoted(p + 1, end, scratch, &item, &n, error);
        if (!p) return NULL;
        readable = n;
    } else {
        for (; p < end && *p != f->delimiter && *p != '}'; p++)
            if (unlikely(*p == '{' || *p == '"' || *p == '\\')) return NULL;
        n = p - item;
        readable = end - item;
        if (!n) return NULL;
    }
    leaf->length = i + 1;
    if (!quoted && equals(item, n, "NULL")) {
        put_null(leaf, i);
        if (leaf->has_offsets) leaf->offsets[i + 1] = (int32_t)leaf->bytes;
        return p;
    }
    int r = put_value(f, leaf, i, item, n, readable);
    if (unlikely(r)) {
        if (r < 0) {
            *error = r;
            return NULL;
        }
        if (!*reason) *reason = r;
        if (leaf->width > 0) memset(leaf->values + leaf->width * i, 0, (size_t)leaf->width);
    }
    return p;
}

static int put_items(struct field *f, struct scratch *scratch, const uint8_t *p, int64_t n) {
    const uint8_t *end = p + n;
    int dimensions = 0, reason = FITS, error = MALFORMED;
    if (n < 2) return MALFORMED;
    if (*p == '[') {
        dimensions = parse_bounds(p, end);
        if (dimensions < 0) return MALFORMED;
        return dimensions == f->depth ? R_LOWER_BOUND : R_DIMENSIONS;
    }
    if (equals(p, n, "{}")) return FITS;
    while (dimensions < n && p[dimensions] == '{') dimensions++;
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS) return MALFORMED;
    if (dimensions != f->depth) return R_DIMENSIONS;
    p += dimensions;
    for (int level = dimensions;;) {
        if (!(p = put_item(f, scratch, p, end, &reason, &error))) return error;
        for (;;) { /* lists that end here */
            if (p == end) return MALFORMED;
            if (*p != '}') break;
            p++;
            if (--level == 0) return p == end ? reason : MALFORMED;
            struct vector *lists = &f->levels[level];
            if (unlikely(lists->length >= lists->capacity) && !reserve(lists, lists->length + 1)) return NO_MEMORY;
            lists->offsets[++lists->length] = (int32_t)f->levels[level + 1].length;
        }
        if (*p++ != f->delimiter) return MALFORMED;
        for (; level < dimensions; level++)
            if (p == end || *p++ != '{') return MALFORMED;
    }
}

/* Row `row` of a list column. After a reason the levels below hold what they held before. */
static int put_array(struct field *f, struct scratch *scratch, int64_t row, const uint8_t *p, int64_t n) {
    int64_t lengths[MAX_DIMENSIONS + 1];
    struct vector *leaf = &f->levels[f->depth];
    int64_t bytes = leaf->bytes, nulls = leaf->nulls;
    for (int k = 1; k <= f->depth; k++) {
        if (unlikely(!f->levels[k].capacity) && !reserve(&f->levels[k], 1)) return NO_MEMORY;
        lengths[k] = f->levels[k].length;
    }
    int r = put_items(f, scratch, p, n);
    if (unlikely(r)) {
        for (int64_t i = lengths[f->depth]; i < leaf->length; i++) set_bit(leaf->validity, i);
        for (int k = 1; k <= f->depth; k++) f->levels[k].length = lengths[k];
        leaf->bytes = bytes;
        leaf->nulls = nulls;
    }
    f->top->offsets[row + 1] = (int32_t)f->levels[1].length;
    return r;
}

/* ---- fields ----------------------------------------------------------------------------------------------------- */

INLINE void put_null_field(struct field *f, int64_t row) {
    struct vector *v = f->top;
    put_null(v, row);
    if (v->has_offsets) v->offsets[row + 1] = f->depth ? (int32_t)f->levels[1].length : (int32_t)v->bytes;
}

/* FITS, a reason (the field is then NULL), or an error. */
INLINE int put_field(struct field *f, struct scratch *scratch, int64_t row, const uint8_t *p, int64_t n,
                     int64_t readable) {
    int r = likely(!f->depth) ? put_value(f, f->top, row, p, n, readable) : put_array(f, scratch, row, p, n);
    if (unlikely(r > 0)) put_null_field(f, row);
    return r;
}

static void free_field(struct field *f) {
    for (int level = 0; f->levels && level <= f->depth; level++) free_vector(&f->levels[level]);
    free(f->levels);
    f->levels = f->top = NULL;
}

static int open_levels(struct field *f) {
    f->levels = calloc((size_t)f->depth + 1, sizeof *f->levels);
    if (!f->levels) return 0;
    f->top = f->levels;
    for (int level = 0; level < f->depth; level++) f->levels[level].has_offsets = 1;
    struct vector *leaf = &f->levels[f->depth];
    leaf->width = WIDTHS[f->op];
    leaf->has_offsets = leaf->width == 0;
    return 1;
}

#endif
