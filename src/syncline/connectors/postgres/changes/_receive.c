/* The receiving end of logical replication, without the interpreter: CopyData messages of libpq, taken apart into
 * whole transactions, blocks of streamed transactions and what a keepalive says.
 *
 * Called through ctypes by receive_native.py, which lets go of the GIL for the length of each call. The fields of
 * `struct receiver` up to "inner" are read and written by Python between calls; keep them in step with `_Fields` there.
 *
 *     sl_receiver_open    limits -> a receiver
 *     sl_receiver_read    messages of libpq, until there is something to do for Python
 *     sl_receiver_feed    the same for one message that the caller holds (tests)
 *     sl_receiver_clear   Python has written the whole transactions down: keep only what follows them
 *     sl_receiver_close
 *
 * Formats: PostgreSQL documentation, "Streaming Replication Protocol" (XLogData, primary keepalive) and "Logical
 * Replication Message Formats". All integers are big-endian. receive_fallback.py is the same in Python.
 *
 * Needs gcc or clang and poll(2).
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct libpq {
    int (*get_copy_data)(void *conn, char **buffer, int async);
    int (*consume_input)(void *conn);
    int (*socket)(const void *conn);
    void (*freemem)(void *);
};

/* What a call ended with; keep in step with Status of receive_fallback.py. */
enum status {
    S_IDLE, S_DATA, S_BLOCK, S_COMMIT, S_ABORT, S_REPLY, S_WOKEN, S_SERVER_ENDED, S_CONNECTION, S_MALFORMED, S_MEMORY
};

struct buffer {
    uint8_t *bytes;
    int64_t used, capacity;
};

struct receiver {
    /* Frames [u32 length][message]; the first `whole` bytes of `main` end after a Commit. */
    struct buffer main;
    int64_t whole, relations_whole; /* of `main`, and of `relations` */
    struct buffer block;     /* of the streamed transaction `block_xid`, in streamed form */
    struct buffer relations; /* Relation and Type messages of `main` once more */
    struct buffer block_relations;
    struct buffer dropped_relations; /* those of transactions that were left out */
    uint64_t position;   /* every transaction with a commit LSN below has come */
    uint64_t server_end; /* the server's own position as last heard */
    uint64_t skip_below; /* transactions with a commit LSN below are known already */
    uint64_t commit_lsn, end_lsn; /* of S_COMMIT */
    int64_t committed_at;
    int64_t messages, received_bytes;
    uint32_t block_xid, xid, subxid; /* the latter two of S_COMMIT and S_ABORT */
    int32_t open;                    /* a transaction's Commit is outstanding */
    /* inner */
    int64_t target, spill; /* bytes of whole transactions that are enough; bytes of one that are too many */
    uint64_t open_lsn, announced;
    uint32_t open_xid;
    int32_t dropping, spilled, streaming, dead, reply;
    int64_t window_count, window_start; /* messages since then (microseconds) */
    int32_t pause, rest;                /* milliseconds */
};

#define KEPT_CAPACITY (16 << 20) /* a buffer that one huge value made larger is given back */

INLINE uint32_t be32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
INLINE uint64_t be64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
INLINE void put32(uint8_t *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }

static int64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

INLINE uint8_t *room(struct buffer *b, int64_t more) {
    if (unlikely(b->used + more > b->capacity)) {
        int64_t capacity = b->capacity ? b->capacity : 4096;
        while (capacity < b->used + more) capacity *= 2;
        void *p = realloc(b->bytes, (size_t)capacity);
        if (!p) return NULL;
        b->bytes = p;
        b->capacity = capacity;
    }
    return b->bytes + b->used;
}

static int put_frame(struct buffer *b, const uint8_t *message, int64_t n) {
    uint8_t *to = room(b, n + 4);
    if (unlikely(!to)) return 0;
    put32(to, (uint32_t)n);
    memcpy(to + 4, message, (size_t)n);
    b->used += n + 4;
    return 1;
}

/* The streamed form of an ordinary message: with the xid after its type. */
static int put_frame_with_xid(struct buffer *b, const uint8_t *message, int64_t n, uint32_t xid) {
    uint8_t *to = room(b, n + 8);
    if (unlikely(!to)) return 0;
    put32(to, (uint32_t)(n + 4));
    to[4] = message[0];
    put32(to + 5, xid);
    memcpy(to + 9, message + 1, (size_t)(n - 1));
    b->used += n + 8;
    return 1;
}

static int is_relation(uint8_t type) { return type == 'R' || type == 'Y'; }

