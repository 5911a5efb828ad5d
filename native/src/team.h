// How work is dealt out to threads, and how they wait for one another.
#pragma once

#include <sched.h>

#include "layout.h"
#include "parallel.h"

namespace ostinato::OSTINATO_ISA {

// A meeting of threads that do not sleep while they wait: steps of small batches take no longer than waking up.
struct Meeting {
    static constexpr int most = 64;
    struct alignas(64) Place {
        int64_t arrivals;
    };
    Place places[most] = {};

    void wait(int64_t id, int64_t threads) {
        if (threads == 1) return;
        const int64_t now = places[id].arrivals + 1;
        __atomic_store_n(&places[id].arrivals, now, __ATOMIC_RELEASE);
        for (int64_t other = 0; other < threads; ++other)
            for (int64_t turns = 0; __atomic_load_n(&places[other].arrivals, __ATOMIC_ACQUIRE) < now; ++turns) {
                if (turns > 2000) sched_yield();
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            }
    }
};

struct Share {
    int64_t first, end;
};

// The share of thread `id` of things that are all the same work.
INLINE Share share_of(int64_t things, int64_t id, int64_t threads) {
    return {things * id / threads, things * (id + 1) / threads};
}

// The rows of thread `id`, for all their steps. Rows are sorted, so that shares of about as many steps are runs too.
template <class Cell>
Share rows_of(const Layout<Cell>& at, int64_t id, int64_t threads) {
    const OstinatoProblem& p = at.p;
    if (!p.lengths) return share_of(p.batch, id, threads);
    const Share steps = share_of(p.steps, id, threads);
    Share rows{p.batch, p.batch};
    int64_t before = 0;
    for (int64_t row = 0; row < p.batch; ++row) {  // a row belongs to the share that its first step lies in
        if (before >= steps.first && rows.first == p.batch) rows.first = row;
        if (before >= steps.end && id + 1 < threads) {
            rows.end = row;
            break;
        }
        before += p.lengths[row];
    }
    if (rows.first > rows.end) rows.first = rows.end;
    return rows;
}

// So many threads at most; of little work, fewer: to start one takes as long as `least` operations.
template <class Cell>
int64_t threads_for(const OstinatoProblem& p) {
    constexpr int64_t least = 400000;
    const int64_t work = 2 * p.steps * (p.features + p.units) * Cell::gates * p.units;
    return larger(1, smaller(smaller(p.threads, Meeting::most), work / least));
}

}  // namespace ostinato::OSTINATO_ISA
