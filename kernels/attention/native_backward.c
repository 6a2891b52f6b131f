/* Backward: finds the softmax again from lse. A task owns what it adds to: all results of one key head, or, where these are
 * too few for the threads, dq of a block of queries and then dk, dv of a block of keys. The order of each sum is the same. */
#include "padded.h"

typedef struct { float lse[BLOCK], delta[BLOCK]; } row_state; /* of each query; delta = sum(g y) */

/* st, the scores of a block, and dst, dP^T, become P^T and scale dS^T. */
static void slopes_block(float *st, float *dst, const row_state *state, float scale, int64_t width, int64_t keys,
                         int diagonal) {
    for (int64_t j = 0; j < width; j += VL) {
        const int64_t all = seen_by_all(j, keys, diagonal), one = seen_by_one(j, keys, diagonal);
        const vf lse = vload(state->lse + j), delta = vload(state->delta + j);
        int64_t s = 0;
        for (; s + ABREAST <= all; s += ABREAST) {
            vf p[ABREAST];
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++) p[i] = vload(st + (s + i) * BLOCK + j) - lse;
            vexps_at_most_16(p, ABREAST);
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++) {
                float *slope = dst + (s + i) * BLOCK + j;
                vstore(st + (s + i) * BLOCK + j, p[i]);
                vstore(slope, p[i] * (vload(slope) - delta) * scale);
            }
        }
        for (; s < one; s++) {
            float *pt = st + s * BLOCK + j, *slope = dst + s * BLOCK + j;
            vf p = vexp_at_most_16(vload(pt) - lse), d = p * (vload(slope) - delta) * scale;
            if (s >= all) {
                p = vsel(sees(j, s), p, vset(0));
                d = vsel(sees(j, s), d, vset(0));
            }
            vstore(pt, p);
            vstore(slope, d);
        }
    }
}

/* lse and delta of a block of queries. Where a query sees no key, or is none, exp(s - lse) is to be 0. */
static void describe_rows(const job *c, row_state *state, int64_t n, int64_t h, int64_t t0, int64_t queries) {
    const float *lse = (float *)c->lse.data + (n * c->heads + h) * c->length + t0;
    for (int64_t t = 0; t < BLOCK; t++) {
        state->lse[t] = t < queries && lse[t] != MINUS_INFINITY ? lse[t] : -MINUS_INFINITY;
        state->delta[t] = 0;
        if (t >= queries) continue;
        const float *y = row(&c->y, n, h, t0 + t), *g = row(&c->g, n, h, t0 + t);
        vf sum = vset(0);
        for (int64_t d = 0; d < c->value_size; d += VL) sum += vload(y + d) * vload(g + d);
        state->delta[t] = vsum(sum);
    }
}

/* What belongs to the keys of one head, from key `first` on. */
typedef struct { rows_of k, v, dk, dv; int64_t first; } key_head;

/* Rows that lie apart by many lines share few places of a small first-level cache: they are copied to one place. */
enum { MOVES_ROWS = VREGS == 16 };
static rows_of moved(float *to, rows_of from, int64_t rows, int64_t size) {
    const rows_of there = {to, size};
    copy_lines(there, from, rows, size);
    return there;
}

