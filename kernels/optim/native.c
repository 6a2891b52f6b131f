/* Optimizer steps over all parameters in one pass. The arrays are one long row of elements, cut into equal tasks that
 * may begin and end inside an array; a task walks the pieces of the arrays it covers. An array that does not have its
 * parameter's layout goes through a small buffer. */
#include "md.h"
#include "simd.h"
#include <math.h>
#include <string.h>

enum { LISTS = 5, TASK = 8192, BUFFER = 256 };

typedef void (*linear)(void *const *x, int64_t n, const double *p, int lists);
typedef struct {
    const md_array *a; /* list after list, count arrays each */
    const double *p;
    const int64_t *start; /* of each array in the long row, and the end of the last */
    const uint8_t *same; /* do the arrays of an index share one dense layout? */
    linear update;
    int64_t count, per_task;
    int lists, written, item; /* the first lists, so many, are written */
} step;

/* The momentum's parameters: count lr momentum gradient weight_decay nesterov sign keep. */
#define SGD(T)                                                                                                  \
    static void sgd_##T(void *const *x, int64_t n, const double *p, int lists) {                                \
        T *restrict w = x[0];                                                                                   \
        T *restrict b = x[1];                                                                                   \
        const T *restrict g = x[lists - 1];                                                                     \
        const T lr = (T)p[1], momentum = (T)p[2], share = (T)p[3], decay = (T)p[4], sign = (T)p[6], keep = (T)p[7]; \
        if (lists == 2)                                                                                         \
            for (int64_t i = 0; i < n; i++) w[i] -= lr * (sign * g[i] + decay * w[i]);                          \
        else if (keep == 0) /* a new buffer may hold anything, NaN too */                                       \
            for (int64_t i = 0; i < n; i++) {                                                                   \
                const T d = sign * g[i] + decay * w[i];                                                         \
                b[i] = share * d;                                                                               \
                w[i] -= lr * (p[5] != 0 ? d + momentum * b[i] : b[i]);                                          \
            }                                                                                                   \
        else                                                                                                    \
            for (int64_t i = 0; i < n; i++) {                                                                   \
                const T d = sign * g[i] + decay * w[i];                                                         \
                b[i] = keep * b[i] + share * d;                                                                 \
                w[i] -= lr * (p[5] != 0 ? d + momentum * b[i] : b[i]);                                          \
            }                                                                                                   \
    }

/* Adam's: count step_size 1-beta1 beta2 1-beta2 correction eps decay shrink sign. */
#define ADAM(T, SQRT)                                                                                           \
    static void adam_##T(void *const *x, int64_t n, const double *p, int lists) {                               \
        T *restrict w = x[0];                                                                                   \
        T *restrict m = x[1];                                                                                   \
        T *restrict v = x[2];                                                                                   \
        T *restrict largest = x[3];                                                                             \
        const T *restrict grad = x[lists - 1];                                                                  \
        const T size = (T)p[1], w1 = (T)p[2], beta2 = (T)p[3], w2 = (T)p[4], correction = (T)p[5], eps = (T)p[6]; \
        const T decay = (T)p[7], shrink = (T)p[8], sign = (T)p[9];                                              \
        if (lists == 4)                                                                                         \
            for (int64_t i = 0; i < n; i++) {                                                                   \
                const T g = sign * grad[i] + decay * w[i];                                                      \
                m[i] += w1 * (g - m[i]);                                                                        \
                v[i] = beta2 * v[i] + w2 * g * g;                                                               \
                w[i] = shrink * w[i] - size * m[i] / (SQRT(v[i]) * correction + eps);                           \
            }                                                                                                   \
        else                                                                                                    \
            for (int64_t i = 0; i < n; i++) {                                                                   \
                const T g = sign * grad[i] + decay * w[i];                                                      \
                m[i] += w1 * (g - m[i]);                                                                        \
                v[i] = beta2 * v[i] + w2 * g * g;                                                               \
                largest[i] = largest[i] >= v[i] ? largest[i] : v[i];                                            \
                w[i] = shrink * w[i] - size * m[i] / (SQRT(largest[i]) * correction + eps);                     \
            }                                                                                                   \
    }

