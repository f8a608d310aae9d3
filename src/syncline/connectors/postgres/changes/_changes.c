/* Messages of pgoutput into Arrow buffers, without the interpreter.
 *
 * Called through ctypes by decode_native.py, which lets go of the GIL for the length of each call; nothing here touches
 * a Python object except the empty module at the end, which exists so that the build and the import machinery treat
 * this file as any extension.
 *
 *     sl_changes_open      -> a handle
 *     sl_changes_load      frames to walk over; the caller keeps them until the walk has ended
 *     sl_changes_run       walks until the frames end, the batches are full, or something must be asked
 *     sl_changes_relation  the Relation message of a table that sl_changes_run asks about
 *     sl_changes_describe  how its rows become columns, from when on, and whether to ask about each transaction
 *     sl_changes_skip      its changes are not wanted until the next Relation message that says something new
 *     sl_changes_answer    whether the present transaction is wanted for a table
 *     sl_changes_ask_again the next change of the table asks for its description
 *     sl_changes_filter    another start, or whether to ask
 *     sl_changes_rows, _misfits, _take    its rows so far, through the Arrow C data interface
 *     sl_changes_touched   which tables may have rows
 *     sl_changes_emptied   all batches have been taken: they count as empty
 *     sl_changes_close
 *
 * Formats: PostgreSQL documentation, "Logical Replication Message Formats"; src/backend/replication/logical/proto.c.
 * All integers are big-endian. Every length is checked against its message: what does not fit is an error, never a
 * guess; after one the handle is only good to close.
 *
 * Needs gcc or clang (128-bit integers) and a little-endian machine; elsewhere the build fails and the Python version in
 * decode_fallback.py serves.
 */

#define _GNU_SOURCE /* strtod_l */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_values.h"
#include "_vectors.h"

/* What sl_changes_run ended with; Status of decode.py. */
enum status { S_END, S_FULL, S_DESCRIBE, S_ASK, S_KEY, S_MALFORMED, S_MEMORY, S_TOO_LARGE };

enum change { INSERT = 1, UPDATE = 2, DELETE = 3, TRUNCATE = 4 }; /* Op of core/change.py */

/* ---- what the caller sees and gives: keep in step with decode_native.py ----------------------------------------- */

struct spec {
    int32_t op, depth, precision, scale, source, delimiter;
};

struct input {
    const uint8_t *frames;
    int64_t length;
    const uint32_t *aborted; /* ascending */
    int64_t aborted_count;
    uint64_t commit_lsn;
    int64_t committed_at; /* of a streamed transaction; Postgres' microseconds */
    uint32_t xid;
    int32_t streamed, resumed; /* resumed: another part of the transaction before */
};

struct view {
    uint64_t lsn, end_lsn;    /* commit LSN of the present transaction; end of the last one that ended here, or 0 */
    int64_t committed_at;     /* of that one, Unix microseconds */
    int64_t bytes;            /* about what the batches hold */
    int64_t at;               /* where in the frames */
    uint32_t xid, oid;        /* of the present transaction; of the table that status is about */
    int32_t inside, field;    /* in the middle of a transaction; which field was malformed, or -1 */
};

struct misfit {
    int64_t row, start, length;
    int32_t field, reason;
};

/* ---- tables ------------------------------------------------------------------------------------------------------ */

struct table {
    int32_t count, key_count;
    struct field *fields;
    int32_t *keys;        /* which fields */
    struct field *old;    /* key columns of updates that changed the key; filled up to `old_rows` */
    struct vector moved;  /* bits */
    struct vector *masks; /* one per field; without a buffer until it is needed */
    struct vector op, lsn, ordinal, committed_at;
    int64_t rows, capacity, hint, old_rows;
    int64_t fixed; /* bytes per row that do not depend on the values */
    struct misfit *misfits;
    int64_t misfit_count, misfit_capacity;
    uint8_t *misfit_bytes;
    int64_t misfit_bytes_used, misfit_bytes_capacity;
    uint64_t start;    /* transactions with a smaller commit LSN are not wanted */
    uint64_t answered; /* the serial number of the transaction for which `wanted` holds */
    int32_t asks, wanted;
};

enum { UNKNOWN, SKIPPED, DESCRIBED };

struct relation {
    uint32_t oid;
    int32_t state, columns;
    uint8_t *identity; /* per column: part of the replica identity */
    uint8_t *message;  /* from after the type byte and the xid */
    int64_t length;
    struct table *table; /* also while UNKNOWN again: its rows have not been taken yet */
};

