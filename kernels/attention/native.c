/* Forward: keeps the largest score so far and rescales what was summed when it grows (online softmax). */
#include "padded.h"
#include "tiles.h"

static const float SLACK = 8; /* exponentials up to exp(SLACK) are summed before the largest score is looked at anew */

typedef struct { float shift[BLOCK], total[BLOCK], fade[BLOCK]; } softmax_state; /* what is taken off, the sum, and a factor */

/* The exponentials of a block of scores, less `shift`, and their sums; 1 where what was summed before is to be scaled by
 * `fade`. The shift is a largest score, and stays while no score is above it by more than SLACK. */
static int softmax_block(float *st, softmax_state *state, int64_t width, int64_t keys, int diagonal) {
    enum { ROUND = ABREAST > 2 ? ABREAST : 2 };
    int fades = 0;
    for (int64_t j = 0; j < width; j += VL) {
        const int64_t all = seen_by_all(j, keys, diagonal), one = seen_by_one(j, keys, diagonal);
        const vf before = vload(state->shift + j), none = vset(MINUS_INFINITY);
        vf m[4] = {none, none, none, none}, sum[2] = {vset(0), vset(0)};
        int64_t s = 0;
        for (; s + 4 <= all; s += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) m[i] = vmax(vload(st + (s + i) * BLOCK + j), m[i]); /* passes over NaN */
        for (; s < all; s++) m[0] = vmax(vload(st + s * BLOCK + j), m[0]);
        for (; s < one; s++) m[0] = vmax(vsel(sees(j, s), vload(st + s * BLOCK + j), none), m[0]);
        const vf max = vmax(vmax(m[0], m[1]), vmax(m[2], m[3]));
        const vf largest = vsel(max > before + SLACK, max, before), shift = vsel(largest == none, vset(0), largest);
        for (s = 0; s + ROUND <= all; s += ROUND) {
            vf e[ROUND];
#pragma GCC unroll 4
            for (int i = 0; i < ROUND; i++) e[i] = vload(st + (s + i) * BLOCK + j) - shift;
            vexps_at_most_16(e, ROUND);
#pragma GCC unroll 4
            for (int i = 0; i < ROUND; i++) {
                vstore(st + (s + i) * BLOCK + j, e[i]);
                sum[i % 2] += e[i];
            }
        }
        for (; s < one; s++) {
            const vf e = vsel(sees(j, s) | (s < all ? -1 : 0), vexp_at_most_16(vload(st + s * BLOCK + j) - shift), vset(0));
            vstore(st + s * BLOCK + j, e);
            sum[0] += e;
        }
        vf total = vload(state->total + j);
        vf fade = vset(1);
        if (vmax_lane(vsel(largest > before, vset(1), vset(0))) > 0) {
            fade = vexp(before - shift);
            total = total * fade;
            fades = 1;
        }
        vstore(state->fade + j, fade);
        vstore(state->total + j, total + (sum[0] + sum[1]));
        vstore(state->shift + j, largest);
    }
    return fades;
}

/* Rows of so many vectors, times factors. */
static void scale_rows(float *to, int64_t stride, const float *from, int64_t size, const float *factor, int64_t rows) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t d = 0; d < size; d += VL) vstore(to + i * stride + d, vload(from + i * size + d) * factor[i]);
}

static void no_keys_yet(softmax_state *state) {
    for (int i = 0; i < BLOCK; i++) {
        state->shift[i] = MINUS_INFINITY;
        state->total[i] = 0;
    }
}

/* From scores to weights; 1 where what was summed before is to be scaled by `fade`. */
static int weights_of_block(job *c, const work *w, softmax_state *state, int64_t n, int64_t h, int64_t t0, int64_t queries,
                            int64_t s0, int64_t keys) {
    const int64_t width = md_ceil_div(queries, VL) * VL;
    if (c->mask.data) add_mask(c, w->st, n, h, t0, queries, s0, keys);
    const int fades = softmax_block(w->st, state, width, keys, on_diagonal(c, t0, s0));
    if (c->drops) {
        draw_kept(c, w->kept, n, h, t0, queries, s0);
        multiply_block(w->st, w->kept, width, keys);
    }
    return fades && s0;
}

