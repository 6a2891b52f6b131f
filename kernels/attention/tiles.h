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

enum { MOST_BYTES = 1 << 24 /* of a head's keys and values, split */ };

/* A block of weights as a right operand: its columns are the queries, k the keys, of which those from `seen` on count nothing. */
static inline void split_weights(char *to, float *st, int64_t seen, int64_t keys, int64_t queries) {
    for (int64_t s = seen; s < md_ceil_div(keys, AMX_K) * AMX_K; s++) memset(st + s * BLOCK, 0, BLOCK * sizeof(float));
    for (int64_t j = 0; j < queries; j += AMX_ROWS) {
        const int strips = amx_strips(queries - j / AMX_SIDE * AMX_SIDE);
        char *at = to + amx_bytes(j / AMX_SIDE * AMX_SIDE, keys) + j / AMX_ROWS % 2 * AMX_TILE;
        for (int64_t s = 0; s < keys; s += AMX_K, at += strips * AMX_PARTS * AMX_TILE)
            for (int i = 0; i < AMX_ROWS; i++)
                amx_split(at + i * 64, strips * AMX_TILE, vload(st + (s + i) * BLOCK + j), vload(st + (s + i + AMX_ROWS) * BLOCK + j));
    }
}

/* y (+)= a b, rows x columns of a block. */
AMX_CODE static inline void multiply_block_by_tiles(float *y, const char *a, const char *b, int64_t rows, int64_t columns,
                                                    int64_t k, int add) {
    static const float zeros[AMX_SIDE];
    for (int64_t m = 0; m < rows; m += AMX_SIDE)
        for (int64_t j = 0; j < columns; j += AMX_SIDE) {
            const int down = amx_strips(rows - m), across = amx_strips(columns - j), last = j + AMX_SIDE >= columns;
            float *const to = y + m * BLOCK + j;
            const amx_args t = {.a = a + amx_bytes(m, k), .b = b + amx_bytes(j, k), .steps = md_ceil_div(k, AMX_K),
                                .a_row = 64, .a_tile = AMX_TILE, .a_part = down * AMX_TILE, .y = to, .ldy = BLOCK,
                                .start = add ? to : zeros, .start_row = add ? BLOCK : 0,
                                .next_a = a + amx_bytes(last ? m + AMX_SIDE : m, k),
                                .next_b = last ? b : b + amx_bytes(j + AMX_SIDE, k), .far = b};
            amx_multiply(down, across, &t);
        }
}
#endif
#endif