struct cell {
    const uint8_t *p;
    int32_t n, kind;
};

struct decoder {
    struct view view;
    struct input in;
    const uint8_t *end; /* of the frames */
    int64_t transaction_at; /* Unix microseconds of the present transaction's commit */
    uint64_t serial;        /* of the present transaction, counted here */
    uint32_t ordinal;
    int32_t validate;
    struct relation **slots; /* open addressing */
    int64_t slot_count, relation_count;
    struct relation *last;
    struct cell *new, *old;
    int64_t cell_capacity;
    uint32_t *touched; /* tables that have had a first row since all were emptied, some perhaps twice */
    int64_t touched_count, touched_capacity;
    struct scratch scratch;
    char error[256];
};

static struct relation **slot_of(struct decoder *d, uint32_t oid) {
    uint64_t mask = (uint64_t)d->slot_count - 1, i = (oid * 0x9E3779B97F4A7C15ull >> 32) & mask;
    while (d->slots[i] && d->slots[i]->oid != oid) i = (i + 1) & mask;
    return &d->slots[i];
}

INLINE struct relation *find(struct decoder *d, uint32_t oid) {
    if (likely(d->last && d->last->oid == oid)) return d->last;
    struct relation *r = *slot_of(d, oid);
    if (r) d->last = r;
    return r;
}

static struct relation *find_or_make(struct decoder *d, uint32_t oid) {
    struct relation *r = find(d, oid);
    if (r) return r;
    if (2 * (d->relation_count + 1) > d->slot_count) {
        struct relation **before = d->slots;
        int64_t count = d->slot_count;
        struct relation **slots = calloc((size_t)count * 2, sizeof *slots);
        if (!slots) return NULL;
        d->slots = slots, d->slot_count = count * 2;
        for (int64_t i = 0; i < count; i++)
            if (before[i]) *slot_of(d, before[i]->oid) = before[i];
        free(before);
    }
    r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->oid = oid;
    *slot_of(d, oid) = r;
    d->relation_count++;
    return r;
}

static void close_table(struct table *t) {
    if (!t) return;
    for (int32_t k = 0; t->fields && k < t->count; k++) free_field(&t->fields[k]);
    for (int32_t k = 0; t->masks && k < t->count; k++) free_vector(&t->masks[k]);
    for (int32_t k = 0; t->old && k < t->key_count; k++) free_field(&t->old[k]);
    free_vector(&t->moved), free_vector(&t->op), free_vector(&t->lsn), free_vector(&t->ordinal);
    free_vector(&t->committed_at);
    free(t->fields), free(t->masks), free(t->old), free(t->keys), free(t->misfits), free(t->misfit_bytes);
    free(t);
}

NOINLINE int reserve_rows(struct table *t, int64_t capacity) {
    for (int32_t k = 0; k < t->count; k++)
        if (!reserve(t->fields[k].top, capacity)) return 0;
    if (!reserve(&t->op, capacity) || !reserve(&t->lsn, capacity) || !reserve(&t->ordinal, capacity)) return 0;
    if (!reserve(&t->committed_at, capacity)) return 0;
    t->capacity = capacity;
    return 1;
}

NOINLINE int add_misfit(struct decoder *d, struct table *t, int32_t field, int reason, const struct cell *c) {
    if (t->misfit_count == t->misfit_capacity) {
        int64_t capacity = t->misfit_capacity ? t->misfit_capacity * 2 : 64;
        if (!grow((void **)&t->misfits, capacity * (int64_t)sizeof(struct misfit))) return NO_MEMORY;
        t->misfit_capacity = capacity;
    }
    if (t->misfit_bytes_used + c->n > t->misfit_bytes_capacity) {
        int64_t capacity = t->misfit_bytes_capacity * 2;
        if (capacity < t->misfit_bytes_used + c->n) capacity = t->misfit_bytes_used + c->n;
        if (!grow((void **)&t->misfit_bytes, capacity)) return NO_MEMORY;
        t->misfit_bytes_capacity = capacity;
    }
    if (c->n) memcpy(t->misfit_bytes + t->misfit_bytes_used, c->p, (size_t)c->n);
    t->misfits[t->misfit_count++] = (struct misfit){
        .row = t->rows, .start = t->misfit_bytes_used, .length = c->n, .field = field, .reason = reason};
    t->misfit_bytes_used += c->n;
    d->view.bytes += c->n + 256; /* each becomes a Python object of some hundred bytes in the end */
    return FITS;
}

