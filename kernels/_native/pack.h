/* Panels for register tiles: rows of whole vectors, from memory of any strides. */
#ifndef MD_PACK_H
#define MD_PACK_H
#include "md.h"
#include "simd.h"

/* to[i * width + j] = from[j * stride + i] for i < k, j < cols: VL x VL blocks in registers, the edges one by one. */
static inline void pack_transposed(float *to, int64_t width, const float *from, int64_t stride, int64_t k, int64_t cols) {
    const int64_t whole = k / VL * VL;
    int64_t j = 0;
    for (; j + VL <= cols; j += VL) {
        for (int64_t i = 0; i < whole; i += VL) {
            vf r[VL];
#pragma GCC unroll 16
            for (int v = 0; v < VL; v++) r[v] = vload(from + (j + v) * stride + i);
            vtranspose(r);
#pragma GCC unroll 16
            for (int v = 0; v < VL; v++) vstore(to + (i + v) * width + j, r[v]);
        }
        for (int64_t i = whole; i < k; i++)
            for (int64_t v = j; v < j + VL; v++) to[i * width + v] = from[v * stride + i];
    }
    for (; j < cols; j++)
        for (int64_t i = 0; i < k; i++) to[i * width + j] = from[j * stride + i];
}

/* Copies b (k rows, cols columns, strides ks and ns) to rows of nv * VL floats, zeros at the end of each. */
static inline void pack_strided(float *to, int nv, const float *b, int64_t k, int64_t cols, int64_t ks, int64_t ns) {
    const int64_t width = nv * VL;
    if (ns == 1)
        for (int64_t i = 0; i < k; i++) memcpy(to + i * width, b + i * ks, (size_t)cols * sizeof(float));
    else if (ks == 1) pack_transposed(to, width, b, ns, k, cols);
    else
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < cols; j++) to[i * width + j] = b[i * ks + j * ns];
    if (cols < width)
        for (int64_t i = 0; i < k; i++) memset(to + i * width + cols, 0, (size_t)(width - cols) * sizeof(float));
}
#endif
