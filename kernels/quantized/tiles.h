/* Products of 8-bit integers and of bfloat16 on matrix tiles (Intel AMX).
 *
 *   task                     some rows x some columns
 *     panel of 32 columns    of b: a plan keeps it packed, else each task packs it for itself; it stays in the first-level cache
 *       block of k           BLOCK_STEPS at most
 *         block of 32 rows   of a: read where it is, if tiles can read it there, else packed before the first panel
 *
 * A step is 64 bytes of k: 16 lanes of as many neighbours in k as one product sums. Tiles hold a step of 16 rows of a, a row
 * in 64 bytes, and a step of 16 columns of b, a lane of each in 64 bytes. Sums go on where an earlier block of k stored them:
 * how k is cut changes no result. */
#include "amx.h"
#include "md.h"
#if MD_AMX

enum {
    STEP = 64,
    STRIP = 16,
    SIDE = 32,
    BLOCK_STEPS = 12,
    GROUP = 128, /* columns that are packed together, and their bytes at most */
    GROUP_BYTES = 1 << 19,
    NEAR_BYTES = 1 << 19 /* of a, beside b and y in the second-level cache */
};
enum { TILE_PAIRS, TILE_SIGNED, TILE_UNSIGNED }; /* bfloat16; a int8; a uint8 */

#define TILE_CODE __attribute__((target("amx-tile,amx-bf16,amx-int8,avx512vbmi,prfchw")))

static int has_tiles(int bytes) {
    return md_has_amx() && __builtin_cpu_supports("avx512vbmi") && (!bytes || __builtin_cpu_supports("amx-int8"));
}

/* ---- packing ---- */

typedef struct { const char *x; int64_t ks, ms; } strip; /* 16 rows of a or columns of b, and the steps along k and among them in bytes */

INLINE uint64_t low_bits(int64_t n) { return n >= 64 ? ~UINT64_C(0) : n > 0 ? (UINT64_C(1) << n) - 1 : 0; }

/* How two rows of 16 bfloat16, or four of 16 bytes, become lanes. */
static const uint8_t to_lanes[2][64] = {
#define LANE_2(i) 2 * (i), 2 * (i) + 1, 2 * (i) + 32, 2 * (i) + 33
#define LANE_4(i) i, (i) + 16, (i) + 32, (i) + 48
#define LANES(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
    {LANES(LANE_2)}, {LANES(LANE_4)}};

/* Lanes of n <= 16 rows or columns that lie side by side; `rows` neighbours in k exist. */
TILE_CODE INLINE vf lanes(const char *x, int64_t ks, int64_t n, int64_t rows, const int size) {
    const __mmask32 mask = (__mmask32)low_bits(n * size);
    __m512i v = _mm512_setzero_si512();
    if (size == 2) {
        if (rows > 0) v = _mm512_zextsi256_si512(_mm256_maskz_loadu_epi8(mask, x));
        if (rows > 1) v = _mm512_inserti64x4(v, _mm256_maskz_loadu_epi8(mask, x + ks), 1);
    } else {
#define QUARTER(q) if (rows > q) v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8((__mmask16)mask, x + q * ks), q)
        QUARTER(0);
        QUARTER(1);
        QUARTER(2);
        QUARTER(3);
#undef QUARTER
    }
    return (vf)_mm512_permutexvar_epi8(_mm512_loadu_si512(to_lanes[size == 1]), v);
}

/* One step of n rows of a or columns of b, of whose factors `left` are left; what does not exist becomes zeros. */
TILE_CODE INLINE void pack_step(char *to, strip s, int64_t n, int64_t left, const int size, const int along, const int columns) {
    const int64_t k = md_min(left, STEP / size);
    const __mmask64 mask = low_bits(k * size);
    vf r[STRIP];
#pragma GCC unroll 16
    for (int i = 0; i < STRIP; i++) {
        if (along) r[i] = i < n ? (vf)_mm512_maskz_loadu_epi8(mask, s.x + i * s.ms) : (vf){0};
        else r[i] = lanes(s.x + i * (4 / size) * s.ks, s.ks, n, k - i * (4 / size), size);
    }
    if (along == columns) vtranspose(r);
#pragma GCC unroll 16
    for (int i = 0; i < STRIP; i++) vstore((float *)(to + i * STEP), r[i]);
}