/* The value of field `k` in the present row is what it was. */
NOINLINE int mask(struct table *t, int32_t k) {
    struct vector *v = &t->masks[k];
    if (t->rows >= v->capacity && !reserve(v, t->capacity)) return NO_MEMORY;
    set_bit(v->values, t->rows);
    return FITS;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

NOINLINE int malformed(struct decoder *d, const char *what) {
    if (!d->error[0]) snprintf(d->error, sizeof d->error, "%s", what);
    return MALFORMED;
}

/* TupleData into cells. Gives the place after it, or NULL. */
INLINE const uint8_t *parse_tuple(const uint8_t *p, const uint8_t *end, struct cell *cells, int32_t columns) {
    if (unlikely(end - p < 2 || be16(p) != columns)) return NULL;
    p += 2;
    for (int32_t k = 0; k < columns; k++) {
        if (unlikely(p == end)) return NULL;
        struct cell *c = &cells[k];
        c->kind = *p++;
        c->n = 0;
        if (likely(c->kind == 't')) {
            if (unlikely(end - p < 4)) return NULL;
            int32_t n = (int32_t)be32(p);
            p += 4;
            if (unlikely(n < 0 || n > end - p)) return NULL;
            c->p = p, c->n = n;
            p += n;
        } else if (unlikely(c->kind != 'n' && c->kind != 'u')) {
            return NULL;
        }
    }
    return p;
}

INLINE int same_cell(const struct cell *a, const struct cell *b) {
    return a->kind == b->kind && a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, (size_t)a->n) == 0);
}

/* Key columns of the rows before, which did not move. */
NOINLINE int pad_old(struct table *t, int64_t rows) {
    for (int32_t k = 0; k < t->key_count; k++) {
        struct field *f = &t->old[k];
        if (!reserve(f->top, rows + 1)) return NO_MEMORY;
        for (int64_t i = t->old_rows; i < rows; i++) put_null_field(f, i);
    }
    if (!reserve(&t->moved, rows + 1)) return NO_MEMORY;
    t->old_rows = rows;
    return FITS;
}

/* Take back what the first key columns hold of the present row. */
NOINLINE void cut_old(struct table *t, int32_t stop) {
    for (int32_t k = 0; k < stop; k++) {
        struct vector *v = t->old[k].top;
        if (get_bit(v->validity, t->rows)) continue;
        set_bit(v->validity, t->rows);
        v->nulls--;
    }
}

/* The former key of the present row, when it is another. A reason when it has no place in its Arrow type. */
NOINLINE int put_old_key(struct decoder *d, struct table *t, const struct relation *r, int full) {
    int moved = 0, status;
    const struct cell *cells[t->key_count ? t->key_count : 1];
    for (int32_t k = 0; k < t->key_count; k++) {
        const struct field *f = &t->fields[t->keys[k]];
        const struct cell *old = &d->old[f->source], *new = &d->new[f->source];
        /* What is no part of the identity is not in a tuple of kind K: it reads as NULL there. */
        int known = old->kind == 't' || (old->kind == 'n' && (full || r->identity[f->source]));
        cells[k] = known ? old : new;
        moved |= known && new->kind != 'u' && !same_cell(old, new);
    }
    if (!moved) return FITS;
    if ((status = pad_old(t, t->rows))) return status;
    for (int32_t k = 0; k < t->key_count; k++) {
        const struct cell *c = cells[k];
        if (c->kind == 't') {
            d->view.field = t->keys[k];
            status = put_field(&t->old[k], &d->scratch, t->rows, c->p, c->n, d->end - c->p);
            if (unlikely(status)) {
                cut_old(t, k + 1);
                return status;
            }
            d->view.bytes += c->n;
        } else {
            put_null_field(&t->old[k], t->rows);
        }
    }
    set_bit(t->moved.values, t->rows);
    t->old_rows = t->rows + 1;
    return FITS;
}

/* A table's first row. */
NOINLINE int touch(struct decoder *d, uint32_t oid) {
    if (d->touched_count == d->touched_capacity) {
        int64_t capacity = d->touched_capacity ? d->touched_capacity * 2 : 64;
        if (!grow((void **)&d->touched, capacity * 4)) return NO_MEMORY;
        d->touched_capacity = capacity;
    }
    d->touched[d->touched_count++] = oid;
    return FITS;
}