/* A block of queries and the keys from s0 to s1: writes or adds to dq, dk and dv, those that are asked for. */
static void backward_block(job *c, work *w, const key_head *of, int64_t n, int64_t h, int64_t t0, int64_t s0, int64_t s1,
                           int to_dq, int to_dkv) {
    row_state state;
    const int64_t queries = md_min(BLOCK, c->length - t0), width = md_ceil_div(queries, VL) * VL;
    const int64_t share = c->heads / c->groups, end = md_min(s1, seen(c, t0 + queries));
    const rows_of dq_there = {row(&c->dq, n, h, t0), c->dq.stride[2]};
    rows_of q = {row(&c->q, n, h, t0), c->q.stride[2]}, g = {row(&c->g, n, h, t0), c->g.stride[2]}, dq = dq_there;
    if (to_dq && !end)
        for (int64_t t = 0; t < queries; t++) memset(dq.at + t * dq.stride, 0, (size_t)c->size * sizeof(float));
    if (s0 >= end) return;
    if (MOVES_ROWS) {
        q = moved(w->q, q, queries, c->size);
        g = moved(w->g, g, queries, c->value_size);
        if (to_dq) dq = s0 > 0 ? moved(w->dq, dq, queries, c->size) : (rows_of){w->dq, c->size};
    }
    turn(w->qt, q.at, q.stride, c->size, queries, c->scale);
    turn(w->gt, g.at, g.stride, c->value_size, queries, 1);
    describe_rows(c, &state, n, h, t0, queries);
    for (; s0 < end; s0 += BLOCK) {
        const int64_t keys = md_min(BLOCK, end - s0), at = s0 - of->first;
        const int diagonal = on_diagonal(c, t0, s0), first = h % share == 0 && (c->causal ? t0 == s0 : t0 == 0);
        const float *k = of->k.at + at * of->k.stride, *v = of->v.at + at * of->v.stride;
        scores(w->st, k, of->k.stride, w->qt, c->size, queries, keys, diagonal);
        if (c->mask.data) add_mask(c, w->st, n, h, t0, queries, s0, keys);
        scores(w->dst, v, of->v.stride, w->gt, c->value_size, queries, keys, diagonal);
        if (c->drops) {
            draw_kept(c, w->kept, n, h, t0, queries, s0);
            multiply_block(w->dst, w->kept, width, keys);
        }
        slopes_block(w->st, w->dst, &state, c->scale, width, keys, diagonal);
        if (c->drops) multiply_block(w->st, w->kept, width, keys);
        const int64_t strip = diagonal ? STRIP : BLOCK;
        for (int64_t t = 0; to_dq && t < queries; t += strip)
            product(dq.at + t * dq.stride, dq.stride, w->dst + t, 1, BLOCK, k, of->k.stride,
                    md_min(strip, queries - t), c->size / VL, diagonal ? md_min(keys, t + STRIP) : keys, s0 > 0);
        for (int64_t s = 0; to_dkv && s < keys; s += strip) {
            const int64_t skip = diagonal ? md_min(s, queries) : 0, rows = md_min(strip, keys - s);
            product(of->dk.at + (at + s) * of->dk.stride, of->dk.stride, w->dst + s * BLOCK + skip, BLOCK, 1,
                    q.at + skip * q.stride, q.stride, rows, c->size / VL, queries - skip, !first);
            product(of->dv.at + (at + s) * of->dv.stride, of->dv.stride, w->st + s * BLOCK + skip, BLOCK, 1,
                    g.at + skip * g.stride, g.stride, rows, c->value_size / VL, queries - skip, !first);
        }
    }
    if (MOVES_ROWS && to_dq) copy_lines(dq_there, dq, queries, c->size);
}

static key_head keys_of(const job *c, int64_t n, int64_t group, int64_t first) {
    return (key_head){{row(&c->k, n, group, first), c->k.stride[2]}, {row(&c->v, n, group, first), c->v.stride[2]},
                      {row(&c->dk, n, group, first), c->dk.stride[2]}, {row(&c->dv, n, group, first), c->dv.stride[2]}, first};
}

/* All of one key head, its keys from s0 to s1. */
static void backward_keys(job *c, int64_t n, int64_t group, int64_t s0, int64_t s1, int to_dq) {
    work w;
    if (!reserve(c, &w)) return;
    const int64_t share = c->heads / c->groups, unseen = c->causal || !c->length ? md_max(s0, c->length) : s1;
    const int64_t floats = 2 * (s1 - s0) * (c->size + c->value_size);
    const key_head there = keys_of(c, n, group, s0);
    key_head here = there;
    const int packs = worth_packing(&c->k, &c->v, share * c->length, floats * (int64_t)sizeof(float));
    if (packs) {
        float *memory = md_scratch(MD_SLOT_C, (size_t)floats * sizeof(float));
        if (!memory) {
            c->status = MD_NO_MEMORY;
            return;
        }
        rows_of *to[] = {&here.k, &here.v, &here.dk, &here.dv};
        for (int i = 0; i < 4; i++) {
            *to[i] = (rows_of){memory, i % 2 ? c->value_size : c->size};
            memory += (s1 - s0) * to[i]->stride;
        }
        copy_lines(here.k, there.k, s1 - s0, c->size);
        copy_lines(here.v, there.v, s1 - s0, c->value_size);
    }
    for (int64_t h = group * share; h < (group + 1) * share; h++)
        for (int64_t t0 = 0; t0 < c->length; t0 += BLOCK) backward_block(c, &w, &here, n, h, t0, s0, s1, to_dq, 1);
    if (packs) {
        copy_lines(there.dk, here.dk, md_min(unseen, s1) - s0, c->size);
        copy_lines(there.dv, here.dv, md_min(unseen, s1) - s0, c->value_size);
    }
    for (int64_t s = unseen; s < s1; s++) {
        memset(row(&c->dk, n, group, s), 0, (size_t)c->size * sizeof(float));
        memset(row(&c->dv, n, group, s), 0, (size_t)c->value_size * sizeof(float));
    }
}
static void backward_head(int64_t task, void *ctx) {
    job *c = ctx;
    const int64_t range = md_max(1, CACHED / (2 * BLOCK * (int64_t)sizeof(float) * (c->size + c->value_size))) * BLOCK;
    for (int64_t s0 = 0; s0 < md_max(1, c->keys); s0 += range)
        backward_keys(c, task / c->groups, task % c->groups, s0, md_min(c->keys, s0 + range), 1);
}
static void backward_key_block(int64_t task, void *ctx) {
    job *c = ctx;
    const int64_t head = task / c->key_blocks, s0 = task % c->key_blocks * BLOCK;
    backward_keys(c, head / c->groups, head % c->groups, s0, md_min(c->keys, s0 + BLOCK), 0);
}
static void backward_query_block(int64_t task, void *ctx) {
    job *c = ctx;
    work w;
    if (!reserve(c, &w)) return;
    const int64_t head = task / c->query_blocks, n = head / c->heads, h = head % c->heads;
    const int64_t t0 = (c->query_blocks - 1 - task % c->query_blocks) * BLOCK;
    const key_head of = keys_of(c, n, h / (c->heads / c->groups), 0);
    backward_block(c, &w, &of, n, h, t0, 0, c->keys, 1, 0);
}