static int is_change(uint8_t type) {
    return type == 'I' || type == 'U' || type == 'D' || type == 'T' || type == 'M' || is_relation(type);
}

/* A transaction grew too large to wait for its Commit in memory: from here on it is handled as a streamed one. */
static int spill(struct receiver *r) {
    const uint8_t *p = r->main.bytes + r->whole, *end = r->main.bytes + r->main.used;
    while (p < end) {
        int64_t n = be32(p);
        p += 4;
        if (is_change(p[0])) {
            if (!put_frame_with_xid(&r->block, p, n, r->open_xid)) return S_MEMORY;
            if (is_relation(p[0]) && !put_frame_with_xid(&r->block_relations, p, n, r->open_xid)) return S_MEMORY;
        }
        p += n;
    }
    r->main.used = r->whole;
    r->relations.used = r->relations_whole;
    r->block_xid = r->open_xid;
    r->spilled = 1;
    return S_BLOCK;
}

static int begin(struct receiver *r, const uint8_t *m, int64_t n) {
    if (n < 21 || r->open || r->streaming) return S_MALFORMED;
    r->open = 1;
    r->open_lsn = be64(m + 1);
    r->open_xid = be32(m + 17);
    r->dropping = r->open_lsn < r->skip_below;
    r->spilled = 0;
    /* Commits come in the order of the log. If one did not, the position would be wrong: better stop than lose it. */
    if (!r->dropping && r->open_lsn < r->position) return S_MALFORMED;
    return r->dropping || put_frame(&r->main, m, n) ? S_IDLE : S_MEMORY;
}

static int commit(struct receiver *r, const uint8_t *m, int64_t n) {
    if (n < 26 || !r->open || be64(m + 2) != r->open_lsn) return S_MALFORMED;
    uint64_t end = be64(m + 10);
    r->open = 0;
    if (r->spilled) {
        r->spilled = 0;
        r->xid = r->open_xid;
        r->commit_lsn = r->open_lsn;
        r->end_lsn = end;
        r->committed_at = (int64_t)be64(m + 18);
        return S_COMMIT; /* Python moves the position when it has committed the file */
    }
    if (!r->dropping) {
        if (r->main.used - r->whole == 25) r->main.used = r->whole; /* only a Begin: nothing happened (before PG 15) */
        else if (!put_frame(&r->main, m, n)) return S_MEMORY;
        r->whole = r->main.used;
        r->relations_whole = r->relations.used;
    }
    r->dropping = 0;
    if (end > r->position) r->position = end;
    return S_IDLE;
}

/* A message between Begin and Commit, or outside of any transaction. */
static int ordinary(struct receiver *r, const uint8_t *m, int64_t n) {
    if (m[0] == 'M' && !r->open) { /* not transactional: its LSN (after the flags) says how far the log has been read */
        if (n < 10) return S_MALFORMED;
        uint64_t lsn = be64(m + 2);
        if (lsn < r->skip_below) return S_IDLE;
        if (!put_frame(&r->main, m, n)) return S_MEMORY;
        r->whole = r->main.used;
        if (lsn > r->position) r->position = lsn;
        return S_IDLE;
    }
    if (!r->open || (!is_change(m[0]) && m[0] != 'O')) return S_MALFORMED;
    if (r->dropping) return !is_relation(m[0]) || put_frame(&r->dropped_relations, m, n) ? S_IDLE : S_MEMORY;
    if (r->spilled) {
        if (m[0] == 'O') return S_IDLE;
        if (!put_frame_with_xid(&r->block, m, n, r->open_xid)) return S_MEMORY;
        if (is_relation(m[0]) && !put_frame_with_xid(&r->block_relations, m, n, r->open_xid)) return S_MEMORY;
        return r->block.used >= r->target ? S_BLOCK : S_IDLE;
    }
    if (!put_frame(&r->main, m, n)) return S_MEMORY;
    if (is_relation(m[0]) && !put_frame(&r->relations, m, n)) return S_MEMORY;
    return r->main.used - r->whole > r->spill ? spill(r) : S_IDLE;
}

static int streamed(struct receiver *r, const uint8_t *m, int64_t n) {
    if (m[0] == 'O') return S_IDLE; /* has no xid, says nothing that we need */
    if (!is_change(m[0]) || n < 9) return S_MALFORMED;
    if (!put_frame(&r->block, m, n)) return S_MEMORY;
    if (is_relation(m[0]) && !put_frame(&r->block_relations, m, n)) return S_MEMORY;
    return r->block.used >= r->target ? S_BLOCK : S_IDLE;
}

