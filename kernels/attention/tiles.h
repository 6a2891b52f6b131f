/* Products of blocks on matrix tiles (amx.h). Keys, values and queries are split once for a head or a block of queries; weights
 * and slopes, which come from the softmax keys x queries, are the right operand as they lie. A sum therefore lies turned too:
 *
 *     S^T = k q^T       y^T += v^T P^T
 *
 * Operands are panels of 32 rows or columns, one behind the other. */
#ifndef MD_ATTENTION_TILES_H
#define MD_ATTENTION_TILES_H
#include "attention.h"
#include "amx.h"
#if MD_AMX

enum { SIDE = 2 * AMX_ROWS, MOST_BYTES = 1 << 24 /* of a head's keys and values, split */ };

INLINE int strips_of(int64_t n) { return n > AMX_ROWS ? 2 : 1; } /* of a panel with n rows or columns left */
/* Bytes of so many rows or columns and so many k. */
INLINE int64_t split_bytes(int64_t n, int64_t k) {
    return md_ceil_div(n, AMX_ROWS) * AMX_ROWS * md_ceil_div(k, AMX_K) * AMX_K * 2 * AMX_PARTS;
}

/* All panels of x[row * rs + k * ks], one of the strides being 1. */
static inline amx_range split_panels(char *to, const float *x, int64_t rs, int64_t ks, int64_t rows, int64_t k, int columns) {
    amx_range range = amx_no_numbers;
    for (int64_t r = 0; r < rows; r += AMX_ROWS) {
        const int strips = strips_of(rows - r / SIDE * SIDE), strip = r / AMX_ROWS % 2;
        range = amx_both(range, amx_pack(to + split_bytes(r / SIDE * SIDE, k) + strip * AMX_TILE, strips * AMX_PARTS * AMX_TILE,
                                         strips * AMX_TILE, x + r * rs, rs, ks, md_min(AMX_ROWS, rows - r), k, columns));
    }
    return range;
}

/* A block of weights as a right operand: its columns are the queries, k the keys, of which those from `seen` on count nothing.
 * Each part is cut off, not rounded: 24 bits are three times eight. */
static inline void split_weights(char *to, float *st, int64_t seen, int64_t keys, int64_t queries) {
    for (int64_t s = seen; s < md_ceil_div(keys, AMX_K) * AMX_K; s++) memset(st + s * BLOCK, 0, BLOCK * sizeof(float));
    for (int64_t j = 0; j < queries; j += AMX_ROWS) {
        const int strips = strips_of(queries - j / SIDE * SIDE);
        char *at = to + split_bytes(j / SIDE * SIDE, keys) + j / AMX_ROWS % 2 * AMX_TILE;
        for (int64_t s = 0; s < keys; s += AMX_K, at += strips * AMX_PARTS * AMX_TILE)
            for (int i = 0; i < AMX_ROWS; i++) {
                vf low = vload(st + (s + i) * BLOCK + j), high = vload(st + (s + i + AMX_ROWS) * BLOCK + j);
#pragma GCC unroll 3
                for (int p = 0; p < AMX_PARTS; p++) {
                    const vi l = (vi)low & (int32_t)0xffff0000, h = (vi)high & (int32_t)0xffff0000;
                    vstore((float *)(at + p * strips * AMX_TILE) + i * VL, (vf)(h | (vi)((vu)low >> 16)));
                    low -= (vf)l;
                    high -= (vf)h;
                }
            }
    }
}

/* y (+)= a b, rows x columns of a block. */
AMX_CODE static inline void multiply_block_by_tiles(float *y, const char *a, const char *b, int64_t rows, int64_t columns,
                                                    int64_t k, int add) {
    static const float zeros[SIDE];
    int64_t steps[2][MAX_SIZE / AMX_K];
    const int64_t count = md_ceil_div(k, AMX_K);
    for (int64_t i = 0; i < count; i++) {
        steps[0][i] = i * AMX_PARTS * AMX_TILE;
        steps[1][i] = 2 * steps[0][i];
    }
    for (int64_t m = 0; m < rows; m += SIDE)
        for (int64_t j = 0; j < columns; j += SIDE) {
            const int down = strips_of(rows - m), across = strips_of(columns - j), last = j + SIDE >= columns;
            float *const to = y + m * BLOCK + j;
            const amx_args t = {.a = a + split_bytes(m, k), .b = b + split_bytes(j, k), .a_steps = steps[down - 1], .steps = count,
                                .a_row = 64, .a_tile = AMX_TILE, .a_part = down * AMX_TILE, .y = to, .ldy = BLOCK,
                                .start = add ? to : zeros, .start_row = add ? BLOCK : 0,
                                .next_a = a + split_bytes(last ? m + SIDE : m, k),
                                .next_b = last ? b : b + split_bytes(j + SIDE, k), .far = b};
            amx_multiply(down, across, &t);
        }
}
#endif
#endif
