/* Products of 8-bit integers and of bfloat16, and conversions of bfloat16.
 *
 * Both factors are packed into lanes of 32 bits, each with as many neighbours in k as the multiplying instruction sums at
 * once. What differs between the kinds below is how a lane is made and that one instruction; the loops are the same. */
#include "md.h"
#include "pack.h"
#include "tiles.h"

/* What a lane holds. BYTES need an instruction that a processor of the highest level may lack; bfloat16 are widened to FLOATS,
 * which the vectors of Intel's cores multiply faster than pairs of bfloat16. */
enum { WORDS, BYTES, FLOATS };
static const int lane_k[] = {2, 4, 1};

enum { NV = VREGS == 32 ? 4 : 2, MR = 6, WIDTH = NV * VL, ROWS = 16 * MR }; /* of a tile; columns of a panel; rows of a task */

typedef struct { const char *data; int64_t ks, ms; int dtype; } operand; /* ms: from one row of a, column of b, to the next */

typedef struct {
    operand a, b;
    char *y;
    const float *bias;
    int64_t M, N, K, y_ms, bias_s, groups, row_blocks, panel;
    int kind, filled;
    uint32_t flip; /* makes BYTES of a unsigned: adds 128 to each */
    uint32_t *packed_a, *packed_b;
} product;

/* One factor, as it stands in its part of a lane. */
INLINE uint32_t factor(const char *x, const int kind, const int dtype) {
    if (kind == BYTES) return *(const uint8_t *)x;
    if (kind == WORDS) return dtype == MD_U8 ? *(const uint8_t *)x : (uint16_t)*(const int8_t *)x;
    return (uint32_t)*(const uint16_t *)x << 16;
}

/* The n lanes of group g, one for each of n rows of a or columns of b; `count` of its factors exist. Steps in bytes. */
INLINE void pack_group(uint32_t *to, int64_t n, const char *x, int64_t ks, int64_t ms, const int kind, const int dtype,
                       const int count) {
    for (int64_t j = 0; j < n; j++) {
        uint32_t lane = 0;
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) lane |= factor(x + i * ks + j * ms, kind, dtype) << (i * 32 / lane_k[kind] % 32);
        to[j] = lane;
    }
}

/* A panel of b: lanes of WIDTH columns for each group, zeros in columns that do not exist. */
INLINE void pack_columns(const product *c, uint32_t *to, int64_t j0, const int kind) {
    const int64_t cols = md_min(WIDTH, c->N - j0), whole = c->K / lane_k[kind], size = kind == FLOATS ? 2 : 1;
    const int64_t ks = c->b.ks * size, ms = c->b.ms * size;
    const char *x = c->b.data + j0 * ms;
    if (cols < WIDTH) memset(to, 0, (size_t)(c->groups * WIDTH) * sizeof *to);
    const int in_words = c->b.ks == 1 && ms % 4 == 0 && (uintptr_t)x % 4 == 0; /* along k, four bytes at a time */
    if (in_words && size * lane_k[kind] == 4) pack_transposed((float *)to, WIDTH, (const float *)x, ms / 4, whole, cols);
    else if (in_words && kind == FLOATS && whole % 2 == 0) {
        pack_transposed((float *)to, 2 * WIDTH, (const float *)x, ms / 4, whole / 2, cols);
        for (int64_t g = 0; g < whole; g += 2)
            for (int j = 0; j < WIDTH; j++) {
                const uint32_t two = to[g * WIDTH + j];
                to[g * WIDTH + j] = two << 16;
                to[(g + 1) * WIDTH + j] = two & 0xffff0000;
            }
    } else
        for (int64_t g = 0; g < whole; g++) {
            const char *from = x + g * lane_k[kind] * ks;
            if (ms == size) pack_group(to + g * WIDTH, cols, from, ks, size, kind, 0, lane_k[kind]);
            else pack_group(to + g * WIDTH, cols, from, ks, ms, kind, 0, lane_k[kind]);
        }
    memset(to + whole * WIDTH, 0, (size_t)((c->groups - whole) * WIDTH) * sizeof *to);
    if (c->K % lane_k[kind])
        pack_group(to + whole * WIDTH, cols, x + whole * lane_k[kind] * ks, ks, ms, kind, 0, (int)(c->K % lane_k[kind]));
}

