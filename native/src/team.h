// How work is dealt out to threads, and how they wait for one another.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layout.h"
#include "parallel.h"

namespace ostinato::OSTINATO_ISA {

// A meeting of threads. They spin at first, as steps of small batches take no longer than waking up; one that spun in
// vain sleeps, and spins for less time at the next meeting: there may be fewer processors than threads.
class Meeting {
  public:
    static constexpr int most = 64;

    void wait(int64_t id, int64_t threads) {
        if (threads == 1) return;
        Seat& mine = seats[id];
        const int32_t now = mine.arrivals + 1;
        __atomic_store_n(&mine.arrivals, now, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&mine.sleepers, __ATOMIC_SEQ_CST)) wake(mine);
        for (int64_t other = 0; other < threads; ++other)
            if (other != id) mine.patience = wait_for(seats[other], now, mine.patience);
    }

  private:
    static constexpr int32_t patient = 2048;

    struct alignas(64) Seat {
        int32_t arrivals = 0, sleepers = 0;  // how often its thread came, and how many sleep until it does
        int32_t patience = patient;          // how often its thread looks before it sleeps
    };
    Seat seats[most];

    static bool has_come(const Seat& other, int32_t now) {
        return __atomic_load_n(&other.arrivals, __ATOMIC_SEQ_CST) >= now;
    }

    // Returns how often to look the next time.
    static int32_t wait_for(Seat& other, int32_t now, int32_t patience) {
        for (int32_t turn = 0; turn <= patience; ++turn) {
            if (has_come(other, now)) return smaller(2 * patience, patient);
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
        __atomic_fetch_add(&other.sleepers, 1, __ATOMIC_SEQ_CST);
        while (!has_come(other, now)) syscall(SYS_futex, &other.arrivals, FUTEX_WAIT_PRIVATE, now - 1, nullptr);
        __atomic_fetch_sub(&other.sleepers, 1, __ATOMIC_SEQ_CST);
        return larger(patience / 4, 1);
    }

    static void wake(Seat& mine) { syscall(SYS_futex, &mine.arrivals, FUTEX_WAKE_PRIVATE, most); }
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
