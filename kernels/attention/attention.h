/* What both directions of attention share: the job, products of blocks, and a block of scores.
 *
 * Blocks of BLOCK queries x BLOCK keys. A block of scores lies turned, keys x queries: its lanes are queries, so the softmax
 * along the keys needs no operation across lanes, and every product reads its operands where they lie:
 *
 *     S^T = k q^T       rows of k one factor at a time, q^T packed once for a block of queries
 *     y  += P v         columns of P^T, rows of v
 *     dv += P^T g       rows of P^T, rows of g
 *
 * On the diagonal of a causal block each product is done in strips of STRIP, and only for what a strip sees. All sizes D are
 * whole vectors: others have been copied with zeros at their end (padded.h). */
#ifndef MD_ATTENTION_H
#define MD_ATTENTION_H
#include "philox.h"
#include "rows.h"

enum { BLOCK = 64, STRIP = 16, MAX_SIZE = 1024, ROWS = 6 };
enum { FEW = 2 }; /* queries of a head that go one by one */
#if VREGS == 32
enum { VECTORS = 4 };
#else
enum { VECTORS = 2 };
#endif

typedef struct {
    md_array y, q, k, v, mask, lse, g, dq, dk, dv;
    int64_t heads, groups, length, keys, size, value_size, query_blocks, key_blocks, parts;
    float scale, kept_scale;
    uint32_t threshold, key0, key1; /* of dropout, if drops */
    int causal, drops;
    _Atomic int status;
} job;

/* A task's memory: D x BLOCK, Dv x BLOCK, BLOCK x BLOCK three times, BLOCK x Dv twice and BLOCK x D twice. */
typedef struct { float *qt, *gt, *st, *dst, *kept, *o, *g, *q, *dq; } work;
typedef struct { float *at; int64_t stride; } rows_of;  /* the keys or values of a head, or what is added up for them */

INLINE float *row(const md_array *a, int64_t n, int64_t h, int64_t t) {
    return (float *)a->data + n * a->stride[0] + h * a->stride[1] + t * a->stride[2];
}

/* y (+)= the product of rows x K and K x nv vectors; factor k of row i is a[i * as + k * ks]. */
INLINE void product_tile(const int rows, const int nv, float *y, int64_t ys, const float *a, int64_t as, int64_t ks,
                         const float *b, int64_t bs, int64_t K, int add) {
    vf sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[i][v] = add ? vload(y + i * ys + v * VL) : (vf){0};
    for (int64_t k = 0; k < K; k++, a += ks, b += bs) {
        vf bv[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) bv[v] = vload(b + v * VL);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            const vf x = vset(a[i * as]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[i][v] += x * bv[v];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vstore(y + i * ys + v * VL, sum[i][v]);
}

typedef void (*product_part)(float *, int64_t, const float *, int64_t, int64_t, const float *, int64_t, int64_t, int);
#define PRODUCT(rows, nv)                                                                                                \
    __attribute__((noinline, unused)) static void product_##rows##_##nv(float *y, int64_t ys, const float *a, int64_t as, \
                                           int64_t ks, const float *b, int64_t bs, int64_t K, int add) {                   \
        product_tile(rows, nv, y, ys, a, as, ks, b, bs, K, add);                                                           \
    }
#define PRODUCTS(nv) PRODUCT(6, nv) PRODUCT(4, nv) PRODUCT(2, nv) PRODUCT(1, nv)
#define PRODUCT_NAMES(nv) {product_1_##nv, product_2_##nv, product_4_##nv, product_6_##nv}
PRODUCTS(1)
PRODUCTS(2)
#if VREGS == 32
PRODUCTS(3)
PRODUCTS(4)
static const product_part product_parts[VECTORS][4] = {PRODUCT_NAMES(1), PRODUCT_NAMES(2), PRODUCT_NAMES(3), PRODUCT_NAMES(4)};
#else
static const product_part product_parts[VECTORS][4] = {PRODUCT_NAMES(1), PRODUCT_NAMES(2)};
#endif

/* y (+)= the product of M x K and K x so many vectors. */
static inline void product(float *y, int64_t ys, const float *a, int64_t as, int64_t ks, const float *b, int64_t bs, int64_t M,
                           int64_t vectors, int64_t K, int add) {
    for (int64_t j = 0; j < vectors; j += VECTORS) {
        const product_part *part = product_parts[md_min(VECTORS, vectors - j) - 1];
        for (int64_t m = 0; m < M;) {
            const int64_t left = M - m;
            const int kind = left >= 6 ? 3 : left >= 4 ? 2 : left >= 2 ? 1 : 0;
            part[kind](y + m * ys + j * VL, ys, a + m * as, as, ks, b + j * VL, bs, K, add);
            m += kind == 3 ? 6 : 1 << kind;
        }
    }
}

/* to[d * BLOCK + t] = scale * from[t][d] for t < count, and zeros up to a whole vector. */
static inline void turn(float *to, const float *from, int64_t stride, int64_t size, int64_t count, float scale) {
    for (int64_t t = 0; t < count; t += VL)
        for (int64_t d = 0; d < size; d += VL) {
            vf r[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++) r[i] = t + i < count ? vload(from + (t + i) * stride + d) * scale : (vf){0};
            vtranspose(r);
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++) vstore(to + (d + i) * BLOCK + t, r[i]);
        }
}