/* count factor, and count low high. */
#define ALL(T)                                                                                                  \
    static void scale_##T(void *const *x, int64_t n, const double *p, __attribute__((unused)) int lists) {      \
        T *restrict w = x[0];                                                                                   \
        const T factor = (T)p[1];                                                                               \
        for (int64_t i = 0; i < n; i++) w[i] *= factor;                                                         \
    }                                                                                                           \
    static void clamp_##T(void *const *x, int64_t n, const double *p, __attribute__((unused)) int lists) {      \
        T *restrict w = x[0];                                                                                   \
        const T low = (T)p[1], high = (T)p[2];                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                                       \
            const T v = w[i] < low ? low : w[i];                                                                \
            w[i] = v > high ? high : v;                                                                         \
        }                                                                                                       \
    }

ALL(float)
ALL(double)
SGD(float)
SGD(double)
ADAM(float, sqrtf)
ADAM(double, sqrt)

static int same_layout(const md_array *a, const md_array *b) {
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != 1 && a->stride[d] != b->stride[d]) return 0;
    return 1;
}

/* Every element of a block of memory once, in whatever order of the axes. */
static int is_dense(const md_array *a) {
    int64_t expect = 1;
    int left = 0;
    for (int d = 0; d < a->ndim; d++) left += a->shape[d] != 1;
    for (; left; left--) {
        int found = 0;
        for (int d = 0; d < a->ndim && !found; d++)
            if (a->shape[d] != 1 && a->stride[d] == expect) {
                expect *= a->shape[d];
                found = 1;
            }
        if (!found) return 0;
    }
    return 1;
}

/* Copies n elements between a buffer and the elements from i on of an array, its axes taken in this order. */
INLINE void copy(const md_array *a, const int *order, int64_t i, int64_t n, char *buffer, int item, int back) {
    int64_t at[MD_MAX_DIMS];
    char *place = a->data;
    for (int d = a->ndim - 1; d >= 0; d--) {
        at[d] = i % a->shape[order[d]];
        place += at[d] * a->stride[order[d]] * item;
        i /= a->shape[order[d]];
    }
    for (int64_t k = 0; k < n; k++) {
        memcpy(back ? place : buffer + k * item, back ? buffer + k * item : place, (size_t)item);
        for (int d = a->ndim - 1; d >= 0; d--) {
            const int64_t size = a->shape[order[d]], stride = a->stride[order[d]] * item;
            place += stride;
            if (++at[d] < size) break;
            place -= size * stride;
            at[d] = 0;
        }
    }
}

/* The axes of a from the longest stride to the shortest: memory order, where it is dense. */
static void memory_order(const md_array *a, int *order) {
    for (int d = 0; d < a->ndim; d++) {
        int k = d;
        for (; k > 0 && a->stride[order[k - 1]] < a->stride[d]; k--) order[k] = order[k - 1];
        order[k] = d;
    }
}

/* Elements [i, end) of the arrays of one index, counted in the order of the parameter's memory. */
static void piece(const step *s, int64_t index, int64_t i, int64_t end) {
    void *x[LISTS] = {NULL};
    const int64_t most = s->same[index] ? end - i : BUFFER;
    const md_array *param = &s->a[index];
    const int dense = s->same[index] || is_dense(param);
    int direct[LISTS], order[MD_MAX_DIMS];
    double buffer[LISTS][BUFFER];
    memory_order(param, order);
    for (int l = 0; l < s->lists; l++) direct[l] = dense && same_layout(param, &s->a[l * s->count + index]);
    for (; i < end; i += most) {
        const int64_t n = md_min(most, end - i);
        for (int l = 0; l < s->lists; l++) {
            const md_array *a = &s->a[l * s->count + index];
            x[l] = direct[l] ? (void *)(a->data + i * s->item) : (void *)buffer[l];
            if (direct[l]) continue;
            if (s->item == 4) copy(a, order, i, n, x[l], 4, 0);
            else copy(a, order, i, n, x[l], 8, 0);
        }
        s->update(x, n, s->p, s->lists);
        for (int l = 0; l < s->written; l++) {
            if (direct[l]) continue;
            if (s->item == 4) copy(&s->a[l * s->count + index], order, i, n, x[l], 4, 1);
            else copy(&s->a[l * s->count + index], order, i, n, x[l], 8, 1);
        }
    }
}

