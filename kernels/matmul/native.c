/* The matrix product in float32; native_double.c holds the same loops compiled for float64. */
#define REAL float
#define LANES VL
#include "product.h"

int MD_LOCAL(matmul_double)(const md_array *arrays, int activation);

/* The same for other families. */
int MD_LOCAL(matmul_float)(const md_array *arrays, int activation) { return multiply(arrays, activation); }

MD_KERNEL(matmul, 1, 4) {
    for (int i = 1; i < 5; i++)
        if (a[i].data && a[i].dtype != a[0].dtype) return MD_NOT_MINE;
    if (a[0].dtype == MD_F64) return MD_LOCAL(matmul_double)(a, (int)p[0]);
    return a[0].dtype == MD_F32 ? multiply(a, (int)p[0]) : MD_NOT_MINE;
}
