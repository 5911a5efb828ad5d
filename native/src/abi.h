// The C interface of the library: what the Python side fills in, and what it calls.
//
// Every field is eight bytes, so that a caller packs them without padding. Pointers are to float32 unless said
// otherwise; a null pointer says that there is no such tensor. Rows are samples, longest sequence first: `order` says
// which sample of the caller a row is.
#pragma once

#include <cstdint>

#define OSTINATO_ABI 3

extern "C" {

enum OstinatoCell : int64_t { OSTINATO_LSTM, OSTINATO_GRU, OSTINATO_SIMPLE_RNN };

enum OstinatoActivation : int64_t {
    OSTINATO_TANH,
    OSTINATO_SIGMOID,
    OSTINATO_RELU,
    OSTINATO_HARD_SIGMOID,
    OSTINATO_LINEAR
};

struct OstinatoProblem {
    int64_t cell, activation, recurrent_activation;
    int64_t time, batch, features, units;
    int64_t steps;     // all steps of all rows: time * batch, or the sum of the lengths
    int64_t threads;   // at most that many are used
    int64_t reverse;   // each row from its last step to its first
    int64_t training;  // keep what backward needs
    int64_t padded;    // rows have lengths of their own: order, counts and lengths are there

    const int64_t* order;    // (batch): the caller's sample that is each row
    const int64_t* lengths;  // (batch): of each row, none longer than the one before
    const int64_t* counts;   // (time): how many rows have a step then

    const float* x;                       // inputs, of time, batch, features
    int64_t x_time, x_batch, x_feature;   // their strides, in floats
    const float *h0, *c0;                 // (batch, units), by row
    const float *kernel, *recurrent;      // (features, gates * units), (units, gates * units)
    const float *bias, *recurrent_bias;   // (gates * units)
    const float *x_mask, *h_mask;         // dropout: (x_masks, batch, features), (gates, batch, units), by row
    int64_t x_masks;                      // how many: one for all gates, or one for each

    float* outputs;             // of time, batch, units, in the order of processing; null: only the last are wanted
    int64_t y_time, y_batch;    // strides of outputs, in floats; units lie side by side
    float *last, *h_n, *c_n;    // (batch, units), by row; last: zeros where a row has no step
    float *saved, *scratch;     // of the sizes that ostinato_sizes gives

    const float* d_outputs;                     // gradient of the outputs
    int64_t d_time, d_batch, d_unit;            // its strides, in floats
    const float *d_h, *d_c;                     // (batch, units), by row: of last and h_n together; of c_n
    float *d_x;                                 // gradients that are wanted
    int64_t dx_time, dx_batch;                  // strides of d_x; features lie side by side
    float *d_h0, *d_c0, *d_kernel, *d_recurrent, *d_bias, *d_recurrent_bias;
    int64_t keep;  // backward may be called again, so it leaves `saved` as it is
    int64_t reset_before;  // of a GRU: r * h is multiplied, and not its product with r
    int64_t low;  // factors of products may be rounded to bfloat16, where there are instructions for it
};

struct OstinatoSizes {
    int64_t saved, forward, backward;  // floats: of `saved`, and of `scratch` for each of the two
};

__attribute__((visibility("default"))) int64_t ostinato_abi(void);
// The instruction set that runs: the best there is, or of those there are the one in the environment variable
// OSTINATO_NATIVE_ISA when the library was loaded. One that is for `low` problems only leaves others to the next.
__attribute__((visibility("default"))) const char* ostinato_isa(void);
__attribute__((visibility("default"))) int64_t ostinato_team(int64_t threads);
__attribute__((visibility("default"))) void ostinato_sizes(const OstinatoProblem*, OstinatoSizes*);
__attribute__((visibility("default"))) void ostinato_forward(const OstinatoProblem*);
__attribute__((visibility("default"))) void ostinato_backward(const OstinatoProblem*);

// Two that have nothing to do with each other, such as the directions of a Bidirectional.
__attribute__((visibility("default"))) void ostinato_forward_two(const OstinatoProblem*, const OstinatoProblem*);
__attribute__((visibility("default"))) void ostinato_backward_two(const OstinatoProblem*, const OstinatoProblem*);
}