/* A row of a: a lane for each group. */
INLINE void pack_row(const product *c, uint32_t *to, const char *x, const int kind, const int dtype) {
    const int64_t whole = c->K / lane_k[kind], size = kind == FLOATS ? 2 : 1, ks = c->a.ks * size;
    if (c->a.ks == 1 && size * lane_k[kind] == 4) memcpy(to, x, (size_t)whole * 4);
    else if (c->a.ks == 1) pack_group(to, whole, x, size, lane_k[kind] * size, kind, dtype, lane_k[kind]);
    else pack_group(to, whole, x, ks, lane_k[kind] * ks, kind, dtype, lane_k[kind]);
    memset(to + whole, 0, (size_t)(c->groups - whole) * sizeof *to);
    if (c->K % lane_k[kind]) pack_group(to + whole, 1, x + whole * lane_k[kind] * ks, ks, 0, kind, dtype, (int)(c->K % lane_k[kind]));
    if (kind == BYTES)
        for (int64_t g = 0; g < c->groups; g++) to[g] ^= c->flip;
}

static void pack_panel(const product *c, int64_t panel) {
    uint32_t *to = c->packed_b + panel * c->panel;
    switch (c->kind) {
    case WORDS: pack_columns(c, to, panel * WIDTH, WORDS); break;
    case BYTES: pack_columns(c, to, panel * WIDTH, BYTES); break;
    case FLOATS: pack_columns(c, to, panel * WIDTH, FLOATS); break;
    }
    if (c->kind != BYTES) return;
    int32_t sums[WIDTH] = {0};
    for (int64_t g = 0; g < c->groups; g++)
        for (int j = 0; j < WIDTH; j++) {
            const uint32_t x = to[g * WIDTH + j];
            sums[j] += (int8_t)x + (int8_t)(x >> 8) + (int8_t)(x >> 16) + (int8_t)(x >> 24);
        }
    memcpy(to + c->groups * WIDTH, sums, sizeof sums);
}

static void pack_task(int64_t i, void *ctx) {
    const product *c = ctx;
    if (i >= c->row_blocks) {
        pack_panel(c, i - c->row_blocks);
        return;
    }
    const int64_t size = c->a.dtype & 255;
    for (int64_t m = i * ROWS; m < md_min(c->M, (i + 1) * ROWS); m++) {
        uint32_t *to = c->packed_a + m * c->groups;
        const char *x = c->a.data + m * c->a.ms * size;
        switch (c->kind) {
        case WORDS:
            if (c->a.dtype == MD_U8) pack_row(c, to, x, WORDS, MD_U8);
            else pack_row(c, to, x, WORDS, 0);
            break;
        case BYTES: pack_row(c, to, x, BYTES, 0); break;
        case FLOATS: pack_row(c, to, x, FLOATS, 0); break;
        }
    }
}

