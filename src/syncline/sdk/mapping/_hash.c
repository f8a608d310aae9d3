/* SHA-256 and HMAC-SHA-256 of every value of an Arrow text or binary column, as hexadecimal text, without the
 * interpreter.
 *
 * Called through ctypes by hash_native.py, which lets go of the GIL for the length of each call. hashing.py has the same
 * in Python, for installations without a compiler.
 *
 *     sl_hash_state   one block compressed from the initial state: the inner and outer beginnings of a keyed hash
 *     sl_hash_column  64 characters a value; those of NULLs are zero
 *
 * FIPS 180-4 and FIPS 198-1. Uses the processor's SHA instructions where it has them.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>
#define HAVE_X86_SHA 1
#endif

#define EXPORT __attribute__((visibility("default")))

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static const uint32_t INITIAL[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

#define ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

static void compress_plain(uint32_t state[8], const uint8_t *data, int64_t blocks) {
    while (blocks-- > 0) {
        uint32_t w[64];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 |
                   data[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t s0 = ROTR(w[i - 15], 7) ^ ROTR(w[i - 15], 18) ^ (w[i - 15] >> 3);
            uint32_t s1 = ROTR(w[i - 2], 17) ^ ROTR(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int i = 0; i < 64; i++) {
            uint32_t t1 = h + (ROTR(e, 6) ^ ROTR(e, 11) ^ ROTR(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
            uint32_t t2 = (ROTR(a, 2) ^ ROTR(a, 13) ^ ROTR(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
        data += 64;
    }
}

#ifdef HAVE_X86_SHA
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_sha(uint32_t state[8], const uint8_t *data,
                                                                     int64_t blocks) {
    const __m128i turn = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i t = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);          /* CDAB */
    __m128i s1 = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);   /* EFGH */
    __m128i s0 = _mm_alignr_epi8(t, s1, 8);                                                /* ABEF */
    s1 = _mm_blend_epi16(s1, t, 0xF0);                                                     /* CDGH */
    while (blocks-- > 0) {
        const __m128i before0 = s0, before1 = s1;
        __m128i w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), turn);
        for (int i = 0; i < 16; i++) {
            __m128i now = w[i & 3];
            if (i >= 4) {
                /* w[t] = s1(w[t-2]) + w[t-7] + s0(w[t-15]) + w[t-16], four at a time */
                now = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
                now = _mm_add_epi32(now, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                now = _mm_sha256msg2_epu32(now, w[(i + 3) & 3]);
                w[i & 3] = now;
            }
            __m128i sum = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(K + 4 * i)));
            s1 = _mm_sha256rnds2_epu32(s1, s0, sum);
            s0 = _mm_sha256rnds2_epu32(s0, s1, _mm_shuffle_epi32(sum, 0x0E));
        }
        s0 = _mm_add_epi32(s0, before0);
        s1 = _mm_add_epi32(s1, before1);
        data += 64;
    }
    t = _mm_shuffle_epi32(s0, 0x1B);                                              /* FEBA */
    s1 = _mm_shuffle_epi32(s1, 0xB1);                                             /* DCHG */
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(t, s1, 0xF0));             /* DCBA */
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(s1, t, 8));          /* HGFE */
}

/* One block each of two messages, both from the state `start`. The instructions wait for each other within a message; two
 * at a time keep the processor busy. */
#define STEP(W, S0, S1, I)                                                                                             \
    do {                                                                                                               \
        __m128i now = W[(I) & 3];                                                                                      \
        if ((I) >= 4) {                                                                                                \
            now = _mm_sha256msg1_epu32(W[(I) & 3], W[((I) + 1) & 3]);                                                  \
            now = _mm_add_epi32(now, _mm_alignr_epi8(W[((I) + 3) & 3], W[((I) + 2) & 3], 4));                          \
            now = _mm_sha256msg2_epu32(now, W[((I) + 3) & 3]);                                                         \
            W[(I) & 3] = now;                                                                                          \
        }                                                                                                              \
        __m128i sum = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(K + 4 * (I))));                             \
        S1 = _mm_sha256rnds2_epu32(S1, S0, sum);                                                                       \
        S0 = _mm_sha256rnds2_epu32(S0, S1, _mm_shuffle_epi32(sum, 0x0E));                                              \
    } while (0)

