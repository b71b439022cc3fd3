"""A convolution that counts: loops over every output, tap and channel, in NumPy scalars' terms.

It computes the result *and* counts the multiplications under the dense convention (padded taps count).
Tests check the result against torch, so that a count comes from the loops that made a right answer.
"""

from __future__ import annotations

import itertools

import numpy as np


def conv_forward(x, w, *, stride, padding, dilation, groups):
    """x (N, C, *I), w (M, C/g, *K); padding one (before, after) per axis. Returns (y, multiplications)."""
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    batch, out_channels = x.shape[0], w.shape[0]
    kernel = w.shape[2:]
    out = tuple(
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    )
    y = np.zeros((batch, out_channels, *out))
    multiplications = 0
    per_group = out_channels // groups
    for n, m in itertools.product(range(batch), range(out_channels)):
        first = m // per_group * w.shape[1]
        for place in np.ndindex(*out):
            for tap in np.ndindex(*kernel):
                at = tuple(o * s + t * d for o, s, t, d in zip(place, stride, tap, dilation, strict=True))
                for c in range(w.shape[1]):
                    y[(n, m, *place)] += padded[(n, first + c, *at)] * w[(m, c, *tap)]
                    multiplications += 1
    return y, multiplications


def conv_backward(x, w, gradient, *, stride, padding, dilation, groups):
    """(dx, multiplications for dx, dw, multiplications for dw), padded taps counted."""
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    dx, dw = np.zeros(padded.shape), np.zeros(w.shape)
    count_dx = count_dw = 0
    per_group = w.shape[0] // groups
    for n, m in itertools.product(range(x.shape[0]), range(w.shape[0])):
        first = m // per_group * w.shape[1]
        for place in np.ndindex(*gradient.shape[2:]):
            for tap in np.ndindex(*w.shape[2:]):
                at = tuple(o * s + t * d for o, s, t, d in zip(place, stride, tap, dilation, strict=True))
                for c in range(w.shape[1]):
                    dx[(n, first + c, *at)] += gradient[(n, m, *place)] * w[(m, c, *tap)]
                    count_dx += 1
                    dw[(m, c, *tap)] += gradient[(n, m, *place)] * padded[(n, first + c, *at)]
                    count_dw += 1
    inside = tuple(slice(before, before + size) for (before, _), size in zip(padding, x.shape[2:], strict=True))
    return dx[(slice(None), slice(None), *inside)], count_dx, dw, count_dw


def conv_transpose(x, w, *, stride, padding, dilation, groups, output_padding):
    """x (N, C, *I), w (C, M/g, *K): scatter every input element. Returns (y, multiplications)."""
    kernel = w.shape[2:]
    full = tuple(
        s * (size - 1) + d * (k - 1) + 1 + extra
        for size, k, s, d, extra in zip(x.shape[2:], kernel, stride, dilation, output_padding, strict=True)
    )
    y = np.zeros((x.shape[0], w.shape[1] * groups, *full))
    multiplications = 0
    per_group = x.shape[1] // groups
    for n, c in itertools.product(range(x.shape[0]), range(x.shape[1])):
        first = c // per_group * w.shape[1]
        for place in np.ndindex(*x.shape[2:]):
            for tap in np.ndindex(*kernel):
                at = tuple(i * s + t * d for i, s, t, d in zip(place, stride, tap, dilation, strict=True))
                for m in range(w.shape[1]):
                    y[(n, first + m, *at)] += x[(n, c, *place)] * w[(c, m, *tap)]
                    multiplications += 1
    inside = tuple(slice(a, size - b) for (a, b), size in zip(padding, full, strict=True))
    return y[(slice(None), slice(None), *inside)], multiplications