/* y[i] = the dot products of q with rows i < VL of so many vectors: as sums of their own, turned and added. */
INLINE vf dots(const float *q, const float *k, int64_t stride, int64_t size, int64_t rows) {
    vf r[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) {
        const float *one = k + (i < rows ? i : 0) * stride;
        r[i] = vset(0);
        for (int64_t d = 0; d < size; d += VL) r[i] += vload(q + d) * vload(one + d);
    }
    vtranspose(r);
#pragma GCC unroll 4
    for (int w = VL / 2; w; w /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < w; i++) r[i] += r[i + w];
    return r[0];
}

/* A score with its mask: -inf where a bool one is False. */
INLINE float masked(const md_array *m, float score, int64_t n, int64_t h, int64_t t, int64_t s) {
    const int64_t at = n * m->stride[0] + h * m->stride[1] + t * m->stride[2] + s * m->stride[3];
    if (m->dtype == MD_F32) return score + ((const float *)m->data)[at];
    return m->data[at] ? score : MINUS_INFINITY;
}

/* The same for a block of scores. */
static inline void add_mask(const job *c, float *st, int64_t n, int64_t h, int64_t t0, int64_t queries, int64_t s0,
                            int64_t keys) {
    const md_array *m = &c->mask;
    const int64_t at = n * m->stride[0] + h * m->stride[1] + t0 * m->stride[2] + s0 * m->stride[3];
    for (int64_t t = 0; t < queries; t += VL)
        for (int64_t s = 0; s < keys; s += VL) { /* read along the keys, and turned */
            const int rows = (int)md_min(VL, queries - t), columns = (int)md_min(VL, keys - s);
            float part[VL][VL] = {{0}};
            for (int i = 0; i < rows; i++) {
                const int64_t first = at + (t + i) * m->stride[2] + s * m->stride[3];
                for (int j = 0; j < columns; j++) {
                    const int64_t place = first + j * m->stride[3];
                    part[i][j] = m->dtype == MD_F32 ? ((const float *)m->data)[place] : m->data[place] ? 0 : MINUS_INFINITY;
                }
            }
            vf r[VL];
            for (int i = 0; i < VL; i++) r[i] = vload(part[i]);
            vtranspose(r);
            for (int j = 0; j < columns; j++) {
                float *to = st + (s + j) * BLOCK + t;
                vstore(to, m->dtype == MD_F32 ? vload(to) + r[j] : vsel(r[j] == 0.0f, vload(to), r[j]));
            }
        }
}

/* What dropout multiplies a block of weights by, turned as they are. A row's words follow each other from one key to the next. */
static inline void draw_kept(const job *c, float *kept, int64_t n, int64_t h, int64_t t0, int64_t queries, int64_t s0) {
    for (int64_t t = 0; t < queries; t += VL) {
        uint32_t words[VL][WORDS];
        for (int i = 0; i < VL; i++) {
            const int64_t line = (n * c->heads + h) * c->length + t0 + md_min(t + i, queries - 1);
            draw(words[i], line * c->key_blocks + s0 / BLOCK, c->key0, c->key1);
        }
        for (int64_t s = 0; s < BLOCK; s += VL) {
            vf r[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                r[i] = vsel((vu)vload((float *)words[i] + s) >= c->threshold, vset(c->kept_scale), vset(0));
            vtranspose(r);
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++) vstore(kept + (s + i) * BLOCK + t, r[i]);
        }
    }
}
static inline void multiply_block(float *st, const float *kept, int64_t width, int64_t keys) {
    for (int64_t s = 0; s < keys; s++)
        for (int64_t j = 0; j < width; j += VL) vstore(st + s * BLOCK + j, vload(st + s * BLOCK + j) * vload(kept + s * BLOCK + j));
}

