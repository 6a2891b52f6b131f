/* Products of one or two rows of bfloat16 by vectors: packing b would take longer than to multiply it where it lies, along k or
 * along its columns. Rows of a become floats once; for b along k in steps of 2 VL, those of even k before those of odd k, as the
 * halves of b's lanes come apart. */
enum { FEW_ROWS = VREGS == 16 ? 2 : 0, DOTS = 4, FEW_COLUMNS = 8 * VL };
typedef uint16_t halves_mem __attribute__((vector_size(VBYTES / 2), aligned(2), may_alias));

static int few_rows(const product *c) {
    const int along_k = c->b.ks == 1 && c->b.ms % 2 == 0 && (uintptr_t)c->b.data % 4 == 0;
    return c->kind == FLOATS && c->M <= FEW_ROWS && (along_k || c->b.ms == 1);
}

static void few_floats(const product *c, float *to) {
    const int64_t whole = c->groups;
    for (int64_t m = 0; m < c->M; m++)
        for (int64_t k = 0; k < whole; k++) {
            const int64_t in_step = k % (2 * VL), at = c->b.ms == 1 ? k : k - in_step + in_step % 2 * VL + in_step / 2;
            const uint32_t bits = k < c->K ? (uint32_t)((const uint16_t *)c->a.data)[m * c->a.ms + k * c->a.ks] << 16 : 0;
            memcpy(to + m * whole + at, &bits, 4);
        }
}

INLINE void few_put(const product *c, int64_t m, int64_t j, float sum) {
    ((float *)c->y)[m * c->y_ms + j] = sum + (c->bias ? c->bias[j * c->bias_s] : 0);
}

/* DOTS columns that lie along k; those from `count` on repeat the last. */
static void few_along_k(const product *c, const float *a, int64_t m, int64_t j, int count) {
    const uint16_t *b[DOTS];
    vf even[DOTS], odd[DOTS];
#pragma GCC unroll 4
    for (int i = 0; i < DOTS; i++) {
        b[i] = (const uint16_t *)c->b.data + (j + md_min(i, count - 1)) * c->b.ms;
        even[i] = odd[i] = vset(0);
    }
    for (int64_t k = 0; k < c->K; k += 2 * VL, a += 2 * VL) {
        const vf of_even = vload(a), of_odd = vload(a + VL);
#pragma GCC unroll 4
        for (int i = 0; i < DOTS; i++) {
            uint16_t last[2 * VL] = {0};
            if (k + 2 * VL > c->K) memcpy(last, b[i] + k, (size_t)(c->K - k) * 2);
            const vu two = (vu)vload((const float *)(k + 2 * VL > c->K ? last : b[i] + k));
            even[i] += (vf)(two << 16) * of_even;
            odd[i] += (vf)(two & 0xffff0000) * of_odd;
        }
    }
    for (int i = 0; i < count; i++) few_put(c, m, j + i, vsum(even[i] + odd[i]));
}

/* Up to FEW_COLUMNS columns that lie side by side. */
static void few_side_by_side(const product *c, const float *a, int64_t m, int64_t j, int64_t count) {
    enum { AHEAD = 12 };
    const uint16_t *b = (const uint16_t *)c->b.data + j;
    float sums[FEW_COLUMNS] = {0};
    if (count == FEW_COLUMNS) {
        vf sum[8] = {{0}};
        for (int64_t k = 0; k < c->K; k++, b += c->b.ks) {
            vfetch((const float *)(b + AHEAD * c->b.ks));
            vfetch((const float *)(b + AHEAD * c->b.ks + FEW_COLUMNS / 2));
#pragma GCC unroll 8
            for (int v = 0; v < 8; v++)
                sum[v] += vset(a[k]) * (vf)(__builtin_convertvector(*(const halves_mem *)(b + v * VL), vu) << 16);
        }
        for (int v = 0; v < 8; v++) vstore(sums + v * VL, sum[v]);
    } else
        for (int64_t k = 0; k < c->K; k++, b += c->b.ks)
            for (int64_t i = 0; i < count; i++) {
                const uint32_t bits = (uint32_t)b[i] << 16;
                float x;
                memcpy(&x, &bits, 4);
                sums[i] += a[k] * x;
            }
    for (int64_t i = 0; i < count; i++) few_put(c, m, j + i, sums[i]);
}

static void few_task(int64_t task, void *ctx) {
    const product *c = ctx;
    const int64_t end = md_min(c->N, (task + 1) * FEW_COLUMNS);
    for (int64_t m = 0; m < c->M; m++) {
        const float *a = (const float *)c->packed_a + m * c->groups;
        if (c->b.ms == 1) few_side_by_side(c, a, m, task * FEW_COLUMNS, end - task * FEW_COLUMNS);
        else
            for (int64_t j = task * FEW_COLUMNS; j < end; j += DOTS) few_along_k(c, a, m, j, (int)md_min(DOTS, end - j));
    }
}