/* The logarithms of the denominators to lse; `fade` becomes what y is to be multiplied by. */
static void finish_softmax(const job *c, softmax_state *state, int64_t n, int64_t h, int64_t t0, int64_t queries) {
    for (int64_t j = 0; j < queries; j += VL) {
        const vf total = vload(state->total + j), none = vset(0);
        vstore(state->fade + j, vsel(total == none, none, 1.0f / total));
        vstore(state->shift + j, vload(state->shift + j) + vlog(total));
    }
    memcpy((float *)c->lse.data + (n * c->heads + h) * c->length + t0, state->shift, (size_t)queries * sizeof(float));
}

/* A block of queries with all keys that they see. */
static void forward_block(job *c, const work *w, rows_of k, rows_of v, int64_t n, int64_t h, int64_t t0) {
    softmax_state state;
    const int64_t queries = md_min(BLOCK, c->length - t0), end = seen(c, t0 + queries), size = c->value_size;
    turn(w->qt, row(&c->q, n, h, t0), c->q.stride[2], c->size, queries, c->scale);
    no_keys_yet(&state);
    if (!end) memset(w->o, 0, (size_t)(queries * size) * sizeof(float));
    for (int64_t s0 = 0; s0 < end; s0 += BLOCK) {
        const int64_t keys = md_min(BLOCK, end - s0);
        const int diagonal = on_diagonal(c, t0, s0);
        scores(w->st, k.at + s0 * k.stride, k.stride, w->qt, c->size, queries, keys, diagonal);
        if (weights_of_block(c, w, &state, n, h, t0, queries, s0, keys)) scale_rows(w->o, size, w->o, size, state.fade, queries);
        const int64_t strip = diagonal ? STRIP : queries;
        for (int64_t t = 0; t < queries; t += strip)
            product(w->o + t * size, size, w->st + t, 1, BLOCK, v.at + s0 * v.stride, v.stride, md_min(strip, queries - t),
                    size / VL, diagonal ? md_min(keys, t + STRIP) : keys, s0 > 0);
    }
    finish_softmax(c, &state, n, h, t0, queries);
    scale_rows(row(&c->y, n, h, t0), c->y.stride[2], w->o, size, state.fade, queries);
}

#if MD_AMX
/* The keys and values of a head, split: all keys; values turned, BLOCK of them at a time. */
typedef struct { char *k, *v, *q, *weights; amx_range of_k; int fits; } split_head;

static int split_keys(job *c, split_head *to, rows_of k, rows_of v) {
    const int64_t part = amx_bytes(c->value_size, BLOCK), keys = amx_bytes(c->keys, c->size);
    to->k = md_scratch(MD_SLOT_C, (size_t)(keys + c->key_blocks * part));
    to->q = md_scratch(MD_SLOT_D, (size_t)(amx_bytes(BLOCK, c->size) + amx_bytes(BLOCK, BLOCK)));
    if (!to->k || !to->q) {
        c->status = MD_NO_MEMORY;
        return 0;
    }
    to->v = to->k + keys;
    to->weights = to->q + amx_bytes(BLOCK, c->size);
    to->of_k = amx_pack_panels(to->k, k.at, k.stride, 1, c->keys, c->size, 0);
    amx_range of_v = amx_no_numbers;
    for (int64_t s = 0; s < c->keys; s += BLOCK)
        of_v = amx_both(of_v, amx_pack_panels(to->v + s / BLOCK * part, v.at + s * v.stride, 1, v.stride, c->value_size,
                                           md_min(BLOCK, c->keys - s), 0));
    const float about_one = 1;
    uint32_t bits;
    memcpy(&bits, &about_one, 4);
    to->fits = amx_fits((amx_range){bits, bits}, of_v); /* the largest weight is about 1 */
    return 1;
}