static int output(struct receiver *r, const uint8_t *m, int64_t n) {
    if (n < 1) return S_MALFORMED;
    switch (m[0]) {
    case 'B': return begin(r, m, n);
    case 'C': return commit(r, m, n);
    case 'S':
        if (n < 6 || r->open || r->streaming) return S_MALFORMED;
        r->streaming = 1;
        r->block_xid = be32(m + 1);
        return S_IDLE;
    case 'E':
        if (!r->streaming) return S_MALFORMED;
        r->streaming = 0;
        return r->block.used ? S_BLOCK : S_IDLE;
    case 'c':
        if (n < 30 || r->open || r->streaming) return S_MALFORMED;
        r->xid = be32(m + 1);
        r->commit_lsn = be64(m + 6);
        r->end_lsn = be64(m + 14);
        r->committed_at = (int64_t)be64(m + 22);
        return S_COMMIT;
    case 'A':
        if (n < 9 || r->open || r->streaming) return S_MALFORMED;
        r->xid = be32(m + 1);
        r->subxid = be32(m + 5);
        return S_ABORT;
    default: return r->streaming ? streamed(r, m, n) : ordinary(r, m, n);
    }
}

static int keepalive(struct receiver *r, const uint8_t *m, int64_t n) {
    if (n < 18) return S_MALFORMED;
    uint64_t end = be64(m + 1);
    if (end > r->server_end) r->server_end = end;
    /* Commits come in the order of the log: all that lie below have come. Within a transaction its own commit may. */
    if (!r->open && end > r->position) r->position = end;
    if (m[17]) r->reply = 1;
    return r->reply ? S_REPLY : S_IDLE;
}