/* Row of the table from d->new; `old`: the kind of tuple in d->old, or 0. */
INLINE int put_row(struct decoder *d, struct relation *r, int op, int old) {
    struct table *t = r->table;
    int64_t row = t->rows;
    int status;
    if (unlikely(row == t->capacity) && !reserve_rows(t, row ? row * 2 : t->hint)) return NO_MEMORY;
    if (unlikely(row == 0) && (status = touch(d, r->oid))) return status;
    if (unlikely(old && op == UPDATE && t->key_count) && (status = put_old_key(d, t, r, old == 'O'))) return status;
    int64_t bytes = t->fixed;
    for (int32_t k = 0; k < t->count; k++) {
        struct field *f = &t->fields[k];
        const struct cell *c = &d->new[f->source];
        if (unlikely(c->kind == 'u')) {
            if (unlikely(op != UPDATE)) {
                d->view.field = k;
                return malformed(d, "a value is left out of a row that is not an update");
            }
            if (old && d->old[f->source].kind == 't') c = &d->old[f->source];
            else if ((status = mask(t, k))) return status;
        }
        if (unlikely(c->kind != 't')) {
            put_null_field(f, row);
            continue;
        }
        status = put_field(f, &d->scratch, row, c->p, c->n, d->end - c->p);
        if (f->top->has_offsets) bytes += c->n;
        if (unlikely(status)) {
            d->view.field = k;
            if (status < 0) return status;
            if ((status = add_misfit(d, t, k, status, c))) return status;
        }
    }
    t->op.values[row] = (uint8_t)op;
    ((uint64_t *)t->lsn.values)[row] = d->view.lsn;
    ((uint32_t *)t->ordinal.values)[row] = d->ordinal + 1;
    ((int64_t *)t->committed_at.values)[row] = d->transaction_at;
    t->rows = row + 1;
    d->view.bytes += bytes;
    return FITS;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

enum { DONE = 0, TAKE_NO_ROW = 1, STOP = 2 };

/* Whether the change at hand is a row of this table: TAKE_NO_ROW, DONE (take it), or STOP with a status. */
INLINE int consider(struct decoder *d, struct relation *r, int *status) {
    if (likely(r->state == DESCRIBED)) {
        struct table *t = r->table;
        if (unlikely(t->start > d->view.lsn)) return TAKE_NO_ROW;
        if (likely(!t->asks)) return DONE;
        if (t->answered == d->serial) return t->wanted ? DONE : TAKE_NO_ROW;
    } else if (r->state == SKIPPED) {
        return TAKE_NO_ROW;
    }
    d->view.oid = r->oid;
    *status = r->state == UNKNOWN ? S_DESCRIBE : S_ASK;
    return STOP;
}

static int status_of(struct decoder *d, int r, uint32_t oid, const char *what) {
    d->view.oid = oid;
    if (r == NO_MEMORY) return S_MEMORY;
    if (r == TOO_LARGE) return S_TOO_LARGE;
    if (r > 0) return S_KEY;
    malformed(d, what);
    return S_MALFORMED;
}

/* Insert, Update, Delete, from the relation's oid on. S_END: go on. */
INLINE int change(struct decoder *d, int type, const uint8_t *p, const uint8_t *end) {
    if (unlikely(end - p < 5)) return status_of(d, MALFORMED, 0, "a change that ends before its tuple");
    uint32_t oid = be32(p);
    int status, kind = p[4], old = 0;
    struct relation *r = find(d, oid);
    if (unlikely(!r)) return status_of(d, MALFORMED, oid, "a change of a table without its Relation message");
    status = S_END;
    switch (consider(d, r, &status)) {
    case STOP: return status;
    case TAKE_NO_ROW: d->ordinal++; return S_END;
    default: break;
    }
    p += 5;
    d->view.field = -1;
    if (kind == 'K' || kind == 'O') {
        if (unlikely(type == 'I')) return status_of(d, MALFORMED, oid, "an insert with an old tuple");
        p = parse_tuple(p, end, type == 'D' ? d->new : d->old, r->columns);
        if (unlikely(!p)) return status_of(d, MALFORMED, oid, "an old tuple that is not of its table");
        old = kind;
        if (type == 'U') {
            if (unlikely(p == end)) return status_of(d, MALFORMED, oid, "an update without a new tuple");
            kind = *p++;
        }
    }
    if (type != 'D' || !old) {
        if (unlikely(kind != 'N' || type == 'D')) return status_of(d, MALFORMED, oid, "a tuple of an unknown kind");
        p = parse_tuple(p, end, d->new, r->columns);
        if (unlikely(!p)) return status_of(d, MALFORMED, oid, "a new tuple that is not of its table");
    }
    if (unlikely(p != end)) return status_of(d, MALFORMED, oid, "a change longer than its tuples");
    int result = put_row(d, r, type == 'I' ? INSERT : type == 'U' ? UPDATE : DELETE, old);
    if (unlikely(result)) return status_of(d, result, oid, "a value that is not of its type");
    d->ordinal++;
    return S_END;
}

/* Int32 count, Int8 options, oids. All tables are looked at before the first row is written: the message may come
 * again after a question. */
NOINLINE int truncate_tables(struct decoder *d, const uint8_t *p, const uint8_t *end) {
    if (end - p < 5) return status_of(d, MALFORMED, 0, "a truncate without its tables");
    uint32_t count = be32(p);
    p += 5;
    if ((end - p) % 4 || count != (uint64_t)(end - p) / 4)
        return status_of(d, MALFORMED, 0, "a truncate of another number of tables");
    for (int writes = 0; writes < 2; writes++) {
        for (const uint8_t *at = p; at < end; at += 4) {
            uint32_t oid = be32(at);
            struct relation *r = find(d, oid);
            if (!r) return status_of(d, MALFORMED, oid, "a truncate of a table without its Relation message");
            int status = S_END, answer = consider(d, r, &status);
            if (answer == STOP) return status;
            if (!writes) continue;
            if (answer == DONE) {
                for (int32_t k = 0; k < r->columns; k++) d->new[k] = (struct cell){.kind = 'n'};
                int result = put_row(d, r, TRUNCATE, 0);
                if (result) return status_of(d, result, oid, "a truncate");
            }
            d->ordinal++;
        }
    }
    return S_END;
}

/* The bounds of one string; gives the place after its zero, or NULL. */
static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end) {
    const uint8_t *zero = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
    return zero ? zero + 1 : NULL;
}

