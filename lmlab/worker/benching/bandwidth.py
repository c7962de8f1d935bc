"""How fast this machine's processors read main memory: what writing a token cannot be faster than. Knows no model."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt


def read_rates(threads: int, size: int, repeat: int) -> tuple[float, ...]:
    """Read an array of ``size`` bytes, a share of it in each of ``threads``, ``repeat`` times; return bytes per second of each.

    The array must be far larger than the caches. Adding up whole numbers is the cheapest that numpy does to all it reads,
    with the interpreter's lock released; a first time, which may still wait for pages, is not counted.
    """
    array = np.ones(max(threads, size // 8), np.int64)
    shares = np.array_split(array, threads)
    return tuple(_rate(shares, array.nbytes) for _ in range(repeat + 1))[1:]


def _rate(shares: list[npt.NDArray[np.int64]], size: int) -> float:
    start = threading.Barrier(len(shares) + 1)

    def read(share: npt.NDArray[np.int64]) -> None:
        start.wait()
        np.add.reduce(share)

    readers = [threading.Thread(target=read, args=(share,)) for share in shares]
    for reader in readers:
        reader.start()
    start.wait()
    begin = time.perf_counter()
    for reader in readers:
        reader.join()
    return size / (time.perf_counter() - begin)