static int take(struct receiver *r, const uint8_t *m, int64_t n) {
    r->messages++;
    r->received_bytes += n;
    if (likely(m[0] == 'w')) {
        if (unlikely(n < 25)) return S_MALFORMED;
        uint64_t end = be64(m + 9);
        if (end > r->server_end) r->server_end = end;
        return output(r, m + 25, n - 25);
    }
    return m[0] == 'k' ? keepalive(r, m, n) : S_MALFORMED;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* The walsender sends each change by itself. Who wakes for each of them makes both sides switch contexts all the time;
 * who comes only now and then finds thousands. So: many messages in a short time -> rest before the next look, longer
 * the more there are; few -> no rest, so that a lone transaction is there at once. */
#define WINDOW_US 2000
#define SOME_PER_MS 10  /* from here on a rest of 1 ms pays */
#define MANY_PER_MS 40  /* somebody is catching up */
#define LONGEST_MS 10

static void adapt(struct receiver *r) {
    int64_t now = microseconds(), elapsed = now - r->window_start;
    if (elapsed < WINDOW_US && !r->pause) return;
    int64_t rate = r->window_count * 1000 / (elapsed > 0 ? elapsed : 1);
    if (rate >= MANY_PER_MS) r->pause = r->pause ? (2 * r->pause < LONGEST_MS ? 2 * r->pause : LONGEST_MS) : 1;
    else if (rate >= SOME_PER_MS) r->pause = 1;
    else r->pause = 0;
    r->window_count = 0;
    r->window_start = now;
}

/* Waits for either; 1 when `wake` is readable. */
static int wait_for(int socket, int wake, int timeout) {
    struct pollfd wanted[2] = {{.fd = wake, .events = POLLIN}, {.fd = socket, .events = POLLIN}};
    return poll(wanted, 2, timeout) > 0 && wanted[0].revents;
}

static int readable(int socket) {
    struct pollfd wanted = {.fd = socket, .events = POLLIN};
    return poll(&wanted, 1, 0) > 0;
}

/* All that the kernel has, into libpq's buffer, which grows by it: libpq alone reads 8 to 16 KiB at a time. */
static int gulp(void *conn, const struct libpq *pq) {
    for (int rounds = 0; rounds < 64; rounds++) {
        if (!pq->consume_input(conn)) return 0;
        int socket = pq->socket(conn);
        if (socket < 0) return 0;
        if (rounds && !readable(socket)) return 1; /* at least twice: TLS may hold decrypted bytes that poll is blind to */
    }
    return 1;
}

/* Until there is something to do: S_DATA when whole transactions lie in `main` and there is nothing more at once, or
 * more than enough of them. Other statuses may come with bytes in `main` and `block`, which belong before them. */
EXPORT int32_t sl_receiver_read(struct receiver *r, void *conn, const struct libpq *pq, int32_t wake, int32_t timeout) {
    r->reply = 0;
    if (r->rest) {
        int rest = r->rest;
        r->rest = 0;
        if (wait_for(-1, wake, rest)) return S_WOKEN;
    }
    for (int waited = 0;;) {
        char *message;
        int n = pq->get_copy_data(conn, &message, 1);
        if (likely(n > 0)) {
            int status = take(r, (const uint8_t *)message, n);
            pq->freemem(message);
            r->window_count++;
            if (unlikely(status != S_IDLE)) return status;
            if (unlikely(r->whole >= r->target)) return S_DATA;
            continue;
        }
        if (n < 0) return n == -1 ? S_SERVER_ENDED : S_CONNECTION;
        if (r->dead) return S_CONNECTION; /* its last words have been read */
        if (!gulp(conn, pq)) r->dead = 1;
        n = pq->get_copy_data(conn, &message, 1);
        if (n > 0) {
            int status = take(r, (const uint8_t *)message, n);
            pq->freemem(message);
            r->window_count++;
            if (status != S_IDLE) return status;
            continue;
        }
        if (n < 0) return n == -1 ? S_SERVER_ENDED : S_CONNECTION;
        if (r->dead) return S_CONNECTION;
        adapt(r);
        if (r->whole) {
            r->rest = r->pause; /* after these are written down */
            return S_DATA;
        }
        if (waited) return S_IDLE;
        if (r->pause) {
            if (wait_for(-1, wake, r->pause)) return S_WOKEN;
            continue;
        }
        int moved = r->position > r->announced; /* by keepalives: worth a word, not at once */
        int socket = pq->socket(conn);
        if (socket < 0) return S_CONNECTION;
        struct pollfd wanted[2] = {{.fd = wake, .events = POLLIN}, {.fd = socket, .events = POLLIN}};
        int ready = poll(wanted, 2, moved && timeout > 100 ? 100 : timeout);
        if (ready > 0 && wanted[0].revents) return S_WOKEN;
        if (ready <= 0) { /* time is up, or a signal came */
            r->announced = r->position;
            waited = 1;
        }
    }
}

EXPORT int32_t sl_receiver_feed(struct receiver *r, const uint8_t *message, int64_t n) {
    uint8_t *copy = malloc((size_t)(n ? n : 1)); /* of exactly that size: a sanitizer then sees every step too far */
    if (!copy) return S_MEMORY;
    memcpy(copy, message, (size_t)n);
    r->reply = 0;
    int status = n ? take(r, copy, n) : S_MALFORMED;
    free(copy);
    return status == S_IDLE && r->whole >= r->target ? S_DATA : status;
}

static void empty(struct buffer *b) {
    b->used = 0;
    if (b->capacity > KEPT_CAPACITY) {
        free(b->bytes);
        *b = (struct buffer){0};
    }
}

EXPORT void sl_receiver_clear(struct receiver *r) {
    int64_t rest = r->main.used - r->whole;
    if (rest) {
        memmove(r->main.bytes, r->main.bytes + r->whole, (size_t)rest);
        r->main.used = rest;
    } else {
        empty(&r->main);
    }
    r->whole = 0;
    rest = r->relations.used - r->relations_whole;
    if (rest) {
        memmove(r->relations.bytes, r->relations.bytes + r->relations_whole, (size_t)rest);
        r->relations.used = rest;
    } else {
        empty(&r->relations);
    }
    r->relations_whole = 0;
    empty(&r->dropped_relations);
}

EXPORT void sl_receiver_clear_block(struct receiver *r) {
    empty(&r->block);
    empty(&r->block_relations);
}

EXPORT void sl_receiver_close(struct receiver *r) {
    if (!r) return;
    free(r->main.bytes);
    free(r->block.bytes);
    free(r->relations.bytes);
    free(r->block_relations.bytes);
    free(r->dropped_relations.bytes);
    free(r);
}

EXPORT struct receiver *sl_receiver_open(int64_t target, int64_t spill, uint64_t position) {
    struct receiver *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->target = target;
    r->spill = spill;
    r->position = r->announced = r->skip_below = position;
    return r;
}

/* So that a library compiled from another version of this file is not used. */
EXPORT int32_t sl_receiver_layout(void) { return 2; }

/* ---- a module without contents ----------------------------------------------------------------------------------- */

static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_receive", "Receives logical replication; called through ctypes.", 0, NULL, slots,
    NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__receive(void) { return PyModuleDef_Init(&module); }
