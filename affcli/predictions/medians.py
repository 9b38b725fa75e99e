"""The median of every window of a fixed length, for smooth.py: a sorting network for short windows, else scipy."""

from __future__ import annotations

import functools

import numpy as np

# Up to here the network's comparisons, all of them on whole arrays, take less time than scipy's ordered window.
LONGEST_NETWORK = 15

BLOCK = 16384  # windows worked on at a time: their values stay in the processor's cache


def window_medians(values: np.ndarray, kernel: int) -> np.ndarray:
    """Medians [m - kernel + 1] of all windows of `kernel` (odd) neighbours in [m], none of them NaN."""
    return _by_network(values, kernel) if kernel <= LONGEST_NETWORK else _by_rank(values, kernel)


def _by_rank(values: np.ndarray, kernel: int) -> np.ndarray:
    from scipy.ndimage import median_filter

    # For one dimension scipy (from 1.15) keeps an ordered window; for one of several it sorts each window anew. It
    # must not see a kernel longer than the array, where 1.15 crashes: ours are padded.
    medians = np.asarray(median_filter(values, size=kernel, mode="nearest"))
    return medians[kernel // 2 : len(values) - kernel // 2]


def _by_network(values: np.ndarray, kernel: int) -> np.ndarray:
    """Sorts all windows at once, as far as their middle needs it."""
    count = len(values) - kernel + 1
    medians = np.empty(count, values.dtype)
    buffer = np.empty((kernel + 1, min(BLOCK, count)), values.dtype)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        *places, spare = buffer[:, : stop - start]  # place i: the i-th value of each window
        for i, place in enumerate(places):
            place[:] = values[start + i : stop + i]
        for low, high in _comparisons(kernel):
            np.minimum(places[low], places[high], out=spare)
            np.maximum(places[low], places[high], out=places[high])
            places[low], spare = spare, places[low]
        medians[start:stop] = places[kernel // 2]
    return medians


@functools.cache
def _comparisons(size: int) -> tuple[tuple[int, int], ...]:
    """The comparisons (smaller to the first place, larger to the second) that bring the median to the middle.

    Batcher's odd-even mergesort (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), without what only
    sorts the rest.
    """
    needed, kept = {size // 2}, []
    for low, high in reversed(_mergesort(size)):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return tuple(reversed(kept))


def _mergesort(size: int) -> list[tuple[int, int]]:
    found = []
    powers = [1 << i for i in range((size - 1).bit_length())]
    for sorted_run in powers:
        for step in (power for power in reversed(powers) if power <= sorted_run):
            for start in range(step % sorted_run, size - step, 2 * step):
                for low in range(start, min(start + step, size - step)):
                    if low // (2 * sorted_run) == (low + step) // (2 * sorted_run):
                        found.append((low, low + step))
    return found
