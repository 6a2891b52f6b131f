/* The matrix product in float32; native_double.c holds the same loops compiled for float64. */
#define REAL float
#define LANES VL
#include "product.h"

int MD_LOCAL(matmul_double)(const md_array *y, const md_array *a, const md_array *b, const md_array *bias, int relu);

MD_KERNEL(matmul, 1, 3) {
    const md_array *y = &a[0], *x = &a[1], *w = &a[2], *bias = &a[3];
    const int dtype = y->dtype;
    if (x->dtype != dtype || w->dtype != dtype || (bias->data && bias->dtype != dtype)) return MD_NOT_MINE;
    if (dtype == MD_F64) return MD_LOCAL(matmul_double)(y, x, w, bias, p[0] != 0);
    return dtype == MD_F32 ? multiply(y, x, w, bias, p[0] != 0) : MD_NOT_MINE;
}