NOINLINE int relation(struct decoder *d, const uint8_t *p, const uint8_t *end) {
    const uint8_t *start = p;
    const char *words = "a Relation message that is cut off";
    if (end - p < 4) return status_of(d, MALFORMED, 0, words);
    uint32_t oid = be32(p);
    struct relation *r = find_or_make(d, oid);
    if (!r) return S_MEMORY;
    if (r->message && r->length == end - start && memcmp(r->message, start, (size_t)r->length) == 0) return S_END;
    p = skip_string(p + 4, end);
    if (p) p = skip_string(p, end);
    if (!p || end - p < 3) return status_of(d, MALFORMED, oid, words);
    int32_t columns = be16(p + 1);
    p += 3;
    uint8_t *identity = malloc((size_t)columns + 1);
    if (!identity) return S_MEMORY;
    for (int32_t k = 0; k < columns; k++) {
        const uint8_t *after = p < end ? skip_string(p + 1, end) : NULL;
        if (!after || end - after < 8) {
            free(identity);
            return status_of(d, MALFORMED, oid, words);
        }
        identity[k] = *p & 1;
        p = after + 8;
    }
    if (p != end) {
        free(identity);
        return status_of(d, MALFORMED, oid, "a Relation message longer than its columns");
    }
    if (columns > d->cell_capacity) {
        if (!grow((void **)&d->new, columns * (int64_t)sizeof(struct cell)) ||
            !grow((void **)&d->old, columns * (int64_t)sizeof(struct cell))) {
            free(identity);
            return S_MEMORY;
        }
        d->cell_capacity = columns;
    }
    uint8_t *message = malloc((size_t)(end - start));
    if (!message) {
        free(identity);
        return S_MEMORY;
    }
    memcpy(message, start, (size_t)(end - start));
    free(r->message), free(r->identity);
    r->message = message, r->length = end - start;
    r->identity = identity, r->columns = columns;
    r->state = UNKNOWN;
    return S_END;
}

#define MICROSECONDS_1970_TO_2000 946684800000000ll