__attribute__((target("sha,sse4.1,ssse3"))) static void compress_two(const uint32_t start[8], const uint8_t one[64],
                                                                     const uint8_t two[64], uint32_t first[8],
                                                                     uint32_t second[8]) {
    const __m128i turn = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i t = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)start), 0xB1);
    __m128i e = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(start + 4)), 0x1B);
    const __m128i begin0 = _mm_alignr_epi8(t, e, 8), begin1 = _mm_blend_epi16(e, t, 0xF0);
    __m128i a0 = begin0, a1 = begin1, b0 = begin0, b1 = begin1, v[4], w[4];
    for (int i = 0; i < 4; i++) {
        v[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(one + 16 * i)), turn);
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(two + 16 * i)), turn);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        STEP(v, a0, a1, i);
        STEP(w, b0, b1, i);
    }
    a0 = _mm_add_epi32(a0, begin0), a1 = _mm_add_epi32(a1, begin1);
    b0 = _mm_add_epi32(b0, begin0), b1 = _mm_add_epi32(b1, begin1);
    t = _mm_shuffle_epi32(a0, 0x1B), e = _mm_shuffle_epi32(a1, 0xB1);
    _mm_storeu_si128((__m128i *)first, _mm_blend_epi16(t, e, 0xF0));
    _mm_storeu_si128((__m128i *)(first + 4), _mm_alignr_epi8(e, t, 8));
    t = _mm_shuffle_epi32(b0, 0x1B), e = _mm_shuffle_epi32(b1, 0xB1);
    _mm_storeu_si128((__m128i *)second, _mm_blend_epi16(t, e, 0xF0));
    _mm_storeu_si128((__m128i *)(second + 4), _mm_alignr_epi8(e, t, 8));
}

static int has_sha(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 29))) return 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 19)) && (c & (1u << 9)); /* SSE4.1, SSSE3 */
}
#endif

typedef void (*compressor)(uint32_t state[8], const uint8_t *data, int64_t blocks);

static compressor choose(int plain) {
#ifdef HAVE_X86_SHA
    if (!plain && has_sha()) return compress_sha;
#endif
    (void)plain;
    return compress_plain;
}

/* The rest of a message of which `before` bytes are in the state already. */
static void finish(compressor compress, uint32_t state[8], const uint8_t *data, int64_t length, uint64_t before) {
    int64_t whole = length / 64;
    if (whole) compress(state, data, whole);
    int64_t left = length - 64 * whole;
    uint8_t tail[128];
    int64_t size = left < 56 ? 64 : 128;
    memset(tail + left, 0, (size_t)(size - left));
    memcpy(tail, data + 64 * whole, (size_t)left);
    tail[left] = 0x80;
    uint64_t bits = (before + (uint64_t)length) * 8;
    for (int i = 0; i < 8; i++) tail[size - 1 - i] = (uint8_t)(bits >> (8 * i));
    compress(state, tail, size / 64);
}

static void as_bytes(const uint32_t state[8], uint8_t out[32]) {
    for (int i = 0; i < 8; i++) {
        out[4 * i] = (uint8_t)(state[i] >> 24);
        out[4 * i + 1] = (uint8_t)(state[i] >> 16);
        out[4 * i + 2] = (uint8_t)(state[i] >> 8);
        out[4 * i + 3] = (uint8_t)state[i];
    }
}

EXPORT void sl_hash_state(const uint8_t block[64], uint32_t state[8], int32_t plain) {
    memcpy(state, INITIAL, sizeof INITIAL);
    choose(plain)(state, block, 1);
}

/* A message that fits into one block, padded. */
static void one_block(uint8_t block[64], const uint8_t *data, int64_t length, uint64_t before) {
    memcpy(block, data, (size_t)length);
    memset(block + length, 0, (size_t)(64 - length));
    block[length] = 0x80;
    uint64_t bits = (before + (uint64_t)length) * 8;
    for (int i = 0; i < 8; i++) block[63 - i] = (uint8_t)(bits >> (8 * i));
}