/* forward_block by tiles; 0 where the numbers do not fit them. */
AMX_CODE static int forward_block_by_tiles(job *c, const work *w, const split_head *of, int64_t n, int64_t h, int64_t t0) {
    softmax_state state;
    const int64_t queries = md_min(BLOCK, c->length - t0), end = seen(c, t0 + queries), size = c->value_size;
    turn(w->qt, row(&c->q, n, h, t0), c->q.stride[2], c->size, queries, c->scale);
    if (!end || !of->fits || !amx_fits(of->of_k, amx_pack_panels(of->q, w->qt, 1, BLOCK, queries, c->size, 1))) return 0;
    no_keys_yet(&state);
    for (int64_t s0 = 0; s0 < end; s0 += BLOCK) {
        const int64_t keys = md_min(BLOCK, end - s0), split = md_min(BLOCK, c->keys - s0);
        multiply_block_by_tiles(w->st, of->k + amx_bytes(s0, c->size), of->q, split, queries, c->size, 0);
        const int fades = weights_of_block(c, w, &state, n, h, t0, queries, s0, keys);
        for (int64_t d = 0; fades && d < size; d++)
            for (int64_t j = 0; j < queries; j += VL) {
                float *const o = w->o + d * BLOCK + j;
                vstore(o, vload(o) * vload(state.fade + j));
            }
        for (int64_t j = 0; on_diagonal(c, t0, s0) && j < queries; j += VL) /* what no query of the vector sees */
            for (int64_t s = seen_by_one(j, keys, 1); s < keys; s++) vstore(w->st + s * BLOCK + j, vset(0));
        split_weights(of->weights, w->st, keys, split, queries);
        multiply_block_by_tiles(w->o, of->v + s0 / BLOCK * amx_bytes(size, BLOCK), of->weights, size, queries, split, s0 > 0);
    }
    finish_softmax(c, &state, n, h, t0, queries);
    for (int64_t t = 0; t < queries; t += VL)
        for (int64_t d = 0; d < size; d += VL) {
            vf r[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++) r[i] = vload(w->o + (d + i) * BLOCK + t) * vload(state.fade + t);
            vtranspose(r);
            for (int i = 0; i < md_min(VL, queries - t); i++) vstore(row(&c->y, n, h, t0 + t + i) + d, r[i]);
        }
    return 1;
}

/* forward_part by tiles. */
AMX_CODE static void forward_part_by_tiles(int64_t task, void *ctx) {
    job *c = ctx;
    work w;
    split_head of;
    const int64_t head = task / c->parts, n = head / c->groups, group = head % c->groups, share = c->heads / c->groups;
    const rows_of k = {row(&c->k, n, group, 0), c->k.stride[2]}, v = {row(&c->v, n, group, 0), c->v.stride[2]};
    if (!reserve(c, &w) || !split_keys(c, &of, k, v)) return;
    amx_begin();
    for (int64_t i = task % c->parts; i < share * c->query_blocks; i += c->parts) {
        const int64_t h = group * share + i / c->query_blocks, t0 = (c->query_blocks - 1 - i % c->query_blocks) * BLOCK;
        if (!forward_block_by_tiles(c, &w, &of, n, h, t0)) forward_block(c, &w, k, v, n, h, t0);
    }
    amx_end();
}
/* Splitting costs as much as multiplying with some thirty queries; and of causal blocks tiles multiply the unseen half, too. */
static int tiles_pay(const job *c) {
    const int64_t bytes = amx_bytes(c->keys, c->size) + amx_bytes(c->keys, c->value_size);
    const int64_t queries = c->length * c->heads / md_max(1, c->groups) / c->parts;
    return md_has_amx() && c->keys >= (c->causal ? 6 : 1) * BLOCK && queries >= 2 * BLOCK && bytes <= MOST_BYTES;
}
#else
static int tiles_pay(__attribute__((unused)) const job *c) { return 0; }
#define forward_part_by_tiles forward_part
#endif