/* sums[MR][WIDTH] of `rows` rows of a and one panel of b: STEP(sum, lanes of a, lanes of b). */
#define TILE(name, attribute, vector, STEP)                                                                  \
    attribute __attribute__((noinline)) static void name(const product *c, const uint32_t *a, int64_t rows,  \
                                                         const uint32_t *b, uint32_t *sums) {                \
        const int64_t groups = c->groups;                                                                    \
        const int32_t *row[MR];                                                                              \
        vector acc[MR][NV];                                                                                  \
        _Pragma("GCC unroll 6") for (int i = 0; i < MR; i++) {                                               \
            row[i] = (const int32_t *)a + (i < rows ? i : 0) * c->groups;                                    \
            _Pragma("GCC unroll 4") for (int v = 0; v < NV; v++) acc[i][v] = (vector){0};                    \
        }                                                                                                    \
        for (int64_t g = 0; g < groups; g++, b += WIDTH) {                                                   \
            vi bv[NV];                                                                                       \
            _Pragma("GCC unroll 4") for (int v = 0; v < NV; v++) bv[v] = (vi)vload((const float *)b + v * VL); \
            _Pragma("GCC unroll 6") for (int i = 0; i < MR; i++) {                                           \
                const vi x = row[i][g] - (vi){0};                                                            \
                _Pragma("GCC unroll 4") for (int v = 0; v < NV; v++) acc[i][v] = STEP(acc[i][v], x, bv[v]);  \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("GCC unroll 6") for (int i = 0; i < MR; i++)                                                 \
            _Pragma("GCC unroll 4") for (int v = 0; v < NV; v++)                                             \
                vstore((float *)sums + i * WIDTH + v * VL, (vf)acc[i][v]);                                   \
    }

#define STEP_FLOATS(sum, x, y) ((sum) + (vf)(x) * (vf)(y))
#if defined(__AVX512BW__)
#define STEP_WORDS(sum, x, y) ((sum) + (vi)_mm512_madd_epi16((__m512i)(x), (__m512i)(y)))
#elif defined(__AVX2__)
#define STEP_WORDS(sum, x, y) ((sum) + (vi)_mm256_madd_epi16((__m256i)(x), (__m256i)(y)))
#elif defined(__SSE2__)
#include <emmintrin.h>
#define STEP_WORDS(sum, x, y) ((sum) + (vi)_mm_madd_epi16((__m128i)(x), (__m128i)(y)))
#else
#define STEP_WORDS(sum, x, y) ((sum) + ((x) << 16 >> 16) * ((y) << 16 >> 16) + ((x) >> 16) * ((y) >> 16))
#endif
TILE(tile_words, , vi, STEP_WORDS)
TILE(tile_floats, , vf, STEP_FLOATS)
#if defined(__AVX512BW__)
#define STEP_BYTES(sum, x, y) ((vi)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(x), (__m512i)(y)))
TILE(tile_bytes, __attribute__((target("avx512vnni"))), vi, STEP_BYTES)
static int has_bytes(void) { return __builtin_cpu_supports("avx512vnni") != 0; }
#else
#define tile_bytes tile_words
static int has_bytes(void) { return 0; }
#endif

static void (*const tiles[])(const product *, const uint32_t *, int64_t, const uint32_t *, uint32_t *) = {
    [WORDS] = tile_words, [BYTES] = tile_bytes, [FLOATS] = tile_floats,
};

static void product_task(int64_t task, void *ctx) {
    const product *c = ctx;
    const int64_t j0 = task / c->row_blocks * WIDTH, m0 = task % c->row_blocks * ROWS, m1 = md_min(c->M, m0 + ROWS);
    const int64_t cols = md_min(WIDTH, c->N - j0);
    const uint32_t *b = c->packed_b + j0 / WIDTH * c->panel, *of_columns = b + c->groups * WIDTH;
    uint32_t sums[MR * WIDTH];
    for (int64_t m = m0; m < m1; m += MR) {
        tiles[c->kind](c, c->packed_a + m * c->groups, md_min(MR, m1 - m), b, sums);
        for (int64_t i = 0; i < md_min(MR, m1 - m); i++) {
            uint32_t *sum = sums + i * WIDTH;
            char *y = c->y + ((m + i) * c->y_ms + j0) * 4;
            if (c->flip)
                for (int64_t j = 0; j < cols; j++) sum[j] -= 128 * of_columns[j];
            memcpy(y, sum, (size_t)cols * 4);
            if (c->bias)
                for (int64_t j = 0; j < cols; j++) ((float *)y)[j] += c->bias[(j0 + j) * c->bias_s];
        }
    }
}

static void all(int alone, int64_t n, void (*body)(int64_t, void *), void *ctx) {
    if (alone)
        for (int64_t i = 0; i < n; i++) body(i, ctx);
    else md_parallel(n, body, ctx);
}

#include "few.h"

static int multiply(const md_array *y, const md_array *a, const md_array *b, int bytes, const md_array *bias) {
    const int kind = !bytes ? FLOATS : has_bytes() ? BYTES : WORDS;
    product c = {.kind = kind, .y = y->data, .M = y->shape[0], .N = y->shape[1], .K = a->shape[1], .y_ms = y->stride[0],
                 .a = {a->data, a->stride[1], a->stride[0], a->dtype}, .b = {b->data, b->stride[0], b->stride[1], b->dtype}};
    if (c.N > 1 && y->stride[1] != 1) return MD_NOT_MINE;
    if (!c.M || !c.N) return MD_DONE;
#if MD_AMX
    const double flops = 2.0 * (double)c.M * (double)c.N * (double)c.K;
    if (flops >= MD_SMALL_FLOPS && has_tiles(bytes)) return multiply_by_tiles(y, a, b, bias);
#endif
    if (bias && bias->data) c.bias = (const float *)bias->data, c.bias_s = bias->stride[0];
    if (kind == BYTES && a->dtype != MD_U8) c.flip = 0x80808080;
    const int alone = 2.0 * (double)c.M * (double)c.N * (double)c.K < MD_SMALL_FLOPS;
    if (few_rows(&c)) {
        c.groups = md_ceil_div(c.K, 2 * VL) * 2 * VL;
        c.packed_a = md_scratch(MD_SLOT_A, (size_t)(c.M * c.groups) * 4 + 64);
        if (!c.packed_a) return MD_NO_MEMORY;
        few_floats(&c, (float *)c.packed_a);
        all(alone, md_ceil_div(c.N, FEW_COLUMNS), few_task, &c);
        return MD_DONE;
    }
    const int64_t panels = md_ceil_div(c.N, WIDTH);
    c.groups = md_ceil_div(c.K, lane_k[kind]);
    c.panel = c.groups * WIDTH + WIDTH; /* and the sums of its columns */
    c.row_blocks = md_ceil_div(c.M, ROWS);
    c.packed_a = md_scratch(MD_SLOT_A, (size_t)(c.M * c.groups) * 4 + 64);
    c.packed_b = md_keep(MD_SLOT_B, (size_t)(panels * c.panel) * 4, b, &c.filled);
    if (!c.packed_a || !c.packed_b) return MD_NO_MEMORY;
    all(alone, c.row_blocks + (c.filled ? 0 : panels), pack_task, &c);
    all(alone, c.row_blocks * panels, product_task, &c);
    return MD_DONE;
}

MD_KERNEL(matmul_int8, 1, 2) { return multiply(&a[0], &a[1], &a[2], 1, NULL); }

MD_KERNEL(matmul_bf16, 1, 3) { return multiply(&a[0], &a[1], &a[2], 0, &a[3]); }

enum { PIECE = 16384 }; /* elements that a task converts */
typedef struct { void *y; const void *x; int64_t n; } conversion;

static void to_task(int64_t task, void *ctx) {
    const conversion *c = ctx;
    const uint32_t *x = (const uint32_t *)c->x + task * PIECE;
    uint16_t *y = (uint16_t *)c->y + task * PIECE;
    const int64_t n = md_min(PIECE, c->n - task * PIECE);
    int64_t i = 0;
#if VL == 8 && defined(__AVX2__) /* the compiler goes a long way round to join the halves */
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vu half[2];
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            const vu u = (vu)vload((const float *)x + i + v * VL), nearest = u + 0x7fff + (u >> 16 & 1);
            half[v] = (vu)visel((vi)(u & 0x7fffffff) > 0x7f800000, (vi)(u | 0x400000), (vi)nearest) >> 16;
        }
        const __m256i both = _mm256_packus_epi32((__m256i)half[0], (__m256i)half[1]);
        _mm256_storeu_si256((__m256i *)(y + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
#endif
    for (; i < n; i++) {
        const uint32_t u = x[i], nearest = u + 0x7fff + (u >> 16 & 1), quiet = u | 0x400000;
        y[i] = (uint16_t)(((u & 0x7fffffff) > 0x7f800000 ? quiet : nearest) >> 16);
    }
}

static void from_task(int64_t task, void *ctx) {
    const conversion *c = ctx;
    const uint16_t *x = (const uint16_t *)c->x + task * PIECE;
    uint32_t *y = (uint32_t *)c->y + task * PIECE;
    const int64_t n = md_min(PIECE, c->n - task * PIECE);
    for (int64_t i = 0; i < n; i++) y[i] = (uint32_t)x[i] << 16;
}

static int convert(const md_array *y, const md_array *x, void (*body)(int64_t, void *)) {
    if (!md_contiguous(y) || !md_contiguous(x)) return MD_NOT_MINE;
    conversion c = {y->data, x->data, md_size(x)};
    all(c.n * 6 < MD_SMALL_BYTES, md_ceil_div(c.n, PIECE), body, &c);
    return MD_DONE;
}

MD_KERNEL(to_bf16, 1, 1) { return convert(&a[0], &a[1], to_task); }

MD_KERNEL(from_bf16, 1, 1) { return convert(&a[0], &a[1], from_task); }
