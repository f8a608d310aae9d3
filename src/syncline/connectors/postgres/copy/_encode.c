/* Arrow arrays into rows of COPY BINARY, without the interpreter.
 *
 * Called through ctypes by copy_encode.py, which lets go of the GIL for the length of each call; nothing here touches a
 * Python object except the empty module at the end, which exists so that the build and the import machinery treat this
 * file as any extension.
 *
 *     sl_encoder_open   a plan (tree of nodes, one root per column) -> a handle
 *     sl_encoder_bind   one exported RecordBatch (Arrow C data interface) to the plan
 *     sl_encoder_rows   rows [from, to) -> the handle's buffer, until it holds `target` bytes
 *     sl_encoder_check  one column: which cells Postgres cannot hold, and why
 *     sl_encoder_close
 *
 * A row is an int16 count of fields and then, per field, an int32 length (-1 for NULL) and the bytes of the type's
 * *_recv function, big-endian. Nothing is ever rounded or clipped: a value that does not fit stops the call with its row,
 * its column and a reason. The pure Python version in copy_encode_fallback.py gives the same bytes and the same reasons.
 *
 * Needs gcc or clang (128-bit integers) and a little-endian machine; elsewhere the build fails and the fallback serves.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "little-endian machines only; the pure Python fallback serves the others"
#endif

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef unsigned __int128 u128;
typedef __int128 i128;

/* ---- the Arrow C data interface ------------------------------------------------------------------------------ */

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

/* ---- the plan: keep in step with copy_encode_plan.py ----------------------------------------------------------- */

enum source {
    S_NULL, S_BOOL, S_I8, S_I16, S_I32, S_I64, S_U8, S_U16, S_U32, S_U64, S_F16, S_F32, S_F64,
    S_D32, S_D64, S_D128, S_D256, S_BYTES32, S_BYTES64, S_VIEW, S_FIXED, S_LIST32, S_LIST64, S_LISTFIX, S_LISTVIEW32, S_LISTVIEW64
};

enum op {
    OP_NULL, OP_BOOL, OP_COPY2, OP_COPY4, OP_COPY8, OP_INT, OP_FLOAT4, OP_FLOAT8, OP_DATE, OP_TIME, OP_STAMP,
    OP_DECIMAL, OP_NUMERIC_INT, OP_NUMERIC_TEXT, OP_TEXT, OP_JSONB, OP_BYTES, OP_UUID_TEXT, OP_ARRAY, OP_DICT
};

enum reason {
    FINE, NO_INT_RANGE, NO_INEXACT_FLOAT, NO_DATE_RANGE, NO_TIME_RANGE, NO_STAMP_RANGE, NO_SUB_UNIT, NO_NUMERIC_RANGE,
    NO_NUMERIC_SCALE, NO_NUMERIC_TEXT, NO_NUMERIC_SPECIAL, NO_TOO_LONG, NO_UUID_TEXT, NO_RAGGED, NO_TOO_BIG, NO_NUL, NO_UTF8,
    NO_JSON_NUL, NO_JSON_SURROGATE, NO_MEMORY
};

struct node {
    int32_t op, source;
    int32_t width;      /* bytes: of the integer written, of a fixed-size value, items of a fixed-size list */
    int32_t child;      /* index of the node of the list's items or of the dictionary's values, -1 without */
    int32_t scale;      /* decimals: of the Arrow type */
    int32_t typmod;     /* 1: precision and limit below bind the value */
    int32_t precision;  /* numeric(p, s): p. Text: bytes instead of characters count when 1, trailing blanks free when 2 */
    int32_t limit;      /* numeric(p, s): s. varchar(n), char(n), name: n */
    uint32_t oid;       /* arrays: of the items' type */
    int32_t unused;
    int64_t low, high;  /* integers: what the target holds; high is also right for unsigned sources */
    int64_t multiply, divide, grain; /* times: to microseconds, and what the result must be a multiple of */
};

struct bound {
    struct node n;
    const uint8_t *valid; /* NULL when nothing is null */
    const void *data;     /* values, offsets or views */
    const char *bytes;    /* variable-size bytes, or the sizes of list views */
    const char *bytes_end;
    const void **views;   /* the buffers of a view array */
    int64_t offset, length;
    const struct bound *child;
    uint64_t pad;         /* decimals: factor that aligns the point to a base-10000 digit */
    int32_t groups, dscale; /* decimals: base-10000 digits behind the point, display scale */
};

struct result { int64_t row; int32_t column, reason; };

struct encoder {
    char *buffer;
    int64_t used; /* bytes in buffer after a call */
    /* the rest is not read from Python */
    char *p, *end;
    int64_t slack;  /* what one row may write without asking */
    int check;      /* also look inside texts */
    int n_nodes, n_columns;
    struct bound *nodes;
    int32_t *roots;
};

#define EPOCH_DAYS 10957                 /* 1970-01-01 to 2000-01-01 */
#define EPOCH_MICROS 946684800000000LL
#define MIN_DATE (-2451545)              /* Postgres days, 4714-11-24 BC */
#define END_DATE 2145031949
#define MIN_STAMP (-211813488000000000LL) /* Postgres microseconds */
#define END_STAMP 9223371331200000000LL
#define DAY_MICROS 86400000000LL
#define MAX_FIELD 0x3ffffff0             /* a little below Postgres's 1 GB for one value */
#define MAX_DIMS 6
#define MAX_ITEMS 134217727
#define FIXED_MAX 80                     /* more than the longest value of bounded size: numeric of 81 digits, plus length */
#define ARRAY_HEAD (4 + 12 + 8 * MAX_DIMS)