/* All steps of n <= 16 rows or columns, a panel's next step being two tiles further. */
TILE_CODE INLINE void pack_strip_as(char *to, strip s, int64_t n, int64_t K, const int size, const int along, const int columns) {
    const int64_t each = STEP / size;
    for (; K >= each && n >= STRIP; K -= each, to += 2 * AMX_TILE, s.x += each * s.ks) pack_step(to, s, STRIP, each, size, along, columns);
    for (; K > 0; K -= each, to += 2 * AMX_TILE, s.x += each * s.ks) pack_step(to, s, n, K, size, along, columns);
}
TILE_CODE static void pack_strip(char *to, strip s, int64_t n, int64_t K, int size, int columns) {
    if (s.ks == size && columns) pack_strip_as(to, (strip){s.x, 1, s.ms}, n, K * size, 1, 1, 1);
    else if (s.ks == size) pack_strip_as(to, (strip){s.x, 1, s.ms}, n, K * size, 1, 1, 0);
    else if (s.ms == size && !columns) size == 1 ? pack_strip_as(to, s, n, K, 1, 0, 0) : pack_strip_as(to, s, n, K, 2, 0, 0);
    else
        for (; K > 0; K -= STEP / size, to += 2 * AMX_TILE, s.x += STEP / size * s.ks) { /* one by one */
            char rows[STRIP * STEP] = {0};
            for (int64_t i = 0; i < n; i++)
                for (int64_t k = 0; k < md_min(K, STEP / size); k++)
                    memcpy(rows + i * STEP + k * size, s.x + i * s.ms + k * s.ks, (size_t)size);
            const strip along = {rows, 1, STEP};
            if (columns) pack_step(to, along, STRIP, STEP, 1, 1, 1);
            else pack_step(to, along, STRIP, STEP, 1, 1, 0);
        }
}

/* Columns of b that lie side by side: whatever a line of the cache holds is used before the next one is read. */
TILE_CODE INLINE void pack_across(char *to, int64_t panel, strip s, int64_t n, int64_t K, const int size) {
    enum { LANES_OF_STEP = STEP / 4 };
    const int64_t each = 4 / size, whole = n / STRIP * STRIP, all = amx_whole(K, STEP / size) / each;
    for (int64_t lane = 0; lane < all; lane++, K -= each, s.x += each * s.ks) {
        char *const step = to + lane / LANES_OF_STEP * 2 * AMX_TILE + lane % LANES_OF_STEP * STEP;
        for (int64_t i = 0; i < n; i += STRIP) {
            const int64_t count = md_min(STRIP, n - i);
            const char *const x = s.x + i * size;
            const vf v = i < whole && K >= each ? lanes(x, s.ks, STRIP, each, size) : lanes(x, s.ks, count, K, size);
            vstore((float *)(step + i / SIDE * panel + i % SIDE / STRIP * AMX_TILE), v);
        }
    }
}

/* n rows or columns, 32 by 32, panel by panel. */
TILE_CODE __attribute__((noinline)) static void pack_sides(char *to, strip s, int64_t n, int64_t K, int size, int columns) {
    const int64_t panel = amx_whole(K * size, STEP) * SIDE;
    if (columns && s.ms == size && s.ks != size) size == 1 ? pack_across(to, panel, s, n, K, 1) : pack_across(to, panel, s, n, K, 2);
    else
        for (int64_t i = 0; i < n; i += STRIP, s.x += STRIP * s.ms)
            pack_strip(to + i / SIDE * panel + i % SIDE / STRIP * AMX_TILE, s, md_min(n - i, STRIP), K, size, columns);
}

/* ---- multiplying ---- */

typedef struct {
    const char *a, *b;
    int64_t steps, a_row, a_tile, a_step; /* of a: to the next row of a tile, the lower tile, the next step */
    const char *start; /* what the sums start from, or NULL: zero */
    int64_t start_row;
    char *y;
    int64_t y_row;
    const char *next_a, *to; /* the first step of the next call; where y will go */
    int64_t to_row;
    const char *far; /* each step asks for so many lines of what will be packed next */
    int64_t far_row, far_step;
    int far_lines;
} tile_args;

