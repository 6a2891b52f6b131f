/* Batch norm of images in C order: native_planes.c. */
#ifndef MD_PLANES_H
#define MD_PLANES_H
#include "md.h"
#include <math.h>

/* How high an activation reaches, and the result at which its slope ends, where there is one: the relu's is above 0 always. */
static inline float norm_top(int activation) { return activation == 6 ? 6 : INFINITY; }
static inline float norm_end(int activation) { return activation == 6 ? 6 : 0; }

enum { PLANES_GIVEN, PLANES_TRAIN, PLANES_BACKWARD };
typedef struct {
    float *y;                           /* the result, or dx */
    const float *x, *g, *residual, *out; /* g: the gradient, counting where out, if there, has a slope */
    const float *weight, *bias;         /* or NULL */
    float *mean, *var, *rstd;           /* what is given is read, the others are written */
    float *dweight, *dbias;
    double eps;
    int activation, mode; /* activation: 0 none, 1 relu, 6 relu6 */
    int64_t images, channels, pixels;
} planes;

/* Whether all arrays of x's shape lie in C order; then the result is there. */
int MD_LOCAL(norm_planes)(planes *job, const md_array *x, const md_array *const *others, int count);
#endif