/* ---- writing -------------------------------------------------------------------------------------------------- */

INLINE void put16(char *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); }
INLINE void put32(char *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }
INLINE void put64(char *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }

NOINLINE int grow(struct encoder *e, int64_t need) {
    int64_t used = e->p - e->buffer, size = e->end - e->buffer;
    int64_t wanted = used + need;
    if (size * 2 > wanted && size < (64 << 20)) wanted = size * 2;
    wanted = (wanted + 0xffff) & ~(int64_t)0xffff;
    char *b = realloc(e->buffer, (size_t)wanted);
    if (!b) return NO_MEMORY;
    e->buffer = b, e->p = b + used, e->end = b + wanted;
    return FINE;
}

/* After this, n bytes and the bounded rest of the row have room. */
INLINE int room(struct encoder *e, int64_t n) {
    return unlikely(e->end - e->p < n + e->slack) ? grow(e, n + e->slack) : FINE;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

INLINE int is_null(const struct bound *b, int64_t k) { return b->valid && !((b->valid[k >> 3] >> (k & 7)) & 1); }

INLINE int64_t load_int(int source, const void *data, int64_t k) {
    switch (source) {
    case S_I8: return ((const int8_t *)data)[k];
    case S_I16: return ((const int16_t *)data)[k];
    case S_I32: return ((const int32_t *)data)[k];
    case S_U8: return ((const uint8_t *)data)[k];
    case S_U16: return ((const uint16_t *)data)[k];
    case S_U32: return ((const uint32_t *)data)[k];
    default: return ((const int64_t *)data)[k]; /* S_I64, and S_U64 as its bits */
    }
}

INLINE const char *load_bytes(const struct bound *b, int64_t k, int64_t *length) {
    switch (b->n.source) {
    case S_BYTES32: {
        const int32_t *o = (const int32_t *)b->data + k;
        *length = (int64_t)o[1] - o[0];
        return b->bytes + o[0];
    }
    case S_BYTES64: {
        const int64_t *o = (const int64_t *)b->data + k;
        *length = o[1] - o[0];
        return b->bytes + o[0];
    }
    case S_FIXED:
        *length = b->n.width;
        return (const char *)b->data + k * b->n.width;
    default: { /* S_VIEW: 16 bytes, length first; up to 12 bytes inline, else prefix, buffer number, offset */
        const char *view = (const char *)b->data + k * 16;
        int32_t head[4];
        memcpy(head, view, 16);
        *length = head[0];
        return head[0] <= 12 ? view + 4 : (const char *)b->views[2 + head[2]] + head[3];
    }
    }
}

INLINE void load_list(const struct bound *b, int64_t k, int64_t *from, int64_t *to) {
    switch (b->n.source) {
    case S_LIST32: *from = ((const int32_t *)b->data)[k], *to = ((const int32_t *)b->data)[k + 1]; break;
    case S_LIST64: *from = ((const int64_t *)b->data)[k], *to = ((const int64_t *)b->data)[k + 1]; break;
    case S_LISTVIEW32: *from = ((const int32_t *)b->data)[k], *to = *from + ((const int32_t *)b->bytes)[k]; break;
    case S_LISTVIEW64: *from = ((const int64_t *)b->data)[k], *to = *from + ((const int64_t *)b->bytes)[k]; break;
    default: *from = k * b->n.width, *to = *from + b->n.width;
    }
}

static double half_to_double(uint16_t h) {
    uint64_t sign = (uint64_t)(h >> 15) << 63, mantissa = h & 0x3ff, out;
    int exponent = (h >> 10) & 0x1f;
    double d;
    if (exponent == 0) {
        d = (double)mantissa * 0x1p-24;
        return sign ? -d : d;
    }
    if (exponent == 31) out = sign | 0x7ff0000000000000ULL | (mantissa << 42);
    else out = sign | ((uint64_t)(exponent - 15 + 1023) << 52) | (mantissa << 42);
    memcpy(&d, &out, 8);
    return d;
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

INLINE int64_t characters(const char *s, int64_t n) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

/* varchar(n) cuts trailing blanks without a word, so any excess counts; char(n) holds blanks as padding anyway. */
NOINLINE int fits_limit(const struct node *n, const char *s, int64_t length) {
    if (n->precision == 1) return length <= n->limit;
    if (n->precision == 2)
        while (length && s[length - 1] == ' ') length--;
    return length <= n->limit || characters(s, length) <= n->limit;
}

/* UTF-8 as Postgres wants it: no overlong forms, no surrogates, nothing above U+10FFFF, and no NUL. */
static int look_at_text(const unsigned char *s, int64_t n) {
    int64_t i = 0;
    while (i < n) {
        if (i + 8 <= n) {
            uint64_t w;
            memcpy(&w, s + i, 8);
            if (!(w & 0x8080808080808080ULL) && !((w - 0x0101010101010101ULL) & ~w & 0x8080808080808080ULL)) {
                i += 8;
                continue;
            }
        }
        unsigned c = s[i];
        if (c == 0) return NO_NUL;
        if (c < 0x80) { i++; continue; }
        int more;
        unsigned low = 0x80, high = 0xbf;
        if (c >= 0xc2 && c <= 0xdf) more = 1;
        else if (c >= 0xe0 && c <= 0xef) {
            more = 2;
            if (c == 0xe0) low = 0xa0;
            if (c == 0xed) high = 0x9f;
        } else if (c >= 0xf0 && c <= 0xf4) {
            more = 3;
            if (c == 0xf0) low = 0x90;
            if (c == 0xf4) high = 0x8f;
        } else return NO_UTF8;
        if (i + more >= n) return NO_UTF8;
        if (s[i + 1] < low || s[i + 1] > high) return NO_UTF8;
        for (int k = 2; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80) return NO_UTF8;
        i += more + 1;
    }
    return FINE;
}

static int hex_value(unsigned char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static long escape_at(const unsigned char *s, int64_t n, int64_t i) { /* s[i] == '\\', s[i+1] == 'u' */
    long v = 0;
    if (i + 6 > n) return -1;
    for (int k = 2; k < 6; k++) {
        int h = hex_value(s[i + k]);
        if (h < 0) return -1;
        v = v * 16 + h;
    }
    return v;
}

/* What jsonb refuses though it is valid JSON: \u0000, and halves of surrogate pairs. */
static int look_at_json(const unsigned char *s, int64_t n) {
    const unsigned char *hit = memchr(s, '\\', (size_t)n);
    if (!hit) return FINE;
    for (int64_t i = hit - s; i + 1 < n; i++) {
        if (s[i] != '\\') continue;
        if (s[i + 1] != 'u') { i++; continue; }
        long v = escape_at(s, n, i);
        if (v < 0) { i++; continue; } /* broken syntax: the server says so */
        if (v == 0) return NO_JSON_NUL;
        if (v >= 0xdc00 && v <= 0xdfff) return NO_JSON_SURROGATE;
        if (v >= 0xd800 && v <= 0xdbff) {
            long low = i + 12 <= n && s[i + 6] == '\\' && s[i + 7] == 'u' ? escape_at(s, n, i + 6) : -1;
            if (low < 0xdc00 || low > 0xdfff) return NO_JSON_SURROGATE;
            i += 6;
        }
        i += 5;
    }
    return FINE;
}

/* ---- numeric -------------------------------------------------------------------------------------------------- */

#define NUMERIC_NEGATIVE 0x4000
#define NUMERIC_NAN 0xC000
#define NUMERIC_PINF 0xD000
#define NUMERIC_NINF 0xF000

INLINE void numeric_head(char *p, int ndigits, int weight, int sign, int dscale) {
    put32(p, (uint32_t)(8 + 2 * ndigits));
    put16(p + 4, (uint16_t)ndigits);
    put16(p + 6, (uint16_t)weight);
    put16(p + 8, (uint16_t)sign);
    put16(p + 10, (uint16_t)dscale);
}

/* numeric(p, s) without rounding: nothing behind the s-th decimal, at most p - s digits before the point.
 * first and last are the outer base-10000 digits, none of them zero; weight is that of the first. */
static int fits_typmod(const struct node *n, int first, int last, int ndigits, int weight) {
    int fraction = (ndigits - 1 - weight) * 4;
    if (last % 10 == 0) fraction -= last % 1000 == 0 ? 3 : last % 100 == 0 ? 2 : 1;
    if (fraction > n->limit) return NO_NUMERIC_SCALE;
    int whole = (weight + 1) * 4 - (first < 10 ? 3 : first < 100 ? 2 : first < 1000 ? 1 : 0);
    return whole > n->precision - n->limit ? NO_NUMERIC_RANGE : FINE;
}

/* `count` base-10000 digits, least first, `behind` of them behind the point. */
INLINE int put_digits(struct encoder *e, const struct node *n, const uint16_t *d, int count, int behind, int sign,
                      int dscale) {
    int skip = 0;
    while (skip < count && d[skip] == 0) skip++;
    while (count > skip && d[count - 1] == 0) count--;
    int ndigits = count - skip, weight = count - 1 - behind;
    char *p = e->p;
    if (ndigits == 0) weight = 0, sign = 0;
    else if (n->typmod) {
        int r = fits_typmod(n, d[count - 1], d[skip], ndigits, weight);
        if (unlikely(r)) return r;
    }
    numeric_head(p, ndigits, weight, sign, dscale);
    p += 12;
    for (int i = count - 1; i >= skip; i--, p += 2) put16(p, d[i]);
    e->p = p;
    return FINE;
}

INLINE int split64(uint64_t v, uint16_t *d) {
    int count = 0;
    while (v) {
        uint64_t q = v / 10000;
        d[count++] = (uint16_t)(v - q * 10000);
        v = q;
    }
    return count;
}

/* Wide decimals: up to 256 bits, widened by the alignment to 320. */
NOINLINE int put_wide(struct encoder *e, const struct bound *b, const uint64_t *value, int words, int sign) {
    uint64_t v[5] = {0, 0, 0, 0, 0};
    uint16_t d[28];
    int count = 0, top = 5;
    u128 carry = 0;
    for (int i = 0; i < words; i++) {
        carry += (u128)value[i] * b->pad;
        v[i] = (uint64_t)carry;
        carry >>= 64;
    }
    v[words] = (uint64_t)carry;
    for (;;) {
        while (top && v[top - 1] == 0) top--;
        if (!top) break;
        u128 rest = 0;
        for (int i = top - 1; i >= 0; i--) {
            rest = rest << 64 | v[i];
            v[i] = (uint64_t)(rest / 10000000000000000ULL);
            rest %= 10000000000000000ULL;
        }
        uint64_t r = (uint64_t)rest;
        for (int k = 0; k < 4; k++, r /= 10000) d[count++] = (uint16_t)(r % 10000);
    }
    return put_digits(e, &b->n, d, count, b->groups, sign, b->dscale);
}

INLINE int put_decimal(struct encoder *e, const struct bound *b, int64_t k) {
    uint64_t w[4];
    int words = 1, negative;
    switch (b->n.source) {
    case S_D32: w[0] = (uint64_t)(int64_t)((const int32_t *)b->data)[k]; break;
    case S_D64: w[0] = ((const uint64_t *)b->data)[k]; break;
    case S_D128: memcpy(w, (const char *)b->data + k * 16, 16), words = 2; break;
    default: memcpy(w, (const char *)b->data + k * 32, 32), words = 4;
    }
    negative = (int64_t)w[words - 1] < 0;
    if (negative) {
        uint64_t carry = 1;
        for (int i = 0; i < words; i++) {
            w[i] = ~w[i] + carry;
            carry = carry && w[i] == 0;
        }
    }
    int sign = negative ? NUMERIC_NEGATIVE : 0;
    uint64_t high = words == 1 ? 0 : words == 2 ? w[1] : w[1] | w[2] | w[3], v;
    if (unlikely(high) || unlikely(__builtin_mul_overflow(w[0], b->pad, &v))) return put_wide(e, b, w, words, sign);
    uint16_t d[8];
    return put_digits(e, &b->n, d, split64(v, d), b->groups, sign, b->dscale);
}

static int put_numeric_int(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t v = load_int(b->n.source, b->data, k);
    int negative = v < 0 && b->n.source != S_U64;
    uint16_t d[8];
    return put_digits(e, &b->n, d, split64(negative ? 0 - (uint64_t)v : (uint64_t)v, d), 0,
                      negative ? NUMERIC_NEGATIVE : 0, 0);
}

static int is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int same_word(const char *s, int64_t n, const char *word) {
    for (; n && *word; n--, s++, word++)
        if ((*s | 0x20) != *word) return 0;
    return n == 0 && *word == 0;
}

/* Numeric text by the grammar of numeric_in up to Postgres 15: blanks, sign, digits, point, exponent; NaN, inf, infinity. */
NOINLINE int put_numeric_text(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t n, i, first_digit = -1, whole = 0, digits = 0, behind = 0, exponent = 0;
    const char *s = load_bytes(b, k, &n);
    int sign = 0, special = 0, point = 0, r;
    while (n && is_blank(s[0])) s++, n--;
    while (n && is_blank(s[n - 1])) n--;
    if (same_word(s, n, "nan")) special = NUMERIC_NAN;
    if (n && (s[0] == '+' || s[0] == '-')) sign = s[0] == '-' ? NUMERIC_NEGATIVE : 0, s++, n--;
    if (same_word(s, n, "inf") || same_word(s, n, "infinity")) special = sign ? NUMERIC_NINF : NUMERIC_PINF;
    if (special) {
        if (b->n.typmod && special != NUMERIC_NAN) return NO_NUMERIC_SPECIAL;
        numeric_head(e->p, 0, 0, special, 0);
        e->p += 12;
        return FINE;
    }
    for (i = 0; i < n; i++) {
        if (s[i] == '.' && !point) point = 1;
        else if (s[i] >= '0' && s[i] <= '9') {
            if (first_digit < 0) first_digit = i;
            digits++, behind += point, whole += !point;
        } else break;
    }
    int64_t stop = i;
    if (first_digit < 0) return NO_NUMERIC_TEXT;
    if (i < n) {
        int minus = 0;
        if ((s[i] | 0x20) != 'e') return NO_NUMERIC_TEXT;
        if (++i < n && (s[i] == '+' || s[i] == '-')) minus = s[i++] == '-';
        if (i == n) return NO_NUMERIC_TEXT;
        for (; i < n; i++) {
            if (s[i] < '0' || s[i] > '9') return NO_NUMERIC_TEXT;
            if (exponent < 1000000) exponent = exponent * 10 + (s[i] - '0');
        }
        if (minus) exponent = -exponent;
    }
    if (exponent >= 1000000 || exponent <= -1000000 || n > 2000000) return NO_NUMERIC_RANGE;
    int64_t dscale = behind - exponent;
    if (dscale < 0) dscale = 0;
    if (dscale > 16383) return NO_NUMERIC_RANGE;
    /* without leading zeros */
    int64_t lead = whole + exponent; /* decimal digits before the point, may be negative */
    int64_t at = 0;
    while (at < stop && (s[at] == '0' || s[at] == '.')) lead -= s[at] == '0', digits -= s[at] == '0', at++;
    int64_t last = stop;
    while (last > at && (s[last - 1] == '0' || s[last - 1] == '.')) digits -= s[last - 1] == '0', last--;
    if (at >= last) {
        numeric_head(e->p, 0, 0, 0, (int)dscale);
        e->p += 12;
        return FINE;
    }
    int64_t weight = lead > 0 ? (lead - 1) / 4 : -((4 - lead) / 4); /* of the first base-10000 digit: floor((lead - 1) / 4) */
    if (weight > 32767 || weight < -32768) return NO_NUMERIC_RANGE;
    int blank = (int)((weight + 1) * 4 - lead); /* zeros in front that fill the first group */
    int64_t ndigits = (digits + blank + 3) / 4;
    if ((r = room(e, 12 + 2 * ndigits))) return r;
    char *p = e->p + 12;
    int group = 0, filled = blank, first_group = 0;
    for (; at < last; at++) {
        if (s[at] == '.') continue;
        group = group * 10 + (s[at] - '0');
        if (++filled == 4) {
            if (p == e->p + 12) first_group = group;
            put16(p, (uint16_t)group), p += 2;
            group = filled = 0;
        }
    }
    if (filled) {
        for (; filled < 4; filled++) group *= 10;
        if (p == e->p + 12) first_group = group;
        put16(p, (uint16_t)group), p += 2;
    }
    int last_group = (unsigned char)p[-2] << 8 | (unsigned char)p[-1];
    if (b->n.typmod && (r = fits_typmod(&b->n, first_group, last_group, (int)ndigits, (int)weight))) return r;
    numeric_head(e->p, (int)ndigits, (int)weight, sign, (int)dscale);
    e->p = p;
    return FINE;
}

/* ---- one cell ------------------------------------------------------------------------------------------------- */

static int put_array(struct encoder *e, const struct bound *b, int64_t k);
static int put_cell_again(struct encoder *e, const struct bound *b, int64_t i);

INLINE int put_bytes(struct encoder *e, const struct bound *b, int64_t k, int prefix) {
    int64_t n;
    const char *s = load_bytes(b, k, &n);
    if (unlikely(n > MAX_FIELD)) return NO_TOO_BIG;
    int r = room(e, n + 16);
    if (unlikely(r)) return r;
    char *p = e->p;
    put32(p, (uint32_t)n + (uint32_t)prefix);
    p += 4;
    if (prefix) *p++ = 1;
    /* Short values dominate: two overlapping blocks cost less than a call, when reading past the value is inside its buffer. */
    if (n <= 16 && likely((intptr_t)b->bytes_end - (intptr_t)s >= 16)) memcpy(p, s, 16);
    else memcpy(p, s, (size_t)n);
    e->p = p + n;
    return FINE;
}

static int put_uuid_text(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t n;
    const char *s = load_bytes(b, k, &n), *stop = s + n;
    int brace = n && *s == '{';
    char *p = e->p;
    put32(p, 16);
    p += 4;
    s += brace;
    for (int i = 0; i < 16; i++) {
        if (stop - s < 2) return NO_UUID_TEXT;
        int high = hex_value((unsigned char)s[0]), low = hex_value((unsigned char)s[1]);
        if (high < 0 || low < 0) return NO_UUID_TEXT;
        *p++ = (char)(high << 4 | low);
        s += 2;
        if (i % 2 == 1 && i < 15 && s < stop && *s == '-') s++;
    }
    if (brace) {
        if (s == stop || *s != '}') return NO_UUID_TEXT;
        s++;
    }
    if (s != stop) return NO_UUID_TEXT;
    e->p = p;
    return FINE;
}

INLINE int put_int(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t v = load_int(b->n.source, b->data, k);
    if (b->n.source == S_U64 ? (uint64_t)v > (uint64_t)b->n.high : v < b->n.low || v > b->n.high) return NO_INT_RANGE;
    char *p = e->p;
    put32(p, (uint32_t)b->n.width);
    switch (b->n.width) {
    case 2: put16(p + 4, (uint16_t)v); break;
    case 4: put32(p + 4, (uint32_t)v); break;
    default: put64(p + 4, (uint64_t)v);
    }
    e->p = p + 4 + b->n.width;
    return FINE;
}

static int put_float(struct encoder *e, const struct bound *b, int64_t k) {
    double d;
    float f;
    uint32_t u4;
    uint64_t u8;
    switch (b->n.source) {
    case S_F16: d = half_to_double(((const uint16_t *)b->data)[k]); break;
    case S_F32: d = ((const float *)b->data)[k]; break;
    case S_F64: d = ((const double *)b->data)[k]; break;
    default: {
        int64_t v = load_int(b->n.source, b->data, k);
        int is_unsigned = b->n.source == S_U64;
        d = is_unsigned ? (double)(uint64_t)v : (double)v;
        if ((is_unsigned ? (i128)(uint64_t)v : (i128)v) != (i128)d) return NO_INEXACT_FLOAT;
    }
    }
    if (b->n.op == OP_FLOAT4) {
        f = (float)d;
        if (d == d && (double)f != d) return NO_INEXACT_FLOAT;
        memcpy(&u4, &f, 4);
        put32(e->p, 4), put32(e->p + 4, u4);
        e->p += 8;
    } else {
        memcpy(&u8, &d, 8);
        put32(e->p, 8), put64(e->p + 4, u8);
        e->p += 12;
    }
    return FINE;
}

INLINE int put_date(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t v = load_int(b->n.source, b->data, k);
    if (b->n.divide > 1) {
        if (v % b->n.divide) return NO_SUB_UNIT;
        v /= b->n.divide;
    }
    if (unlikely(v < MIN_DATE + EPOCH_DAYS || v >= (int64_t)END_DATE + EPOCH_DAYS)) return NO_DATE_RANGE;
    put32(e->p, 4), put32(e->p + 4, (uint32_t)(int32_t)(v - EPOCH_DAYS));
    e->p += 8;
    return FINE;
}

INLINE int put_time(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t v = load_int(b->n.source, b->data, k);
    if (b->n.divide > 1) {
        if (v % b->n.divide) return NO_SUB_UNIT;
        v /= b->n.divide;
    } else if (b->n.multiply > 1 && __builtin_mul_overflow(v, b->n.multiply, &v)) return NO_TIME_RANGE;
    if (unlikely(v < 0 || v > DAY_MICROS)) return NO_TIME_RANGE;
    if (b->n.grain > 1 && v % b->n.grain) return NO_SUB_UNIT;
    put32(e->p, 8), put64(e->p + 4, (uint64_t)v);
    e->p += 12;
    return FINE;
}

INLINE int put_stamp(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t v = load_int(b->n.source, b->data, k);
    if (b->n.divide > 1) {
        if (v % b->n.divide) return NO_SUB_UNIT;
        v /= b->n.divide;
    } else if (b->n.multiply > 1 && unlikely(__builtin_mul_overflow(v, b->n.multiply, &v))) return NO_STAMP_RANGE;
    if (unlikely(v < MIN_STAMP + EPOCH_MICROS)) return NO_STAMP_RANGE;
    v -= EPOCH_MICROS;
    if (unlikely(v >= END_STAMP)) return NO_STAMP_RANGE;
    if (b->n.grain > 1 && v % b->n.grain) return NO_SUB_UNIT;
    put32(e->p, 8), put64(e->p + 4, (uint64_t)v);
    e->p += 12;
    return FINE;
}

/* Field i (before the array's offset) with its length, at e->p. The row's bounded parts have room already. */
INLINE int put_cell(struct encoder *e, const struct bound *b, int64_t i) {
    int64_t k = i + b->offset;
    if (is_null(b, k) || b->n.op == OP_NULL) {
        put32(e->p, 0xffffffffu);
        e->p += 4;
        return FINE;
    }
    switch (b->n.op) {
    case OP_BOOL:
        put32(e->p, 1);
        e->p[4] = (char)((((const uint8_t *)b->data)[k >> 3] >> (k & 7)) & 1);
        e->p += 5;
        return FINE;
    case OP_COPY2:
        put32(e->p, 2), put16(e->p + 4, ((const uint16_t *)b->data)[k]);
        e->p += 6;
        return FINE;
    case OP_COPY4:
        put32(e->p, 4), put32(e->p + 4, ((const uint32_t *)b->data)[k]);
        e->p += 8;
        return FINE;
    case OP_COPY8:
        put32(e->p, 8), put64(e->p + 4, ((const uint64_t *)b->data)[k]);
        e->p += 12;
        return FINE;
    case OP_INT: return put_int(e, b, k);
    case OP_FLOAT4:
    case OP_FLOAT8: return put_float(e, b, k);
    case OP_DATE: return put_date(e, b, k);
    case OP_TIME: return put_time(e, b, k);
    case OP_STAMP: return put_stamp(e, b, k);
    case OP_DECIMAL: return put_decimal(e, b, k);
    case OP_NUMERIC_INT: return put_numeric_int(e, b, k);
    case OP_NUMERIC_TEXT: return put_numeric_text(e, b, k);
    case OP_TEXT:
    case OP_JSONB: {
        if (unlikely(b->n.typmod || e->check)) {
            int64_t n;
            const char *s = load_bytes(b, k, &n);
            int r = e->check ? look_at_text((const unsigned char *)s, n) : FINE;
            if (!r && b->n.typmod && !fits_limit(&b->n, s, n)) r = NO_TOO_LONG;
            if (!r && e->check && b->n.op == OP_JSONB) r = look_at_json((const unsigned char *)s, n);
            if (r) return r;
        }
        return put_bytes(e, b, k, b->n.op == OP_JSONB);
    }
    case OP_BYTES: return put_bytes(e, b, k, 0);
    case OP_UUID_TEXT: return put_uuid_text(e, b, k);
    case OP_ARRAY: return put_array(e, b, k);
    default: return put_cell_again(e, b->child, load_int(b->n.source, b->data, k)); /* OP_DICT: source is the index's */
    }
}

NOINLINE int put_cell_again(struct encoder *e, const struct bound *b, int64_t i) { return put_cell(e, b, i); }

/* ---- arrays --------------------------------------------------------------------------------------------------- */

/* Lengths per dimension, -1 where not seen yet; every list at one depth must have the same. */
static int measure(const struct bound *b, int64_t k, int depth, int64_t *dims) {
    int64_t from, to;
    load_list(b, k, &from, &to);
    if (dims[depth] < 0) dims[depth] = to - from;
    else if (dims[depth] != to - from) return NO_RAGGED;
    const struct bound *c = b->child;
    if (c->n.op != OP_ARRAY) return FINE;
    for (int64_t i = from; i < to; i++) {
        int64_t at = i + c->offset;
        if (is_null(c, at)) return NO_RAGGED; /* Postgres has NULL items, not NULL rows of a matrix */
        int r = measure(c, at, depth + 1, dims);
        if (r) return r;
    }
    return FINE;
}

static int put_items(struct encoder *e, const struct bound *b, int64_t k, int *has_null) {
    int64_t from, to;
    load_list(b, k, &from, &to);
    const struct bound *c = b->child;
    for (int64_t i = from; i < to; i++) {
        int r;
        if (c->n.op == OP_ARRAY) r = put_items(e, c, i + c->offset, has_null);
        else if (!(r = room(e, FIXED_MAX))) {
            int64_t at = e->p - e->buffer;
            r = put_cell_again(e, c, i);
            *has_null |= !r && memcmp(e->buffer + at, "\xff\xff\xff\xff", 4) == 0;
        }
        if (r) return r;
    }
    return FINE;
}

NOINLINE int put_array(struct encoder *e, const struct bound *b, int64_t k) {
    int64_t dims[MAX_DIMS] = {-1, -1, -1, -1, -1, -1}, items = 1;
    int depth = 0, has_null = 0, r;
    for (const struct bound *c = b; c->n.op == OP_ARRAY; c = c->child) depth++;
    if ((r = measure(b, k, 0, dims))) return r;
    for (int d = 0; d < depth; d++) {
        items = dims[d] <= 0 ? 0 : items * dims[d];
        if (items > MAX_ITEMS) return NO_TOO_BIG;
    }
    int64_t start = e->p - e->buffer;
    put32(e->p + 4, items ? (uint32_t)depth : 0);
    put32(e->p + 8, 0);
    put32(e->p + 12, b->n.oid);
    e->p += 16;
    if (items) {
        for (int d = 0; d < depth; d++, e->p += 8) put32(e->p, (uint32_t)dims[d]), put32(e->p + 4, 1);
        if ((r = put_items(e, b, k, &has_null))) return r;
    }
    int64_t length = e->p - e->buffer - start - 4;
    if (length > MAX_FIELD) return NO_TOO_BIG;
    put32(e->buffer + start, (uint32_t)length);
    put32(e->buffer + start + 8, (uint32_t)has_null);
    return FINE;
}

/* ---- the handle ----------------------------------------------------------------------------------------------- */

EXPORT void sl_encoder_close(struct encoder *e) {
    if (!e) return;
    free(e->buffer), free(e->nodes), free(e->roots);
    free(e);
}

EXPORT struct encoder *sl_encoder_open(const struct node *nodes, int32_t n_nodes, const int32_t *roots,
                                       int32_t n_columns) {
    struct encoder *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->n_nodes = n_nodes, e->n_columns = n_columns;
    e->nodes = calloc((size_t)n_nodes + 1, sizeof *e->nodes);
    e->roots = calloc((size_t)n_columns + 1, sizeof *e->roots);
    if (!e->nodes || !e->roots) {
        sl_encoder_close(e);
        return NULL;
    }
    memcpy(e->roots, roots, sizeof *roots * (size_t)n_columns);
    e->slack = 2;
    for (int i = 0; i < n_nodes; i++) {
        struct bound *b = &e->nodes[i];
        b->n = nodes[i];
        if (nodes[i].child >= 0) b->child = &e->nodes[nodes[i].child];
        /* value = unscaled * 10^-scale; make the exponent a multiple of 4 */
        int exponent = -nodes[i].scale, pad = ((exponent % 4) + 4) % 4;
        b->pad = pad == 0 ? 1 : pad == 1 ? 10 : pad == 2 ? 100 : 1000;
        b->groups = -((exponent - pad) / 4);
        b->dscale = nodes[i].scale > 0 ? nodes[i].scale : 0;
    }
    for (int c = 0; c < n_columns; c++) e->slack += FIXED_MAX;
    return e;
}

static void bind(struct bound *b, const struct ArrowArray *a) {
    b->offset = a->offset, b->length = a->length;
    b->valid = a->n_buffers > 0 && b->n.source != S_NULL && a->null_count != 0 ? a->buffers[0] : NULL;
    b->data = a->n_buffers > 1 ? a->buffers[1] : NULL;
    b->bytes = a->n_buffers > 2 ? a->buffers[2] : NULL;
    b->bytes_end = NULL;
    b->views = a->buffers;
    if (a->length > 0) {
        int64_t end = a->offset + a->length;
        if (b->n.source == S_BYTES32) b->bytes_end = b->bytes + ((const int32_t *)b->data)[end];
        if (b->n.source == S_BYTES64) b->bytes_end = b->bytes + ((const int64_t *)b->data)[end];
        if (b->n.source == S_FIXED) b->bytes_end = (const char *)b->data + end * b->n.width;
    }
    if (b->n.op == OP_ARRAY) bind((struct bound *)b->child, a->children[0]);
    if (b->n.op == OP_DICT) bind((struct bound *)b->child, a->dictionary);
}

/* `indices`: which child of the struct array each column is. The arrays must outlive the calls that follow. */
EXPORT void sl_encoder_bind(struct encoder *e, const struct ArrowArray *batch, const int32_t *indices) {
    for (int c = 0; c < e->n_columns; c++) {
        struct bound *b = &e->nodes[e->roots[c]];
        bind(b, batch->children[indices[c]]);
        b->offset += batch->offset;
    }
}

/* Rows [from, to) into the buffer, from its start, until it holds `target` bytes. Returns the row after the last one
 * written; `problem->reason` is not zero when that row cannot be written (the rows before it are in the buffer). */
EXPORT int64_t sl_encoder_rows(struct encoder *e, int64_t from, int64_t to, int64_t target, struct result *problem) {
    const int n_columns = e->n_columns;
    const int32_t *roots = e->roots;
    const struct bound *nodes = e->nodes;
    int64_t row = from, done = 0;
    int r = FINE;
    e->p = e->buffer;
    e->check = 0;
    problem->reason = FINE, problem->row = problem->column = -1;
    for (; row < to && done < target; row++) {
        int c = -1;
        if ((r = room(e, 0))) goto failed;
        put16(e->p, (uint16_t)n_columns);
        e->p += 2;
        for (c = 0; c < n_columns; c++)
            if (unlikely((r = put_cell(e, &nodes[roots[c]], row)))) goto failed;
        done = e->p - e->buffer;
        continue;
    failed:
        problem->row = row, problem->column = c, problem->reason = r;
        break;
    }
    e->used = done;
    return row;
}

/* Whether a whole column is surely without problems, found by straight loops over its values. */
static int surely_clean(const struct bound *b, int64_t from, int64_t to) {
    int64_t k = from + b->offset, stop = to + b->offset;
    unsigned bad = 0;
    switch (b->n.op) {
    case OP_NULL: case OP_BOOL: case OP_COPY2: case OP_COPY4: case OP_COPY8: return 1;
    case OP_DECIMAL: case OP_NUMERIC_INT: return !b->n.typmod;
    case OP_BYTES: case OP_TEXT: case OP_JSONB: {
        const char *s, *end;
        if (b->n.typmod) return 0;
        if (b->n.source == S_BYTES32)
            s = b->bytes + ((const int32_t *)b->data)[k], end = b->bytes + ((const int32_t *)b->data)[stop];
        else if (b->n.source == S_BYTES64)
            s = b->bytes + ((const int64_t *)b->data)[k], end = b->bytes + ((const int64_t *)b->data)[stop];
        else return 0;
        if (end - s > MAX_FIELD) return 0;
        if (b->n.op == OP_BYTES) return 1;
        if (b->n.op == OP_JSONB && s < end && memchr(s, '\\', (size_t)(end - s))) return 0;
        for (; s < end; s++) bad |= *s <= 0; /* NUL, or not ASCII */
        return !bad;
    }
    case OP_STAMP:
        if (b->n.source != S_I64 || b->n.multiply > 1 || b->n.divide > 1 || b->n.grain > 1) return 0;
        for (const int64_t *v = b->data; k < stop; k++) bad |= v[k] < MIN_STAMP + EPOCH_MICROS;
        return !bad;
    case OP_TIME:
        if (b->n.source != S_I64 || b->n.divide > 1 || b->n.grain > 1) return 0;
        for (const int64_t *v = b->data; k < stop; k++) bad |= (uint64_t)v[k] > DAY_MICROS;
        return !bad;
    case OP_DATE:
        if (b->n.source != S_I32) return 0;
        for (const int32_t *v = b->data; k < stop; k++)
            bad |= v[k] < MIN_DATE + EPOCH_DAYS || (int64_t)v[k] >= (int64_t)END_DATE + EPOCH_DAYS;
        return !bad;
    case OP_INT:
        if (b->n.source == S_I64) {
            for (const int64_t *v = b->data; k < stop; k++) bad |= v[k] < b->n.low || v[k] > b->n.high;
            return !bad;
        }
        if (b->n.source == S_I32) {
            for (const int32_t *v = b->data; k < stop; k++) bad |= v[k] < b->n.low || v[k] > b->n.high;
            return !bad;
        }
        return 0;
    default: return 0;
    }
}

/* Cells of one column in rows [*at, to) that Postgres cannot hold: up to `capacity` of them to `found`; returns how many.
 * `*at` moves on; the caller asks again until it is `to`. */
EXPORT int32_t sl_encoder_check(struct encoder *e, int32_t column, int64_t *at, int64_t to, struct result *found,
                                int32_t capacity) {
    const struct bound *b = &e->nodes[e->roots[column]];
    int32_t count = 0;
    if (*at < to && surely_clean(b, *at, to)) {
        *at = to;
        return 0;
    }
    e->check = 1;
    for (; *at < to && count < capacity; ++*at) {
        e->p = e->buffer;
        int r = room(e, 0);
        if (!r) r = put_cell_again(e, b, *at);
        if (r) found[count++] = (struct result){.row = *at, .column = column, .reason = r};
    }
    e->check = 0;
    return count;
}

EXPORT int32_t sl_encoder_layout(void) { return (int32_t)sizeof(struct node); }

/* ---- a module without contents -------------------------------------------------------------------------------- */

static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_encode", "Rows of COPY BINARY from Arrow arrays; called through ctypes.", 0, NULL, slots,
    NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__encode(void) { return PyModuleDef_Init(&module); }