/* ---- norms: sums over the same tasks, which are added in their order ---- */
typedef double (*summary)(const void *x, int64_t n, int order);
typedef struct { step s; summary sum; double *parts; int order; } norm;
enum { TERMS = 64, STRETCH = 64 * TERMS }; /* sums side by side; elements before they are added in double precision */

#define NORM(T, ABS)                                                                                            \
    static double norm_##T(const void *from, int64_t n, int order) {                                            \
        const T *x = from;                                                                                      \
        double all = 0;                                                                                         \
        while (n > 0) {                                                                                         \
            T s[TERMS] = {0};                                                                                   \
            int bad = 0;                                                                                        \
            const int64_t part = md_min(n, STRETCH), whole = part / TERMS * TERMS;                              \
            for (int64_t i = 0; i < part; i += TERMS) {                                                         \
                T rest[TERMS] = {0};                                                                            \
                const T *y = i < whole ? x + i : memcpy(rest, x + i, (size_t)(part - i) * sizeof(T));           \
                if (order == 2) for (int j = 0; j < TERMS; j++) s[j] += y[j] * y[j];                            \
                else if (order == 1) for (int j = 0; j < TERMS; j++) s[j] += ABS(y[j]);                         \
                else for (int j = 0; j < TERMS; j++) {                                                          \
                    s[j] = ABS(y[j]) > s[j] ? ABS(y[j]) : s[j];                                                 \
                    bad |= y[j] != y[j];                                                                        \
                }                                                                                               \
            }                                                                                                   \
            for (int j = 0; j < TERMS; j++) all = order ? all + (double)s[j] : (double)s[j] > all ? (double)s[j] : all; \
            if (bad) return NAN;                                                                                \
            x += part;                                                                                          \
            n -= part;                                                                                          \
        }                                                                                                       \
        return all;                                                                                             \
    }
NORM(float, fabsf)
NORM(double, fabs)

static double add(double a, double b, int order) {
    return order ? a + b : a != a || a > b ? a : b;
}

static int64_t array_at(const step *s, int64_t begin) { /* the last array that starts at or before begin */
    int64_t low = 0, high = s->count;
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (s->start[middle] <= begin) low = middle;
        else high = middle;
    }
    return low;
}

static void norm_task(int64_t t, void *ctx) {
    const norm *c = ctx;
    const step *s = &c->s;
    const int64_t begin = t * s->per_task, end = md_min(begin + s->per_task, s->start[s->count]);
    double all = 0;
    for (int64_t i = array_at(s, begin); i < s->count && s->start[i] < end; i++) {
        const int64_t first = md_max(begin, s->start[i]), last = md_min(end, s->start[i + 1]);
        if (first < last) all = add(all, c->sum(s->a[i].data + (first - s->start[i]) * s->item, last - first, c->order), c->order);
    }
    c->parts[t] = all;
}

MD_KERNEL(total_norm, 1, 1) {
    norm c = {.s = {.a = a + 1, .count = n - 1, .per_task = TASK}, .order = isinf(p[0]) ? 0 : (int)p[0]};
    if (p[0] != 1 && p[0] != 2 && !(isinf(p[0]) && p[0] > 0)) return MD_NOT_MINE;
    step *s = &c.s;
    int64_t *start = md_scratch(MD_SLOT_A, (size_t)n * sizeof(int64_t));
    if (!start) return MD_NO_MEMORY;
    start[0] = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if (a[i + 1].dtype != a->dtype || (a->dtype != MD_F32 && a->dtype != MD_F64) || !is_dense(&a[i + 1])) return MD_NOT_MINE;
        start[i + 1] = start[i] + md_size(&a[i + 1]);
    }
    s->start = start;
    s->item = a->dtype == MD_F32 ? 4 : 8;
    c.sum = a->dtype == MD_F32 ? norm_float : norm_double;
    const int64_t tasks = md_ceil_div(start[s->count], TASK);
    c.parts = md_scratch(MD_SLOT_B, (size_t)(tasks + 1) * sizeof(double));
    if (!c.parts) return MD_NO_MEMORY;
    if (start[s->count] * s->item < 2 * MD_SMALL_BYTES) for (int64_t t = 0; t < tasks; t++) norm_task(t, &c);
    else md_parallel(tasks, norm_task, &c);
    double all = 0;
    for (int64_t t = 0; t < tasks; t++) all = add(all, c.parts[t], c.order);
    if (c.order == 2) all = sqrt(all);
    if (a->dtype == MD_F32) *(float *)a->data = (float)all;
    else *(double *)a->data = all;
    return MD_DONE;
}

