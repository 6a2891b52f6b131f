/* Reductions along rows, for softmax and the losses: the largest element and the sum of exponentials.
 *
 * A wide row lies along the lanes of its vectors, and a reduction ends across the lanes (across = 1). Of narrow rows VL at a
 * time are turned, so that each lane holds a row of its own and nothing is done across lanes (across = 0). Both are n
 * floats in one line: n is the row's length, or VL times it. */
#ifndef MD_ROWS_H
#define MD_ROWS_H
#include "md.h"
#include "vmath.h"

enum { NARROW = 32, ROW_BLOCK = 64 * VL }; /* the longest narrow row; elements summed at a stretch */
#define MINUS_INFINITY (-__builtin_inff())

/* Up to VL rows of n <= NARROW elements, turned: t[c * VL + r] = x[r * stride + c]. Lanes without a row repeat the last. */
INLINE void rows_turn(float *t, const float *x, int rows, int64_t n, int64_t stride) {
    for (int r = 0; r < VL; r++) {
        const float *row = x + (r < rows ? r : rows - 1) * stride;
        for (int64_t c = 0; c < n; c++) t[c * VL + r] = row[c];
    }
}
INLINE void rows_turn_back(float *y, const float *t, int rows, int64_t n) {
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++) y[r * n + c] = t[c * VL + r];
}

/* The largest element in every lane. NaN is passed over here and found again by the sum. */
INLINE vf row_max(const float *x, int64_t n, int across) {
    vf m[4] = {vset(MINUS_INFINITY), vset(MINUS_INFINITY), vset(MINUS_INFINITY), vset(MINUS_INFINITY)};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) m[k] = vmax(vload(x + i + k * VL), m[k]);
    for (; i + VL <= n; i += VL) m[0] = vmax(vload(x + i), m[0]);
    if (i < n) m[1] = vmax(vload_part(x + i, (int)(n - i), MINUS_INFINITY), m[1]);
    m[0] = vmax(vmax(m[0], m[1]), vmax(m[2], m[3]));
    return across ? vset(vmax_lane(m[0])) : m[0];
}

/* The sum of exp(x - shift) in every lane, shift being at least about the largest x; the terms go to y unless it is NULL. */
INLINE vf row_sum_exp(float *y, const float *x, int64_t n, vf shift, int across) {
    vf sum = vset(0);
    int64_t i = 0;
    while (i + VL <= n) { /* sums of sums: the rounding error grows with the length of a block, not of the row */
        vf part = vset(0);
        const int64_t end = md_min(n, i + ROW_BLOCK);
        for (; i + ABREAST * VL <= end; i += ABREAST * VL) {
            vf e[ABREAST];
#pragma GCC unroll 4
            for (int k = 0; k < ABREAST; k++) e[k] = vload(x + i + k * VL) - shift;
            vexps_at_most_16(e, ABREAST);
#pragma GCC unroll 4
            for (int k = 0; k < ABREAST; k++) {
                if (y) vstore(y + i + k * VL, e[k]);
                part += e[k];
            }
        }
        for (; i + VL <= end; i += VL) {
            const vf e = vexp_at_most_16(vload(x + i) - shift);
            if (y) vstore(y + i, e);
            part += e;
        }
        sum += part;
    }
    if (i < n) {
        const int left = (int)(n - i);
        const vf e = vexp_at_most_16(vload_part(x + i, left, 0) - shift);
        float terms[VL] = {0};
        vstore_part(terms, e, left);
        if (y) vstore_part(y + i, e, left);
        sum += vload(terms);
    }
    return across ? vset(vsum(sum)) : sum;
}
#endif