/* A task is a part of the blocks of queries that one key head serves. The last, which see most keys if causal, come first. */
static void forward_part(int64_t task, void *ctx) {
    job *c = ctx;
    work w;
    const int64_t head = task / c->parts, n = head / c->groups, group = head % c->groups, share = c->heads / c->groups;
    const int64_t floats = c->keys * (c->size + c->value_size), blocks = share * c->query_blocks;
    rows_of k = {row(&c->k, n, group, 0), c->k.stride[2]}, v = {row(&c->v, n, group, 0), c->v.stride[2]};
    if (!reserve(c, &w)) return;
    if (worth_packing(&c->k, &c->v, blocks / c->parts * BLOCK, floats * (int64_t)sizeof(float))) {
        float *memory = md_scratch(MD_SLOT_C, (size_t)floats * sizeof(float));
        if (!memory) {
            c->status = MD_NO_MEMORY;
            return;
        }
        const rows_of to[2] = {{memory, c->size}, {memory + c->keys * c->size, c->value_size}};
        copy_lines(to[0], k, c->keys, c->size);
        copy_lines(to[1], v, c->keys, c->value_size);
        k = to[0];
        v = to[1];
    }
    for (int64_t i = task % c->parts; i < blocks; i += c->parts)
        forward_block(c, &w, k, v, n, group * share + i / c->query_blocks,
                      (c->query_blocks - 1 - i % c->query_blocks) * BLOCK);
}

/* A task is a part of the single queries that one key head serves: all scores of one are in memory. */
static void forward_few(int64_t task, void *ctx) {
    job *c = ctx;
    const int64_t head = task / c->parts, n = head / c->groups, group = head % c->groups, share = c->heads / c->groups;
    float *p = md_scratch(MD_SLOT_B, (size_t)(c->keys + VL + c->value_size) * sizeof(float)), *o = p + c->keys + VL;
    if (!p) {
        c->status = MD_NO_MEMORY;
        return;
    }
    for (int64_t i = task % c->parts; i < share * c->length; i += c->parts) {
        const int64_t h = group * share + i / c->length, t = i % c->length, end = seen(c, t + 1);
        for (int64_t s = 0; s < end; s += VL) {
            const vf score = dots(row(&c->q, n, h, t), row(&c->k, n, group, s), c->k.stride[2], c->size, end - s) * c->scale;
            vstore(p + s, score);
        }
        if (c->mask.data)
            for (int64_t s = 0; s < end; s++) p[s] = masked(&c->mask, p[s], n, h, t, s);
        const vf max = row_max(p, end, 1), shift = vsel(max == MINUS_INFINITY, vset(0), max);
        const vf total = row_sum_exp(p, p, end, shift, 1);
        const float factor = total[0] == 0 ? 0 : 1 / total[0];
        product(o, c->value_size, p, 0, 1, row(&c->v, n, group, 0), c->v.stride[2], 1, c->value_size / VL, end, 0);
        scale_rows(row(&c->y, n, h, t), 0, o, c->value_size, &factor, 1);
        ((float *)c->lse.data)[(n * c->heads + h) * c->length + t] = (max + vlog(total))[0];
    }
}

static int attend(const md_array *a, int n, const double *p);

MD_KERNEL(attention, 2, 4) {
    static const int rows[] = {0, 2, 3, 4};
    job c;
    if (!describe(&c, &a[2], &a[3], &a[4], &a[5], p) || a[0].dtype != MD_F32 || !md_contiguous(&a[1])) return MD_NOT_MINE;
    for (int i = 0; i < 4; i++)
        if (needs_padding(&a[rows[i]])) return run_padded(a, n, p, 1, 4, rows, attend);
    return attend(a, n, p);
}

static int attend(const md_array *a, __attribute__((unused)) int n, const double *p) {
    job c;
    describe(&c, &a[2], &a[3], &a[4], &a[5], p);
    c.y = a[0];
    c.lse = a[1];
    const int few = c.length <= FEW && !c.drops;
    const int64_t key_heads = c.q.shape[0] * c.groups, threads = md_get_threads();
    const int64_t blocks = c.heads / md_max(1, c.groups) * (few ? c.length : c.query_blocks);
    c.parts = key_heads % threads == 0 || key_heads >= 4 * threads ? 1 : md_min(blocks, md_ceil_div(4 * threads, key_heads));
    if (blocks) over(&c, key_heads * c.parts, few ? forward_few : tiles_pay(&c) ? forward_part_by_tiles : forward_part);
    return c.status;
}
