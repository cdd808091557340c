# held_slice and stay_running lie beside this file wherever it runs, which is not as a part of this package.
# mypy: disable-error-code="import-not-found"
"""A small real training run on the CPU: softmax regression on generated 28x28 digits, standard library only.

For clusters where a claim's slice can be held but not computed on, and for images without CUDA. The digits are drawn
from ten stroke patterns, shifted and spotted at random, so that the loss and the accuracy mean something and the run
needs no download. TIER (large, medium, small) sets how much is computed.
"""

import math
import os
import random
import time

import held_slice
import stay_running

SIDE = 28
SAMPLES = {"large": 1600, "medium": 800, "small": 400}
EPOCHS = 6
LEARNING_RATE = 0.05

# Seven-segment digits: top, upper left, upper right, middle, lower left, lower right, bottom.
SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)
STROKES = (
    [(6, x) for x in range(9, 19)],
    [(y, 9) for y in range(6, 14)],
    [(y, 18) for y in range(6, 14)],
    [(14, x) for x in range(9, 19)],
    [(y, 9) for y in range(14, 22)],
    [(y, 18) for y in range(14, 22)],
    [(22, x) for x in range(9, 19)],
)

Image = list[tuple[int, float]]
"""The pixels that are not black: index into the 28x28 image, and brightness from 0 to 1."""


def draw_digit(digit: int, rng: random.Random) -> Image:
    """One digit, shifted by up to two pixels, of uneven brightness, with a few bright spots that belong to nothing."""
    down, right = rng.randint(-2, 2), rng.randint(-2, 2)
    pixels: dict[int, float] = {}
    for present, stroke in zip(SEGMENTS[digit], STROKES, strict=True):
        if present == "1":
            for y, x in stroke:
                pixels[(y + down) * SIDE + x + right] = rng.uniform(0.5, 1.0)
    for _ in range(12):
        pixels[rng.randrange(SIDE * SIDE)] = rng.uniform(0.0, 0.8)
    return sorted(pixels.items())


def draw_set(count: int, seed: int) -> list[tuple[Image, int]]:
    """A balanced set of labelled digits; the same seed draws the same set."""
    rng = random.Random(seed)  # noqa: S311 - draws pictures, guards nothing
    digits = [index % 10 for index in range(count)]
    rng.shuffle(digits)
    return [(draw_digit(digit, rng), digit) for digit in digits]


class SoftmaxRegression:
    """Ten linear scores of an image, as probabilities; trained by gradient descent, one image at a time."""

    def __init__(self) -> None:
        self.weights = [[0.0] * (SIDE * SIDE) for _ in range(10)]
        self.bias = [0.0] * 10

    def probabilities(self, image: Image) -> list[float]:
        scores = [
            bias + sum(weights[index] * value for index, value in image)
            for weights, bias in zip(self.weights, self.bias, strict=True)
        ]
        highest = max(scores)  # subtracted, so that exp never overflows
        exponentials = [math.exp(score - highest) for score in scores]
        total = sum(exponentials)
        return [value / total for value in exponentials]

    def learn(self, image: Image, digit: int) -> float:
        """One step down the gradient of the cross-entropy loss; returns the loss before the step."""
        probabilities = self.probabilities(image)
        for candidate, probability in enumerate(probabilities):
            step = LEARNING_RATE * (probability - (candidate == digit))
            weights = self.weights[candidate]
            for index, value in image:
                weights[index] -= step * value
            self.bias[candidate] -= step
        return -math.log(max(probabilities[digit], 1e-12))

    def accuracy(self, images: list[tuple[Image, int]]) -> float:
        hits = 0
        for image, digit in images:
            probabilities = self.probabilities(image)
            hits += probabilities.index(max(probabilities)) == digit
        return hits / len(images)


def main() -> None:
    stay_running.before_training()
    tier = os.environ["TIER"]
    held_slice.report(tier)
    training, held_out = draw_set(SAMPLES[tier], seed=1), draw_set(100, seed=2)
    model = SoftmaxRegression()
    print(f"{tier}: training on {len(training)} generated digits, on the CPU", flush=True)
    begun = time.monotonic()
    for epoch in range(1, EPOCHS + 1):
        loss = sum(model.learn(image, digit) for image, digit in training) / len(training)
        print(f"{tier}: epoch {epoch}/{EPOCHS} loss {loss:.3f} accuracy {model.accuracy(held_out):.2f}", flush=True)
    print(f"{tier}: trained in {time.monotonic() - begun:.1f} s", flush=True)
    stay_running.after_training(tier)


if __name__ == "__main__":
    main()
