"""Samples, their summary, and how noisy the machine was while they were taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Order statistics of samples in one unit. `p99` is the nearest rank, so with few samples it is the maximum."""

    count: int
    minimum: float
    median: float
    p99: float
    maximum: float

    def row(self, unit: str, digits: int = 0) -> str:
        numbers = (self.minimum, self.median, self.p99, self.maximum)
        return f"n={self.count}  " + "  ".join(
            f"{name} {value:.{digits}f} {unit}"
            for name, value in zip(("min", "median", "p99", "max"), numbers, strict=True)
        )


def summarise(samples: Iterable[float]) -> Summary:
    """Summary of at least one sample."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples to summarise")
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    return Summary(len(ordered), ordered[0], statistics.median(ordered), ordered[rank], ordered[-1])


def spin() -> float:
    """Milliseconds that a fixed amount of arithmetic takes: its spread is the machine's noise."""
    start = time.perf_counter()
    total = 0
    for number in range(200_000):
        total += number * number
    return (time.perf_counter() - start) * 1000


def noise(rounds: int = 15) -> Summary:
    return summarise(spin() for _ in range(rounds))