static int begin(struct decoder *d, uint64_t lsn, int64_t at, uint32_t xid) {
    if (__builtin_add_overflow(at, MICROSECONDS_1970_TO_2000, &d->transaction_at))
        return status_of(d, MALFORMED, 0, "a commit at an impossible time");
    d->view.lsn = lsn, d->view.xid = xid, d->view.inside = 1;
    d->ordinal = 0;
    d->serial++;
    return S_END;
}

static int is_aborted(const struct decoder *d, uint32_t xid) {
    int64_t low = 0, high = d->in.aborted_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (d->in.aborted[middle] < xid) low = middle + 1;
        else high = middle;
    }
    return low < d->in.aborted_count && d->in.aborted[low] == xid;
}

/* One message. S_END: go on. */
INLINE int message(struct decoder *d, const uint8_t *p, const uint8_t *end, int *committed) {
    int type = *p++;
    if (d->in.streamed && type != 'O') {
        if (unlikely(end - p < 4)) return status_of(d, MALFORMED, 0, "a message without its transaction");
        if (unlikely(d->in.aborted_count) && is_aborted(d, be32(p))) return S_END;
        p += 4;
    }
    switch (type) {
    case 'I':
    case 'U':
    case 'D':
        if (unlikely(!d->view.inside)) return status_of(d, MALFORMED, 0, "a change outside of a transaction");
        return change(d, type, p, end);
    case 'T':
        if (unlikely(!d->view.inside)) return status_of(d, MALFORMED, 0, "a truncate outside of a transaction");
        return truncate_tables(d, p, end);
    case 'R': return relation(d, p, end);
    case 'B':
        if (unlikely(d->in.streamed || d->view.inside || end - p != 20))
            return status_of(d, MALFORMED, 0, "a Begin at a wrong place or of a wrong length");
        return begin(d, be64(p), (int64_t)be64(p + 8), be32(p + 16));
    case 'C':
        if (unlikely(d->in.streamed || !d->view.inside || end - p != 25 || be64(p + 1) != d->view.lsn))
            return status_of(d, MALFORMED, 0, "a Commit at a wrong place, of a wrong length or another transaction");
        d->view.inside = 0;
        d->view.end_lsn = be64(p + 9);
        d->view.committed_at = d->transaction_at;
        *committed = 1;
        return S_END;
    case 'Y': /* the types of columns are in the catalog */
    case 'M': /* a heartbeat of ours, or not ours */
    case 'O': return S_END;
    default:
        if (!d->error[0]) snprintf(d->error, sizeof d->error, "a message of the unknown type %d", type);
        return status_of(d, MALFORMED, 0, "");
    }
}

/* ---- the handle -------------------------------------------------------------------------------------------------- */

/* `full`: a batch of so many bytes ends with the transaction; `most`: with the change. */
EXPORT int32_t sl_changes_run(struct decoder *d, int64_t full, int64_t most) {
    const uint8_t *start = d->in.frames;
    int64_t length = d->in.length;
    d->view.oid = 0, d->view.field = -1;
    while (d->view.at < length) {
        const uint8_t *p = start + d->view.at;
        if (unlikely(length - d->view.at < 4)) return status_of(d, MALFORMED, 0, "a frame without its length");
        int64_t n = be32(p);
        if (unlikely(n < 1 || n > length - d->view.at - 4))
            return status_of(d, MALFORMED, 0, "a frame longer than its stretch");
        p += 4;
        int committed = 0, status = message(d, p, p + n, &committed);
        if (unlikely(status)) return status;
        d->view.at += 4 + n;
        if (likely(d->view.bytes < (committed ? full : most)) || d->view.at == length) continue;
        /* A transaction is not cut right before its end. */
        if (committed || length - d->view.at < 5 || start[d->view.at + 4] != 'C') return S_FULL;
    }
    if (unlikely(d->view.inside && !d->in.streamed))
        return status_of(d, MALFORMED, 0, "a stretch that ends within a transaction");
    return S_END;
}

EXPORT int32_t sl_changes_load(struct decoder *d, const struct input *in) {
    d->in = *in;
    d->end = in->frames + in->length;
    d->view.at = 0;
    d->view.end_lsn = 0, d->view.committed_at = 0;
    if (in->streamed && in->resumed) return S_END;
    d->view.inside = 0;
    return in->streamed ? begin(d, in->commit_lsn, in->committed_at, in->xid) : S_END;
}