/* to (+)= factor * from. */
INLINE void scaled_row(float *to, const float *from, float factor, int64_t size, int add) {
    for (int64_t d = 0; d < size; d += VL) vstore(to + d, vload(from + d) * factor + (add ? vload(to + d) : (vf){0}));
}

/* All of one key head where it serves few queries, one by one: what a block of keys takes part in is done while it is in cache. */
static void backward_few(int64_t task, void *ctx) {
    job *c = ctx;
    const int64_t n = task / c->groups, group = task % c->groups, share = c->heads / c->groups;
    for (int64_t s0 = 0; s0 < md_max(1, c->keys); s0 += BLOCK)
        for (int64_t i = 0; i < share * c->length; i++) {
            float p[BLOCK + VL], slope[BLOCK + VL];
            const int64_t h = group * share + i / c->length, t = i % c->length, keys = md_min(BLOCK, c->keys - s0);
            const int64_t seen_here = md_max(0, md_min(keys, seen(c, t + 1) - s0));
            const float *q = row(&c->q, n, h, t), *g = row(&c->g, n, h, t), *y = row(&c->y, n, h, t);
            const float *k = row(&c->k, n, group, s0), *v = row(&c->v, n, group, s0);
            const float lse = ((float *)c->lse.data)[(n * c->heads + h) * c->length + t];
            const vf shift = vset(lse == MINUS_INFINITY ? -lse : lse);
            vf delta = vset(0);
            for (int64_t d = 0; d < c->value_size; d += VL) delta += vload(y + d) * vload(g + d);
            for (int64_t s = 0; s < seen_here; s += VL)
                vstore(p + s, dots(q, k + s * c->k.stride[2], c->k.stride[2], c->size, seen_here - s) * c->scale);
            for (int64_t s = 0; s < seen_here && c->mask.data; s++) p[s] = masked(&c->mask, p[s], n, h, t, s0 + s);
            for (int64_t s = 0; s < seen_here; s += VL) {
                const vf weight = vexp_at_most_16(vload(p + s) - shift);
                const vf by_weight = dots(g, v + s * c->v.stride[2], c->v.stride[2], c->value_size, seen_here - s);
                vstore(p + s, weight);
                vstore(slope + s, weight * (by_weight - vsum(delta)) * c->scale);
            }
            for (int64_t s = seen_here; s < keys; s++) p[s] = slope[s] = 0;
            product(row(&c->dq, n, h, t), 0, slope, 0, 1, k, c->k.stride[2], 1, c->size / VL, seen_here, s0 > 0);
            for (int64_t s = 0; s < keys; s++) {
                scaled_row(row(&c->dk, n, group, s0 + s), q, slope[s], c->size, i > 0);
                scaled_row(row(&c->dv, n, group, s0 + s), g, p[s], c->value_size, i > 0);
            }
        }
}

static int derive(const md_array *a, __attribute__((unused)) int n, const double *p) {
    job c;
    describe(&c, &a[4], &a[5], &a[6], &a[9], p);
    c.dq = a[0];
    c.dk = a[1];
    c.dv = a[2];
    c.g = a[3];
    c.y = a[7];
    c.lse = a[8];
    const int64_t batch = c.q.shape[0], key_heads = batch * c.groups, threads = md_get_threads();
    const int enough = key_heads % threads == 0 || key_heads >= 4 * threads;
    if (enough) over(&c, key_heads, c.length && c.length <= FEW && !c.drops ? backward_few : backward_head);
    else {
        over(&c, batch * c.heads * c.query_blocks, backward_query_block);
        over(&c, key_heads * c.key_blocks, backward_key_block);
    }
    return c.status;
}

MD_KERNEL(attention_backward, 3, 7) {
    static const int rows[] = {0, 1, 2, 3, 4, 5, 6, 7};
    job c;
    if (!describe(&c, &a[4], &a[5], &a[6], &a[9], p) || !md_contiguous(&a[8])) return MD_NOT_MINE;
    int pads = 0;
    for (int i = 0; i < 8; i++) {
        if (a[i].dtype != MD_F32) return MD_NOT_MINE;
        pads |= needs_padding(&a[i]);
    }
    return pads ? run_padded(a, n, p, 3, 8, rows, derive) : derive(a, n, p);
}
