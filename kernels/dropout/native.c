/* Dropout: the words of 64 elements (philox.h), then one pass over these. */
#include "philox.h"

enum { GROUP = WORDS, TASK = 128 * GROUP };

typedef struct {
    char *y;
    const char *x;
    int64_t n;
    double scale;
    uint32_t threshold, k0, k1;
} drop;

#define DROP(T)                                                                                       \
    static void drop_##T(int64_t task, void *ctx) {                                                   \
        const drop *d = ctx;                                                                          \
        const T scale = (T)d->scale;                                                                  \
        const uint32_t threshold = d->threshold;                                                      \
        for (int64_t i = task * TASK; i < md_min(d->n, (task + 1) * TASK); i += GROUP) {              \
            uint32_t words[GROUP];                                                                    \
            draw(words, i / GROUP, d->k0, d->k1);                                                     \
            const T *restrict x = (const T *)d->x + i;                                                \
            T *restrict y = (T *)d->y + i;                                                            \
            if (i + GROUP <= d->n)                                                                    \
                for (int k = 0; k < GROUP; k++) y[k] = x[k] * (words[k] >= threshold ? scale : 0);    \
            else                                                                                      \
                for (int k = 0; k < d->n - i; k++) y[k] = x[k] * (words[k] >= threshold ? scale : 0); \
        }                                                                                             \
    }
DROP(float)
DROP(double)

MD_KERNEL(dropout, 1, 1) {
    const md_array *y = &a[0], *x = &a[1];
    if ((x->dtype != MD_F32 && x->dtype != MD_F64) || !md_contiguous(x) || !md_contiguous(y)) return MD_NOT_MINE;
    drop d = {.y = y->data, .x = x->data, .n = md_size(x), .scale = p[1], .threshold = (uint32_t)p[0], .k0 = (uint32_t)p[2],
              .k1 = (uint32_t)p[3]};
    const int64_t tasks = md_ceil_div(d.n, TASK);
    void (*const body)(int64_t, void *) = x->dtype == MD_F32 ? drop_float : drop_double;
    if (d.n * 4 < MD_SMALL_BYTES) for (int64_t t = 0; t < tasks; t++) body(t, &d);
    else md_parallel(tasks, body, &d);
    return MD_DONE;
}