EXPORT struct decoder *sl_changes_open(int32_t validate) {
    struct decoder *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->validate = validate;
    d->slot_count = 64;
    d->slots = calloc((size_t)d->slot_count, sizeof *d->slots);
    if (!d->slots) {
        free(d);
        return NULL;
    }
    return d;
}

EXPORT void sl_changes_close(struct decoder *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->slot_count; i++) {
        struct relation *r = d->slots[i];
        if (!r) continue;
        close_table(r->table);
        free(r->identity), free(r->message), free(r);
    }
    free(d->slots), free(d->new), free(d->old), free(d->touched), free(d->scratch.bytes);
    free(d);
}

EXPORT const struct view *sl_changes_view(const struct decoder *d) { return &d->view; }
EXPORT const char *sl_changes_error(const struct decoder *d) { return d->error; }

/* The message without its type byte and xid; its length, 0 when there is none. */
EXPORT int64_t sl_changes_relation(struct decoder *d, uint32_t oid, const uint8_t **bytes) {
    struct relation *r = find(d, oid);
    *bytes = r ? r->message : NULL;
    return r && r->message ? r->length : 0;
}

static int fill_field(struct field *f, const struct spec *s, int32_t validate, int32_t columns) {
    if (s->op < 0 || s->op >= OP_COUNT || s->depth < 0 || s->depth > MAX_DIMENSIONS) return 0;
    if (s->source < 0 || s->source >= columns || s->precision < 0 || s->precision > 76) return 0;
    if (s->scale < 0 || s->scale > s->precision) return 0;
    f->op = s->op, f->depth = s->depth, f->precision = s->precision, f->scale = s->scale, f->source = s->source;
    f->validate = validate, f->delimiter = (uint8_t)s->delimiter;
    f->limit = s->precision < 20 ? POW10[s->precision] : UINT64_MAX;
    return open_levels(f);
}

/* `keys`: indices of fields. 0: without memory, or a spec that there is not. The rows so far must have been taken. */
EXPORT int32_t sl_changes_describe(struct decoder *d, uint32_t oid, const struct spec *specs, int32_t count,
                                   const int32_t *keys, int32_t key_count, uint64_t start, int32_t asks) {
    struct relation *r = find(d, oid);
    struct table *t = calloc(1, sizeof *t);
    if (!r || !r->message || !t) goto failed;
    t->count = count, t->key_count = key_count, t->hint = 64;
    t->start = start, t->asks = asks;
    t->op.width = 1, t->ordinal.width = 4, t->lsn.width = t->committed_at.width = 8, t->moved.width = -1;
    t->fields = calloc((size_t)count + 1, sizeof *t->fields);
    t->masks = calloc((size_t)count + 1, sizeof *t->masks);
    t->old = calloc((size_t)key_count + 1, sizeof *t->old);
    t->keys = calloc((size_t)key_count + 1, sizeof *t->keys);
    if (!t->fields || !t->masks || !t->old || !t->keys) goto failed;
    t->fixed = 21;
    for (int32_t k = 0; k < count; k++) {
        if (!fill_field(&t->fields[k], &specs[k], d->validate, r->columns)) goto failed;
        t->masks[k].width = -1;
        int width = t->fields[k].top->width;
        t->fixed += width > 0 ? width : width < 0 ? 1 : 4;
    }
    for (int32_t k = 0; k < key_count; k++) {
        if (keys[k] < 0 || keys[k] >= count) goto failed;
        if (!fill_field(&t->old[k], &specs[keys[k]], d->validate, r->columns)) goto failed;
        t->keys[k] = keys[k];
    }
    close_table(r->table);
    r->table = t;
    r->state = DESCRIBED;
    return 1;
failed:
    close_table(t);
    return 0;
}

/* Rows that were not taken stay. */
EXPORT void sl_changes_skip(struct decoder *d, uint32_t oid) {
    struct relation *r = find(d, oid);
    if (r) r->state = SKIPPED;
}

EXPORT void sl_changes_ask_again(struct decoder *d, uint32_t oid) {
    struct relation *r = find(d, oid);
    if (r) r->state = UNKNOWN;
}

EXPORT void sl_changes_filter(struct decoder *d, uint32_t oid, uint64_t start, int32_t asks) {
    struct relation *r = find(d, oid);
    if (!r || !r->table) return;
    r->table->start = start, r->table->asks = asks, r->table->answered = 0;
}

