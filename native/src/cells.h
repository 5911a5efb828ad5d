// What cells do to the sums of a step, and backwards: for one vector of units of one row.
#pragma once

#include "activations.h"
#include "layout.h"

namespace ostinato::OSTINATO_ISA {

template <class Cell, class Activation, class Squash>
struct Equations;

// i, f, g, o = split(x W + b + h U);  c' = s(f) c + s(i) a(g);  h' = s(o) a(c')
template <class Activation, class Squash>
struct Equations<Lstm, Activation, Squash> {
    Activation a;
    Squash s;

    // The new h, from the sums of the slots.
    INLINE vec forward(const vec* sums, const Place& at) const {
        const vec i = s(sums[0]), f = s(sums[1]), g = a(sums[2]), o = s(sums[3]);
        const vec c = f * load(at.c_before) + i * g;
        store(at.c, c);
        if (at.gates) {
            store(at.gates, i);
            store(at.gates + V, f);
            store(at.gates + 2 * V, g);
            store(at.gates + 3 * V, o);
        }
        return o * a(c);
    }

    // From the gradient of h to those of the slots, at `to`, and of the c before, in the place of that of c. Returns
    // what of the gradient goes to the h before past the slots.
    INLINE vec backward(vec dh, float* dc_at, const Place& at, float* to) const {
        const vec i = load(at.gates), f = load(at.gates + V), g = load(at.gates + 2 * V), o = load(at.gates + 3 * V);
        const vec y = a(load(at.c));
        const vec dc = load(dc_at) + dh * o * a.slope(y);
        store(to, dc * g * s.slope(i));
        store(to + V, dc * load(at.c_before) * s.slope(f));
        store(to + 2 * V, dc * i * a.slope(g));
        store(to + 3 * V, dh * y * s.slope(o));
        store(dc_at, dc * f);
        return vec{};
    }
};

// z, r = s(x W + h U + b);  k = a(x Wh + bh + r (h Uh + ch));  h' = z h + (1 - z) k
template <class Activation, class Squash>
struct Equations<Gru, Activation, Squash> {
    Activation a;
    Squash s;

    INLINE vec forward(const vec* sums, const Place& at) const {
        const vec z = s(sums[1]), r = s(sums[2]), recurrent = sums[3];
        const vec k = a(sums[0] + r * recurrent);
        if (at.gates) {
            store(at.gates, k);
            store(at.gates + V, z);
            store(at.gates + 2 * V, r);
            store(at.gates + 3 * V, recurrent);
        }
        return k + z * (load(at.h_before, at.left) - k);
    }

    INLINE vec backward(vec dh, float*, const Place& at, float* to) const {
        const vec k = load(at.gates), z = load(at.gates + V), r = load(at.gates + 2 * V);
        const vec recurrent = load(at.gates + 3 * V);
        const vec dk = dh * (1.0f - z) * a.slope(k);
        store(to, dk);
        store(to + V, dh * (load(at.h_before, at.left) - k) * s.slope(z));
        store(to + 2 * V, dk * recurrent * s.slope(r));
        store(to + 3 * V, dk * r);
        return dh * z;
    }
};

// z, r = s(x W + h U + b);  k = a(x Wh + (r h) Uh + bh);  h' = z h + (1 - z) k
template <class Activation, class Squash>
struct Equations<GruResetBefore, Activation, Squash> {
    Activation a;
    Squash s;

    // r h, which the candidate waits for; z and r stay in `gates`.
    INLINE vec reset(const vec* sums, const Place& at) const {
        const vec z = s(sums[1]), r = s(sums[2]);
        store(at.gates + V, z);
        store(at.gates + 2 * V, r);
        return r * load(at.h_before, at.left);
    }

    INLINE vec forward(const vec* sums, const Place& at) const {
        const vec k = a(sums[0]), z = load(at.gates + V);
        store(at.gates, k);
        return k + z * (load(at.h_before, at.left) - k);
    }

    INLINE vec backward(vec dh, float*, const Place& at, float* to) const {
        const vec k = load(at.gates), z = load(at.gates + V);
        store(to, dh * (1.0f - z) * a.slope(k));
        store(to + V, dh * (load(at.h_before, at.left) - k) * s.slope(z));
        return dh * z;
    }

    // From the gradient of r h to that of r's slot; returns what goes to the h before.
    INLINE vec reset_backward(vec d, const Place& at, float* to) const {
        const vec r = load(at.gates + 2 * V);
        store(to + 2 * V, d * load(at.h_before, at.left) * s.slope(r));
        return d * r;
    }
};

// h' = a(x W + b + h U)
template <class Activation, class Squash>
struct Equations<SimpleRnn, Activation, Squash> {
    Activation a;
    Squash s;

    INLINE vec forward(const vec* sums, const Place&) const { return a(sums[0]); }

    INLINE vec backward(vec dh, float*, const Place& at, float* to) const {
        store(to, dh * a.slope(load(at.h, at.left)));
        return vec{};
    }
};

}  // namespace ostinato::OSTINATO_ISA
