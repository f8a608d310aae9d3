/* Growing Arrow buffers, and how they are given away through the Arrow C data interface. Included by _changes.c only. */

#ifndef SYNCLINE_CHANGES_VECTORS_H
#define SYNCLINE_CHANGES_VECTORS_H

#include <stdint.h>
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

/* Why a cell is not in its batch: the numbers of REASONS in ../copy/layouts.py. */
enum reason {
    FITS, R_INFINITE, R_RANGE, R_NAN, R_PRECISION, R_SCALE, R_END_OF_DAY, R_DIMENSIONS, R_LOWER_BOUND, R_UTF8
};

/* What a function that puts a value says besides FITS and a reason. */
enum { MALFORMED = -1, NO_MEMORY = -2, TOO_LARGE = -3 };

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#define SLACK 64 /* copies may write this much past the end */

/* One Arrow array in the making: a column, a level of a list, or the items of the innermost list. */
struct vector {
    uint8_t *values;   /* width * capacity bytes, or bits, or `bytes` of text */
    int32_t *offsets;  /* capacity + 1; lists and text */
    uint8_t *validity; /* bits; those from `length` on are 1 */
    int64_t length, capacity, nulls;
    int64_t bytes, bytes_capacity; /* of text */
    int32_t width;                 /* bytes of one value; 0: text or list, -1: bits (those never set are 0) */
    int32_t has_offsets;
};

static int64_t bits_to_bytes(int64_t bits) { return (bits + 7) >> 3; }

static int grow(void **buffer, int64_t bytes) {
    void *p = realloc(*buffer, (size_t)bytes + SLACK);
    if (!p) return 0;
    *buffer = p;
    return 1;
}

NOINLINE int reserve(struct vector *v, int64_t capacity) {
    if (capacity <= v->capacity && v->validity) return 1;
    if (capacity < v->capacity * 2) capacity = v->capacity * 2;
    if (capacity < 64) capacity = 64;
    int64_t old = bits_to_bytes(v->capacity), new = bits_to_bytes(capacity) + SLACK;
    if (!grow((void **)&v->validity, bits_to_bytes(capacity))) return 0;
    memset(v->validity + old, 0xff, (size_t)(new - old));
    if (v->has_offsets) {
        int fresh = v->offsets == NULL;
        if (!grow((void **)&v->offsets, (capacity + 1) * 4)) return 0;
        if (fresh) v->offsets[0] = 0;
    }
    if (v->width < 0) {
        if (!grow((void **)&v->values, bits_to_bytes(capacity))) return 0;
        memset(v->values + old, 0, (size_t)(new - old));
    } else if (v->width) {
        if (!grow((void **)&v->values, capacity * v->width)) return 0;
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

static void free_vector(struct vector *v) {
    free(v->values), free(v->offsets), free(v->validity);
    v->values = v->validity = NULL;
    v->offsets = NULL;
    v->length = v->capacity = v->nulls = v->bytes = v->bytes_capacity = 0;
}

/* ---- giving away ------------------------------------------------------------------------------------------------ */

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
        if (!child) continue;
        if (child->release) child->release(child);
        free(child);
    }
    free(o->children);
    free(o);
    array->release = NULL;
}

/* The vector becomes an array, and starts anew. NULL without memory: the vector is then untouched. */
static struct ArrowArray *give(struct vector *v, struct ArrowArray *child) {
    if (!reserve(v, 1)) return NULL;
    if (!v->values && !child && !grow((void **)&v->values, 0)) return NULL;
    struct ArrowArray *array = calloc(1, sizeof *array);
    struct owned *o = calloc(1, sizeof *o);
    if (!array || !o) {
        free(array), free(o);
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

/* levels[0] with what lies below it. */
static struct ArrowArray *give_levels(struct vector *levels, int depth) {
    struct ArrowArray *child = depth ? give_levels(levels + 1, depth - 1) : NULL;
    if (depth && !child) return NULL;
    struct ArrowArray *array = give(levels, child);
    if (!array && child) {
        child->release(child);
        free(child);
    }
    return array;
}

#endif