EXPORT void sl_changes_answer(struct decoder *d, uint32_t oid, int32_t wanted) {
    struct relation *r = find(d, oid);
    if (!r || !r->table) return;
    r->table->answered = d->serial;
    r->table->wanted = wanted;
}

/* ---- batches ------------------------------------------------------------------------------------------------------ */

/* Rows to take, and what comes with them: `masked` gets one byte per field, the result says in `moved` whether there are
 * old keys. */
EXPORT int64_t sl_changes_rows(struct decoder *d, uint32_t oid, uint8_t *masked, int32_t *moved) {
    struct relation *r = find(d, oid);
    *moved = 0;
    if (!r || !r->table) return 0;
    for (int32_t k = 0; k < r->table->count; k++) masked[k] = r->table->masks[k].values != NULL;
    *moved = r->table->moved.values != NULL && r->table->old_rows > 0;
    return r->table->rows;
}

EXPORT int64_t sl_changes_misfits(struct decoder *d, uint32_t oid, const struct misfit **misfits, const uint8_t **bytes) {
    struct relation *r = find(d, oid);
    if (!r || !r->table) return 0;
    *misfits = r->table->misfits;
    *bytes = r->table->misfit_bytes;
    return r->table->misfit_count;
}

static int give_child(struct ArrowArray *out, struct vector *levels, int depth, int64_t rows) {
    levels->length = rows;
    struct ArrowArray *child = give_levels(levels, depth);
    if (!child) return 0;
    out->children[out->n_children++] = child;
    return 1;
}

/* The rows so far as a struct array: the fields; op, lsn, ordinal, committed_at; the masks that there are; moved and the
 * old key where a key changed. 0 without memory: the decoder is then only good to close. */
EXPORT int32_t sl_changes_take(struct decoder *d, uint32_t oid, struct ArrowArray *out) {
    memset(out, 0, sizeof *out);
    struct relation *r = find(d, oid);
    if (!r || !r->table) return 0;
    struct table *t = r->table;
    int64_t rows = t->rows;
    struct owned *o = calloc(1, sizeof *o);
    struct ArrowArray **children = calloc((size_t)t->count * 2 + (size_t)t->key_count + 6, sizeof *children);
    if (!o || !children) {
        free(o), free(children);
        return 0;
    }
    o->children = children;
    *out = (struct ArrowArray){.length = rows, .n_buffers = 1, .buffers = o->pointers, .children = children,
                               .release = release_array, .private_data = o};
    int fine = 1, moved = t->moved.values != NULL && t->old_rows > 0;
    if (moved) fine = pad_old(t, rows) == FITS;
    for (int32_t k = 0; fine && k < t->count; k++) fine = give_child(out, t->fields[k].levels, t->fields[k].depth, rows);
    fine = fine && give_child(out, &t->op, 0, rows) && give_child(out, &t->lsn, 0, rows) &&
           give_child(out, &t->ordinal, 0, rows) && give_child(out, &t->committed_at, 0, rows);
    for (int32_t k = 0; fine && k < t->count; k++)
        if (t->masks[k].values) fine = reserve(&t->masks[k], rows) && give_child(out, &t->masks[k], 0, rows);
    if (moved) fine = fine && give_child(out, &t->moved, 0, rows);
    for (int32_t k = 0; moved && fine && k < t->key_count; k++)
        fine = give_child(out, t->old[k].levels, t->old[k].depth, rows);
    t->hint = rows < 64 ? 64 : rows + rows / 16;
    t->rows = t->capacity = t->old_rows = 0;
    t->misfit_count = t->misfit_bytes_used = 0;
    if (!fine) out->release(out);
    return fine;
}

/* The tables that may have rows, in the order of their first; how many. */
EXPORT int64_t sl_changes_touched(const struct decoder *d, const uint32_t **oids) {
    *oids = d->touched;
    return d->touched_count;
}

/* After all rows have been taken. */
EXPORT void sl_changes_emptied(struct decoder *d) { d->view.bytes = d->touched_count = 0; }

/* So that a library compiled from another version of this file is not used. */
EXPORT int32_t sl_changes_layout(void) { return 2; }

/* ---- a module without contents ----------------------------------------------------------------------------------- */

static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_changes", "Messages of pgoutput into Arrow buffers; called through ctypes.", 0, NULL, slots,
    NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__changes(void) { return PyModuleDef_Init(&module); }
