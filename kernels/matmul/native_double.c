/* The matrix product in float64: the loops of product.h and tiles.h once more, with half as many lanes. */
#define REAL double
#define LANES (VL / 2)
#include "product.h"

int MD_LOCAL(matmul_double)(const md_array *arrays, int activation) { return multiply(arrays, activation); }