/* Is this the block on the diagonal of causal attention, of which a query sees the keys up to its own? */
INLINE int on_diagonal(const job *c, int64_t t0, int64_t s0) { return c->causal && t0 == s0; }

/* The scores of a block, keys x queries; lanes are filled up to a whole vector. On the diagonal, a strip of keys for the
 * queries from its first on; the others' places are left as they are. */
static inline void scores(float *st, const float *k, int64_t k_stride, const float *qt, int64_t size, int64_t queries,
                          int64_t keys, int diagonal) {
    const int64_t width = md_ceil_div(queries, VL), strip = diagonal ? STRIP : keys;
    for (int64_t s = 0; s < keys; s += strip) {
        const int64_t skip = diagonal ? s : 0;
        product(st + s * BLOCK + skip, BLOCK, k + s * k_stride, k_stride, 1, qt + skip, BLOCK, md_min(strip, keys - s),
                width - skip / VL, size, 0);
    }
}

/* Of the keys of a diagonal block, each query of the vector of lanes from j on sees the first j + 1; none sees more than those
 * to the end of its strip, and of these it sees: all ones in its lane. */
INLINE int64_t seen_by_all(int64_t j, int64_t keys, int diagonal) { return diagonal ? md_min(keys, j + 1) : keys; }
INLINE int64_t seen_by_one(int64_t j, int64_t keys, int diagonal) {
    return diagonal ? md_min(keys, j / STRIP * STRIP + STRIP) : keys;
}
INLINE vi sees(int64_t j, int64_t s) {
    vi lane;
    for (int i = 0; i < VL; i++) lane[i] = i;
    return lane >= (int32_t)(s - j);
}

/* Keys that queries up to t1 see, at most. */
INLINE int64_t seen(const job *c, int64_t t1) { return c->causal ? md_min(c->keys, t1) : c->keys; }

/* A task's memory; 0, and said so, where there is none. */
static inline int reserve(job *c, work *w) {
    const int64_t size = c->size * BLOCK, value_size = c->value_size * BLOCK, block = BLOCK * BLOCK;
    float *p = md_scratch(MD_SLOT_B, (size_t)(3 * size + 3 * value_size + 3 * block) * sizeof(float));
    if (!p) c->status = MD_NO_MEMORY;
    w->qt = p;
    w->gt = p + size;
    w->o = w->gt + value_size;
    w->st = w->o + value_size;
    w->dst = w->st + block;
    w->kept = w->dst + block;
    w->g = w->kept + block;
    w->q = w->g + value_size;
    w->dq = w->q + size;
    return p != NULL;
}

/* Copying the rows of a key head, where they lie apart, to one place is worth it if they stay in the cache there. */
enum { CACHED = VREGS == 32 ? 1 << 20 : 1 << 19 };
INLINE int worth_packing(const md_array *k, const md_array *v, int64_t rows, int64_t bytes) {
    return (k->stride[2] != k->shape[3] || v->stride[2] != v->shape[3]) && rows > BLOCK && bytes <= CACHED;
}
static inline void copy_lines(rows_of to, rows_of from, int64_t rows, int64_t size) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t d = 0; d < size; d += VL) vstore(to.at + i * to.stride + d, vload(from.at + i * from.stride + d));
}

static inline void over(job *c, int64_t tasks, void (*task)(int64_t, void *)) {
    const int64_t pairs = c->q.shape[0] * c->heads * c->length * c->keys;
    if (2 * pairs * (c->size + c->value_size) < MD_SMALL_FLOPS) for (int64_t i = 0; i < tasks; i++) task(i, c);
    else md_parallel(tasks, task, c);
}

/* The job of some arrays; whether they are served. */
static inline int describe(job *c, const md_array *q, const md_array *k, const md_array *v, const md_array *mask,
                           const double *p) {
    *c = (job){.q = *q, .k = *k, .v = *v, .mask = *mask, .heads = q->shape[1], .groups = k->shape[1], .length = q->shape[2],
               .keys = k->shape[2], .size = q->shape[3], .value_size = v->shape[3], .causal = p[0] != 0, .scale = (float)p[1],
               .threshold = (uint32_t)p[2], .kept_scale = (float)p[3], .drops = p[3] != 1, .key0 = (uint32_t)p[4], .key1 = (uint32_t)p[5]};
    c->query_blocks = md_ceil_div(c->length, BLOCK);
    c->key_blocks = md_ceil_div(c->keys, BLOCK);
    return q->dtype == MD_F32 && k->dtype == MD_F32 && v->dtype == MD_F32 && c->size <= MAX_SIZE && c->value_size <= MAX_SIZE;
}
#endif
