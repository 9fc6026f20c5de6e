/*
 * Calls a compiled kernel from C: a linear layer with a residual, out = W x + out.
 *
 * The matrix is packed by hand as thin.h describes it, the kernel computes it in two shares, as
 * two threads would, and a plain C loop that adds in the same order finds the same bits.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "thin.h"

/* The projection down from the feed-forward part: WIDTH rows, FFN_HIDDEN columns. */
#define KERNEL deepthin_thin_linear_residual_f32_64x80_t1
#define OF_KERNEL(name) DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_##name

enum {
    ROWS = DEEPTHIN_THIN_WIDTH,
    COLUMNS = DEEPTHIN_THIN_FFN_HIDDEN,
    PANEL = DEEPTHIN_THIN_PANEL_ROWS,
    PANELS = (ROWS + PANEL - 1) / PANEL
};

static float weights[ROWS][COLUMNS];

/* The kernel's buffers, each of the size that the header tells. */
static float packed[OF_KERNEL(BYTES_W0) / sizeof(float)];
static float x[OF_KERNEL(BYTES_X) / sizeof(float)];
static float out[OF_KERNEL(BYTES_OUT) / sizeof(float)];
static float scales[OF_KERNEL(BYTES_SCALES) / sizeof(float)];
static float products[OF_KERNEL(BYTES_PRODUCTS) / sizeof(float)];

/* A number from -1 to 1, the same on every machine. */
static float number(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)(state >> 8) / 8388608.0f - 1.0f;
}

/* Panel by panel, column by column, the elements of 32 rows; zeros past the last row. */
static void pack(void)
{
    float *next = packed;
    for (int panel = 0; panel < PANELS; panel++) {
        for (int column = 0; column < COLUMNS; column++) {
            for (int row = panel * PANEL; row < (panel + 1) * PANEL; row++) {
                *next++ = row < ROWS ? weights[row][column] : 0.0f;
            }
        }
    }
}

/* Computes the panels begin..end. */
static void run(int64_t begin, int64_t end)
{
    uint8_t *buffers[OF_KERNEL(BUFFERS)];
    int64_t scalars[OF_KERNEL(SCALARS)];
    buffers[OF_KERNEL(BUFFER_X)] = (uint8_t *)x;
    buffers[OF_KERNEL(BUFFER_W0)] = (uint8_t *)packed;
    buffers[OF_KERNEL(BUFFER_SCALES)] = (uint8_t *)scales;
    buffers[OF_KERNEL(BUFFER_OUT)] = (uint8_t *)out;
    buffers[OF_KERNEL(BUFFER_PRODUCTS)] = (uint8_t *)products;
    scalars[OF_KERNEL(SCALAR_BEGIN)] = begin;
    scalars[OF_KERNEL(SCALAR_END)] = end;
    KERNEL(buffers, scalars);
}

int main(void)
{
    float expected[ROWS];
    int equal = 0;

    for (int row = 0; row < ROWS; row++) {
        for (int column = 0; column < COLUMNS; column++) {
            weights[row][column] = number();
        }
    }
    for (int column = 0; column < COLUMNS; column++) {
        x[column] = number();
    }
    for (int row = 0; row < ROWS; row++) {
        out[row] = number();
        float sum = 0.0f;
        for (int column = 0; column < COLUMNS; column++) {
            sum = fmaf(weights[row][column], x[column], sum);
        }
        expected[row] = sum + out[row];
    }

    pack();
    run(0, 1);
    run(1, PANELS);

    printf("out = W x + out: %d rows, %d columns, %d panels\n", ROWS, COLUMNS, PANELS);
    for (int row = 0; row < ROWS; row++) {
        if (row % 12 == 0) {
            printf("row %2d: %10.6f from the kernel, %10.6f from C\n", row, out[row], expected[row]);
        }
        equal += memcmp(&out[row], &expected[row], sizeof(float)) == 0;
    }
    printf("%d of %d rows are equal to the bit\n", equal, ROWS);
    return equal == ROWS ? 0 : 1;
}
