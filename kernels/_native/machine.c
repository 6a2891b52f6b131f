/* What the machine can do at most, for `minidl bench`: fused multiply-adds out of registers, products of matrix tiles, and
 * traffic to memory.
 * Registered like kernels, but no specification calls these: they compute nothing of use. */
#include "amx.h"
#include "md.h"
#include "simd.h"

#define CHAINS 12   /* independent sums: two units of a latency of four need eight, and 12 + 2 vectors fit 16 registers */
#define PIECE 16384 /* elements of an array that a task takes at a time */

typedef struct { float *sums; double *flops; int64_t rounds; } fma_job;

static void fma_task(int64_t i, void *ctx) {
    const fma_job *job = ctx;
    vf sum[CHAINS];
    const vf a = vset(0.999f), b = vset(0.001f); /* each chain stays near 1: no infinity, no denormal number */
    for (int c = 0; c < CHAINS; c++) sum[c] = vset(1.0f + (float)c / CHAINS);
    for (int64_t r = 0; r < job->rounds; r++)
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * a + b;
    vf all = sum[0];
    for (int c = 1; c < CHAINS; c++) all += sum[c];
    job->sums[i] = vsum(all);
    job->flops[i] = 2.0 * CHAINS * VL * (double)job->rounds;
}

/* p: how many rounds a task runs. sums (tasks,) float32, which only keep the work from being left out; flops (tasks,) of
 * float64: how many operations each task did. */
MD_KERNEL(machine_fma, 2, 0) {
    md_parallel(a[0].shape[0], fma_task, &(fma_job){(float *)a[0].data, (double *)a[1].data, (int64_t)p[0]});
    return MD_DONE;
}

#if MD_AMX
#define TILES 4 /* independent sums */

AMX_CODE static void tiles_task(int64_t i, void *ctx) {
    const fma_job *job = ctx;
    uint16_t ones[AMX_TILE / 2];
    float sums[AMX_TILE / 4];
    for (int j = 0; j < AMX_TILE / 2; j++) ones[j] = 0x3f80; /* 1 in bfloat16 */
    amx_begin();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, ones, 64);
    _tile_loadd(5, ones, 64);
    for (int64_t r = 0; r < job->rounds; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, sums, 64);
    amx_end();
    __asm__ volatile("" ::: "memory");
    job->sums[i] = sums[0];
    job->flops[i] = 2.0 * TILES * AMX_ROWS * AMX_ROWS * AMX_K * (double)job->rounds;
}
#endif

/* The same of matrix tiles of bfloat16. */
MD_KERNEL(machine_tiles, 2, 0) {
#if MD_AMX
    if (md_has_amx()) {
        md_parallel(a[0].shape[0], tiles_task, &(fma_job){(float *)a[0].data, (double *)a[1].data, (int64_t)p[0]});
        return MD_DONE;
    }
#endif
    (void)a;
    return MD_NOT_MINE;
}

typedef struct { float *y; const float *x, *z; int64_t n; } triad_job;

/* y = x + z * 3: the third loop of McCalpin's STREAM. */
static void triad_task(int64_t i, void *ctx) {
    const triad_job *job = ctx;
    const int64_t end = md_min(job->n, (i + 1) * PIECE);
    for (int64_t j = i * PIECE; j + VL <= end; j += VL) vstore(job->y + j, vload(job->x + j) + vload(job->z + j) * vset(3));
}

/* y, x, z: (n,) float32 in C order, n a multiple of 64. */
MD_KERNEL(machine_triad, 1, 2) {
    triad_job job = {(float *)a[0].data, (const float *)a[1].data, (const float *)a[2].data, md_size(a)};
    md_parallel(md_ceil_div(job.n, PIECE), triad_task, &job);
    return MD_DONE;
}

static void copy_task(int64_t i, void *ctx) {
    const triad_job *job = ctx;
    const int64_t end = md_min(job->n, (i + 1) * PIECE);
    for (int64_t j = i * PIECE; j + VL <= end; j += VL) vstore(job->y + j, vload(job->x + j));
}

/* y, x: (n,) float32 in C order, n a multiple of 64. */
MD_KERNEL(machine_copy, 1, 1) {
    triad_job job = {(float *)a[0].data, (const float *)a[1].data, NULL, md_size(a)};
    md_parallel(md_ceil_div(job.n, PIECE), copy_task, &job);
    return MD_DONE;
}

typedef struct { const float *x; float *sums; int64_t n; } read_job;

static void read_task(int64_t i, void *ctx) {
    const read_job *job = ctx;
    const int64_t end = md_min(job->n, (i + 1) * PIECE);
    vf sum[4] = {vset(0), vset(0), vset(0), vset(0)};
    for (int64_t j = i * PIECE; j + 4 * VL <= end; j += 4 * VL)
        for (int c = 0; c < 4; c++) sum[c] += vload(job->x + j + c * VL);
    job->sums[i] = vsum(sum[0] + sum[1] + sum[2] + sum[3]);
}

/* sums: a value for each PIECE of x begun; x: (n,) float32 in C order, n a multiple of 64. */
MD_KERNEL(machine_read, 1, 1) {
    read_job job = {(const float *)a[1].data, (float *)a[0].data, md_size(a + 1)};
    if (a[0].shape[0] * PIECE < job.n) return MD_NOT_MINE;
    md_parallel(md_ceil_div(job.n, PIECE), read_task, &job);
    return MD_DONE;
}