/* ---- updates ---- */
/* Moments of a parameter whose gradient stays 0 shrink until they are subnormal, and a processor takes ten times as long over
 * such numbers. Here they count as 0: they are below 1.2e-38, and move no parameter. Returns what `restore` takes. */
#if defined(__x86_64__)
static uint64_t flush_subnormals(void) {
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040); /* of results, and of operands */
    return before;
}
static void restore(uint64_t before) { __builtin_ia32_ldmxcsr((unsigned)before); }
#elif defined(__aarch64__)
static uint64_t flush_subnormals(void) {
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | 1 << 24));
    return before;
}
static void restore(uint64_t before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
static uint64_t flush_subnormals(void) { return 0; }
static void restore(__attribute__((unused)) uint64_t before) {}
#endif

static void task(int64_t t, void *ctx) {
    const step *s = ctx;
    const uint64_t mode = flush_subnormals();
    const int64_t begin = t * s->per_task, end = md_min(begin + s->per_task, s->start[s->count]);
    for (int64_t index = array_at(s, begin); index < s->count && s->start[index] < end; index++) {
        const int64_t first = md_max(begin, s->start[index]), last = md_min(end, s->start[index + 1]);
        if (first < last) piece(s, index, first - s->start[index], last - s->start[index]);
    }
    restore(mode);
}

static int run(const md_array *a, int n, const double *p, linear f32, linear f64) {
    step s = {.a = a, .p = p, .count = (int64_t)p[0]};
    if (!s.count) return MD_DONE;
    int64_t *start = md_scratch(MD_SLOT_A, (size_t)(s.count + 1) * sizeof(int64_t));
    uint8_t *same = md_scratch(MD_SLOT_B, (size_t)s.count);
    if (!start || !same) return MD_NO_MEMORY;
    s.lists = (int)(n / s.count);
    s.written = (int)md_max(1, s.lists - 1);
    s.update = a->dtype == MD_F32 ? f32 : f64;
    s.item = a->dtype == MD_F32 ? 4 : 8;
    start[0] = 0;
    for (int64_t i = 0; i < s.count; i++) {
        start[i + 1] = start[i] + md_size(&a[i]);
        same[i] = (uint8_t)is_dense(&a[i]);
        for (int l = 0; l < s.lists; l++) {
            const md_array *b = &a[l * s.count + i];
            if (b->dtype != a->dtype || (b->dtype != MD_F32 && b->dtype != MD_F64)) return MD_NOT_MINE;
            same[i] &= (uint8_t)same_layout(&a[i], b);
        }
    }
    s.start = start;
    s.same = same;
    const int64_t all = start[s.count];
    s.per_task = all * s.item * s.lists < MD_SMALL_BYTES ? md_max(all, 1) : TASK;
    md_parallel(md_ceil_div(all, s.per_task), task, &s);
    return MD_DONE;
}

MD_KERNEL(scale, 1, 0) { return run(a, n, p, scale_float, scale_double); }
MD_KERNEL(clamp, 1, 0) { return run(a, n, p, clamp_float, clamp_double); }
MD_KERNEL(sgd_update, 2, 1) { return run(a, n, p, sgd_float, sgd_double); }
MD_KERNEL(adam_update, 4, 1) { return run(a, n, p, adam_float, adam_double); }
