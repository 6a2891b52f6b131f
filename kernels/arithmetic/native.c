/* Arithmetic, comparisons and choice, elementwise, in float32 and float64: each one line of a table.
 *
 * The formulas of the first tables are for one number, and the compiler makes vectors of them; exponentials and logarithms are
 * written in vectors, and in float32 only. */
#include "elements.h"
#include "vmath.h"
#include <math.h>

/* name, formula in float, formula in double */
#define UNARY_TABLE(ROW)                                                                              \
    ROW(negative, -x1, -x1)                                                                           \
    ROW(abs, fabsf(x1), fabs(x1))                                                                     \
    ROW(sign, x1 != x1 ? x1 : (x1 > 0) - (x1 < 0), x1 != x1 ? x1 : (x1 > 0) - (x1 < 0))               \
    ROW(sqrt, sqrtf(x1), sqrt(x1))                                                                    \
    ROW(square, x1 * x1, x1 * x1)                                                                     \
    ROW(reciprocal, 1 / x1, 1 / x1)                                                                   \
    ROW(floor, floorf(x1), floor(x1))                                                                 \
    ROW(ceil, ceilf(x1), ceil(x1))                                                                    \
    ROW(trunc, truncf(x1), trunc(x1))

/* name, formula in both */
#define BINARY_TABLE(ROW)                                    \
    ROW(add, x1 + x2)                                        \
    ROW(subtract, x1 - x2)                                   \
    ROW(multiply, x1 * x2)                                   \
    ROW(divide, x1 / x2)                                     \
    ROW(maximum, x1 > x2 ? x1 : x1 != x1 ? x1 : x2)          \
    ROW(minimum, x1 < x2 ? x1 : x1 != x1 ? x1 : x2)          \
    ROW(prelu, x1 < 0 ? x1 * x2 : x1)

#define COMPARISON_TABLE(ROW) \
    ROW(equal, x1 == x2)      \
    ROW(not_equal, x1 != x2)  \
    ROW(less, x1 < x2)        \
    ROW(less_equal, x1 <= x2) \
    ROW(greater, x1 > x2)     \
    ROW(greater_equal, x1 >= x2)

/* name, formula in vectors of floats */
#define VECTOR_TABLE(ROW)           \
    ROW(exp, vexp(x1))              \
    ROW(log, vlog(x1))

#define BY_NUMBERS(name) EL_NUMBERS ? name##_by_numbers : NULL
#define KERNEL(name, operands)                                                                           \
    MD_KERNEL(name, 1, operands) {                                                                       \
        int dtype = 0;                                                                                   \
        for (int o = 1; o <= operands; o++) {                                                            \
            if (a[o].data && dtype && a[o].dtype != dtype) return MD_NOT_MINE;                           \
            if (a[o].data) dtype = a[o].dtype;                                                           \
        }                                                                                                \
        if (dtype == MD_F32) return el_map(a, operands, p, p, name##_float_loop, BY_NUMBERS(name##_float)); \
        if (dtype != MD_F64) return MD_NOT_MINE;                                                         \
        return el_map(a, operands, p, p, name##_double_loop, BY_NUMBERS(name##_double));                 \
    }

#define UNARY(name, in_float, in_double)                 \
    EL_LOOP(name##_float, float, float, 1, in_float)     \
    EL_LOOP(name##_double, double, double, 1, in_double) \
    KERNEL(name, 1)
#define BINARY(name, formula)                          \
    EL_LOOP(name##_float, float, float, 2, formula)    \
    EL_LOOP(name##_double, double, double, 2, formula) \
    KERNEL(name, 2)
#define COMPARISON(name, formula)                       \
    EL_LOOP(name##_float, uint8_t, float, 2, formula)   \
    EL_LOOP(name##_double, uint8_t, double, 2, formula) \
    KERNEL(name, 2)
#define VECTOR(name, formula)                  \
    EL_VECTOR_LOOP(name##_float, 1, 0, formula) \
    MD_KERNEL(name, 1, 1) { return a[1].dtype == MD_F32 ? el_map(a, 1, p, p, name##_float_loop, NULL) : MD_NOT_MINE; }

UNARY_TABLE(UNARY)
BINARY_TABLE(BINARY)
COMPARISON_TABLE(COMPARISON)
VECTOR_TABLE(VECTOR)

#define CLIP (x1 < x2 ? x2 : x1) > x3 ? x3 : (x1 < x2 ? x2 : x1)
EL_LOOP(clip_float, float, float, 3, CLIP)
EL_LOOP(clip_double, double, double, 3, CLIP)
KERNEL(clip, 3)

EL_LOOP(prelu_backward_float, float, float, 3, x2 <= 0 ? x1 * x3 : x1)
EL_LOOP(prelu_backward_double, double, double, 3, x2 <= 0 ? x1 * x3 : x1)
KERNEL(prelu_backward, 3)

/* The condition is an operand of one byte. */
#define WHERE(name, T)                                                                                       \
    static void name(void *y, const void *const *x, int64_t n, __attribute__((unused)) const double *p) {    \
        T *const to = y;                                                                                     \
        const uint8_t *const condition = x[0];                                                               \
        const T *const a = x[1], *const b = x[2];                                                            \
        _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) {                                               \
            const T x1 = a[i], x2 = b[i];                                                                    \
            to[i] = condition[i] ? x1 : x2;                                                                  \
        }                                                                                                    \
    }
WHERE(where_float, float)
WHERE(where_double, double)

MD_KERNEL(where, 1, 3) {
    for (int o = 2; o <= 3; o++)
        if (a[o].data && a[o].dtype != a[0].dtype) return MD_NOT_MINE;
    if (a[1].dtype != MD_BOOL || (a[0].dtype != MD_F32 && a[0].dtype != MD_F64)) return MD_NOT_MINE;
    return el_map(a, 3, p, p, a[0].dtype == MD_F32 ? where_float : where_double, NULL);
}