TILE_CODE INLINE void tiles_run(const int kind, const int down, const int across, const tile_args *t) {
    const int64_t a_row = t->a_row, a_tile = t->a_tile, a_step = t->a_step, start_row = t->start_row, y_row = t->y_row;
    const char *a = t->a, *b = t->b, *const start = t->start, *to = t->to, *far = t->far;
    char *const y = t->y;
    const int64_t to_rows = md_ceil_div(down * STRIP, md_max(1, t->steps));
    __asm__ volatile("" ::: "memory"); /* tiles read memory, which the compiler is not told of */
    if (start) {
        _tile_loadd(0, start, start_row);
        if (across == 2) _tile_loadd(1, start + 64, start_row);
        if (down == 2) _tile_loadd(2, start + STRIP * start_row, start_row);
        if (down == 2 && across == 2) _tile_loadd(3, start + STRIP * start_row + 64, start_row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
#define MULTIPLY(y, a, b)                                                                   \
    if (kind == TILE_PAIRS) _tile_dpbf16ps(y, a, b);                                          \
    else if (kind == TILE_SIGNED) _tile_dpbssd(y, a, b);                                      \
    else _tile_dpbusd(y, a, b)
    for (int64_t s = 0; s < t->steps; s++, a += a_step, b += 2 * AMX_TILE, far += t->far_step) {
        const char *const next = s + 1 < t->steps ? a + a_step : t->next_a;
        for (int64_t row = s * to_rows; row < md_min((s + 1) * to_rows, down * STRIP); row++, to += t->to_row) {
            __builtin_prefetch(to, 1);
            if (across == 2) __builtin_prefetch(to + 64, 1);
        }
        for (int i = 0; i < t->far_lines; i++) _mm_prefetch(far + i * t->far_row, _MM_HINT_T1);
        _tile_loadd(6, b, 64);
        _tile_loadd(4, a, a_row);
        MULTIPLY(0, 4, 6);
        if (down == 2) {
            _tile_loadd(5, a + a_tile, a_row);
            MULTIPLY(2, 5, 6);
        }
        if (across == 2) {
            _tile_loadd(7, b + AMX_TILE, 64);
            MULTIPLY(1, 4, 7);
            if (down == 2) { MULTIPLY(3, 5, 7); }
        }
#pragma GCC unroll 16
        for (int row = 0; row < STRIP; row++) {
            _mm_prefetch(next + row * a_row, _MM_HINT_T0);
            if (down == 2) _mm_prefetch(next + a_tile + row * a_row, _MM_HINT_T0);
        }
    }
#undef MULTIPLY
    _tile_stored(0, y, y_row);
    if (across == 2) _tile_stored(1, y + 64, y_row);
    if (down == 2) _tile_stored(2, y + STRIP * y_row, y_row);
    if (down == 2 && across == 2) _tile_stored(3, y + STRIP * y_row + 64, y_row);
}
#define TILES_OF(kind)                                                                                                 \
    TILE_CODE __attribute__((noinline)) static void tiles_##kind(int down, int across, const tile_args *t) {           \
        if (down == 2) across == 2 ? tiles_run(kind, 2, 2, t) : tiles_run(kind, 2, 1, t);                              \
        else across == 2 ? tiles_run(kind, 1, 2, t) : tiles_run(kind, 1, 1, t);                                        \
    }
TILES_OF(TILE_PAIRS)
TILES_OF(TILE_SIGNED)
TILES_OF(TILE_UNSIGNED)
static void (*const tiles_of[])(int, int, const tile_args *) = {tiles_TILE_PAIRS, tiles_TILE_SIGNED, tiles_TILE_UNSIGNED};

/* ---- the product ---- */

typedef struct {
    strip a, b;
    char *y;
    const float *bias;
    int64_t M, N, K, y_row, bias_s;
    int kind, size, threads;
    char *kept; /* all panels of b, packed, or NULL */
    int64_t panel, group; /* bytes of a panel; columns that are packed together */
    int64_t rows, cols, across, in_place; /* rows and columns of a task, tasks side by side; rows of a that are read where they are */
    _Atomic int status;
} tiled;

INLINE int strips(int64_t n) { return n > STRIP ? 2 : 1; }

static void pack_group_of_b(int64_t index, void *ctx) {
    const tiled *c = ctx;
    const int64_t j = index * c->group;
    const strip columns = {c->b.x + j * c->b.ms, c->b.ks, c->b.ms};
    pack_sides(c->kept + j / SIDE * c->panel, columns, md_min(c->group, c->N - j), c->K, c->size, 1);
}

/* Where a task's rows from m on are for the tiles. */
INLINE void left_operand(const tiled *c, tile_args *t, const char *packed, int64_t m0, int64_t m, int64_t k_step) {
    const int there = m + SIDE <= c->in_place;
    t->a_row = there ? c->a.ms : STEP;
    t->a_tile = there ? STRIP * c->a.ms : AMX_TILE;
    t->a_step = there ? STEP : 2 * AMX_TILE;
    t->a = (there ? c->a.x + m * c->a.ms : packed + (m - md_max(m0, c->in_place / SIDE * SIDE)) / SIDE * c->panel) + k_step * t->a_step;
}

TILE_CODE static void tiled_task(int64_t index, void *ctx) {
    tiled *c = ctx;
    const int64_t m0 = index / c->across * c->rows, m1 = md_min(c->M, m0 + c->rows);
    const int64_t n0 = index % c->across * c->cols, n1 = md_min(c->N, n0 + c->cols);
    const int64_t steps = c->panel / (2 * AMX_TILE), blocks = md_ceil_div(steps, BLOCK_STEPS), block = md_ceil_div(steps, blocks);
    const int64_t first_packed = md_max(m0, c->in_place / SIDE * SIDE), packed_rows = md_max(0, m1 - first_packed);
    char *const a = md_scratch(MD_SLOT_A, (size_t)(md_ceil_div(packed_rows, SIDE) * c->panel) + 64);
    char *const own = c->kept ? NULL : md_scratch(MD_SLOT_B, (size_t)(c->group / SIDE * c->panel));
    char *const sums = md_scratch(MD_SLOT_C, (size_t)(md_ceil_div(m1 - m0, SIDE) * SIDE * SIDE) * 4);
    if (!a || !sums || (!own && !c->kept)) {
        c->status = MD_NO_MEMORY;
        return;
    }
    pack_sides(a, (strip){c->a.x + first_packed * c->a.ms, c->a.ks, c->a.ms}, packed_rows, c->K, c->size, 0);
    const int64_t share = own && c->b.ks == c->size ? md_ceil_div(SIDE, md_ceil_div(m1 - m0, SIDE)) : 0;
    amx_begin();
    for (int64_t j = n0; j < n1; j += SIDE) {
        const int64_t cols = md_min(SIDE, c->N - j);
        const strip columns = {c->b.x + j * c->b.ms, c->b.ks, c->b.ms};
        if (own && (j - n0) % c->group == 0) pack_sides(own, columns, md_min(c->group, n1 - j), c->K, c->size, 1);
        const char *const b = own ? own + (j - n0) % c->group / SIDE * c->panel : c->kept + j / SIDE * c->panel;
        float bias[SIDE] = {0};
        for (int64_t i = 0; i < cols && c->bias; i++) bias[i] = c->bias[(j + i) * c->bias_s];
        for (int64_t k = 0; k < steps; k += block)
            for (int64_t m = m0; m < m1; m += SIDE) {
                const int64_t rows = md_min(SIDE, m1 - m);
                const int last = k + block >= steps, whole = rows % STRIP == 0 && cols % STRIP == 0, next = m + SIDE >= m1;
                char *const y = c->y + m * c->y_row + j * 4, *const mine = sums + (m - m0) * SIDE * 4;
                tile_args t = {.b = b + k * 2 * AMX_TILE, .steps = md_min(block, steps - k), .far_row = c->b.ms, .far_step = STEP};
                left_operand(c, &t, a, m0, next ? m0 : m + SIDE, next && !last ? k + block : next ? 0 : k);
                t.next_a = t.a;
                left_operand(c, &t, a, m0, m, k);
                const int64_t turn = (m - m0) / SIDE * share;
                t.far = columns.x + (SIDE + turn) * c->b.ms + k * STEP;
                t.far_lines = (int)md_max(0, md_min(share, SIDE - turn));
                t.start = k ? mine : c->bias ? (const char *)bias : NULL;
                t.start_row = k ? SIDE * 4 : 0;
                t.y = last && whole ? y : mine;
                t.y_row = last && whole ? c->y_row : SIDE * 4;
                t.to = last ? y : mine;
                t.to_row = last ? c->y_row : SIDE * 4;
                tiles_of[c->kind](strips(rows), strips(cols), &t);
                for (int64_t i = 0; i < rows && last && !whole; i++) memcpy(y + i * c->y_row, mine + i * SIDE * 4, (size_t)cols * 4);
            }
    }
    amx_end();
}

static void tiled_all(const tiled *c, int64_t tasks, void (*body)(int64_t, void *), void *ctx) {
    if (c->threads > 1) md_parallel(tasks, body, ctx);
    else for (int64_t i = 0; i < tasks; i++) body(i, ctx);
}

/* Rows and columns of a task, so that the slowest thread has least to do. To fetch and pack a panel of b takes as long as 128 rows of
 * products with it, and to pack 32 rows of a as long as 64 columns. */
static void tiled_share_out(tiled *c) {
    const int64_t bytes = c->panel / SIDE, fewest = md_ceil_div(c->M * bytes, NEAR_BYTES);
    const int64_t for_b = c->kept ? 48 : 128, for_a = c->in_place ? 16 : 64;
    int64_t least = INT64_MAX;
    for (int64_t down = fewest; down <= fewest + 2 * c->threads; down++)
        for (int64_t across = 1; across <= 2 * c->threads; across++) {
            const int64_t rows = amx_whole(md_ceil_div(c->M, down), SIDE), cols = amx_whole(md_ceil_div(c->N, across), SIDE);
            const int64_t turns = md_ceil_div(md_ceil_div(c->M, rows) * md_ceil_div(c->N, cols), c->threads);
            const int64_t cost = turns * (rows * cols + for_b * cols + for_a * rows + 4000);
            if (cost < least) least = cost, c->rows = rows, c->cols = cols;
        }
    c->across = md_ceil_div(c->N, c->cols);
}

/* y = a @ b + bias; size: bytes of a factor. */
static int multiply_by_tiles(const md_array *y, const md_array *a, const md_array *b, const md_array *bias) {
    const int size = a->dtype & 255;
    tiled c = {.a = {a->data, a->stride[1] * size, a->stride[0] * size}, .b = {b->data, b->stride[0] * size, b->stride[1] * size},
               .y = y->data, .M = y->shape[0], .N = y->shape[1], .K = a->shape[1], .y_row = y->stride[0] * 4,
               .kind = size == 2 ? TILE_PAIRS : a->dtype == MD_U8 ? TILE_UNSIGNED : TILE_SIGNED, .size = size};
    if (bias && bias->data) c.bias = (const float *)bias->data, c.bias_s = bias->stride[0];
    c.panel = amx_whole(c.K * size, STEP) * SIDE;
    c.group = c.b.ms == size ? md_max(SIDE, md_min(GROUP, md_min(GROUP_BYTES / c.panel * SIDE, amx_whole(c.N, SIDE)))) : SIDE;
    /* Rows 1024 bytes apart share sets of the first-level cache, too few for 32 rows. */
    if (c.a.ks == size && c.K * size % STEP == 0 && c.a.ms % 1024) c.in_place = c.M;
    c.threads = 2.0 * (double)c.M * (double)c.N * (double)c.K < MD_SMALL_FLOPS ? 1 : md_get_threads();
    if (b->constant) {
        int filled;
        c.kept = md_keep(MD_SLOT_B, (size_t)(md_ceil_div(c.N, SIDE) * c.panel), b, &filled);
        if (!c.kept) return MD_NO_MEMORY;
        if (!filled) tiled_all(&c, md_ceil_div(c.N, c.group), pack_group_of_b, &c);
    }
    tiled_share_out(&c);
    tiled_all(&c, md_ceil_div(c.M, c.rows) * c.across, tiled_task, &c);
    return c.status;
}
#endif