static void write_digits(const uint32_t state[8], const uint16_t pairs[256], uint8_t *to) {
    uint8_t sum[32];
    as_bytes(state, sum);
    for (int i = 0; i < 32; i++) memcpy(to + 2 * i, &pairs[sum[i]], 2);
}

/* `offsets` are of 4 or 8 bytes (`wide`), from the first value on; `valid` is a bitmap from `valid_offset` on, or NULL.
 * `inner` and `outer` are those of sl_hash_state for a keyed hash, NULL without a key. */
EXPORT void sl_hash_column(const uint8_t *bytes, const void *offsets, int32_t wide, const uint8_t *valid,
                           int64_t valid_offset, int64_t rows, const uint32_t *inner, const uint32_t *outer,
                           int32_t plain, uint8_t *out) {
    static const uint8_t nothing[1];
    static const char digits[] = "0123456789abcdef";
    const compressor compress = choose(plain);
    const uint32_t *start_state = inner ? inner : INITIAL;
    const uint64_t before = inner ? 64 : 0;
    uint16_t pairs[256];
    for (int i = 0; i < 256; i++) {
        uint8_t two[2] = {(uint8_t)digits[i >> 4], (uint8_t)digits[i & 15]};
        memcpy(&pairs[i], two, 2);
    }
    uint8_t waiting[64];
    int64_t waits = -1; /* the row whose block waits for a second one */
    for (int64_t row = 0; row < rows; row++) {
        if (valid) {
            int64_t bit = valid_offset + row;
            if (!(valid[bit >> 3] >> (bit & 7) & 1)) {
                memset(out + 64 * row, 0, 64);
                continue;
            }
        }
        int64_t start = wide ? ((const int64_t *)offsets)[row] : ((const int32_t *)offsets)[row];
        int64_t stop = wide ? ((const int64_t *)offsets)[row + 1] : ((const int32_t *)offsets)[row + 1];
        const uint8_t *data = stop > start ? bytes + start : nothing;
        uint32_t state[8], other[8];
#ifdef HAVE_X86_SHA
        if (compress == compress_sha && stop - start < 56) {
            if (waits < 0) {
                one_block(waiting, data, stop - start, before);
                waits = row;
                continue;
            }
            uint8_t block[64];
            one_block(block, data, stop - start, before);
            compress_two(start_state, waiting, block, other, state);
            if (inner) {
                uint8_t sums[2][32];
                as_bytes(other, sums[0]), as_bytes(state, sums[1]);
                one_block(waiting, sums[0], 32, 64), one_block(block, sums[1], 32, 64);
                compress_two(outer, waiting, block, other, state);
            }
            write_digits(other, pairs, out + 64 * waits);
            write_digits(state, pairs, out + 64 * row);
            waits = -1;
            continue;
        }
#endif
        memcpy(state, start_state, sizeof state);
        finish(compress, state, data, stop - start, before);
        if (inner) {
            uint8_t sum[32];
            as_bytes(state, sum);
            memcpy(state, outer, sizeof state);
            finish(compress, state, sum, 32, 64);
        }
        write_digits(state, pairs, out + 64 * row);
    }
    if (waits >= 0) {
        uint32_t state[8];
        memcpy(state, start_state, sizeof state);
        compress(state, waiting, 1);
        if (inner) {
            uint8_t sum[32];
            as_bytes(state, sum);
            memcpy(state, outer, sizeof state);
            finish(compress, state, sum, 32, 64);
        }
        write_digits(state, pairs, out + 64 * waits);
    }
}

/* So that a library compiled from another version of this file is not used. */
EXPORT int32_t sl_hash_layout(void) { return 2; }

/* ---- a module without contents ----------------------------------------------------------------------------------- */

static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_hash", "Hashes columns; called through ctypes.", 0, NULL, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__hash(void) { return PyModuleDef_Init(&module); }
