# PyTorch comes with the image; held_slice and stay_running lie beside this file wherever it runs.
# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""Trains a convolutional network on Fashion-MNIST with PyTorch, on the one GPU or MIG slice that the pod holds.

The tier (large, medium, small) sets the width of the network and the batch, so that each of the three has work
for a slice of its size and stays well inside its memory. Any image with PyTorch and torchvision runs it, for example pytorch/pytorch or nvcr.io/nvidia/pytorch.

Environment: TIER; EPOCHS (default 5); DATA_DIR, where the data set is kept or downloaded to.
"""

import os
import sys
import time
from dataclasses import dataclass

import held_slice
import stay_running
import torch
from torch import nn
from torchvision.datasets import FashionMNIST


@dataclass(frozen=True)
class Tier:
    """How big a network and a batch: more channels need more memory, larger batches keep more multiprocessors busy."""

    channels: int
    batch: int


TIERS = {
    "small": Tier(channels=16, batch=128),
    "medium": Tier(channels=64, batch=512),
    "large": Tier(channels=192, batch=1024),
}


def network(channels: int) -> nn.Sequential:
    """Three convolution blocks, each halving the picture (28, 14, 7, 3 pixels), then one linear layer."""
    layers: list[nn.Module] = []
    before = 1
    for after in (channels, 2 * channels, 4 * channels):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.25), nn.Linear(4 * channels * 3 * 3, 10))


def load(train: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole data set on the device: 47 MB, so no loader processes and no shared memory are needed."""
    data = FashionMNIST(os.environ["DATA_DIR"], train=train, download=True)
    pictures = data.data.to(device, dtype=torch.float32).unsqueeze(1).div_(255)
    return pictures.sub_(0.286).div_(0.353), data.targets.to(device)  # mean and deviation of the training pictures


def main() -> None:
    stay_running.before_training()
    tier = os.environ["TIER"]
    held_slice.report(tier)
    if not torch.cuda.is_available():
        sys.exit(
            f"{tier}: PyTorch finds no GPU here. Does the pod's claim hold one, and does the image's CUDA fit the driver?"
        )
    # A container with a claim sees exactly the device it was given, so there is nothing to choose.
    device = torch.device("cuda")
    properties = torch.cuda.get_device_properties(device)
    print(
        f"{tier}: {properties.name}, {properties.total_memory / 2**30:.1f} GiB, "
        f"{properties.multi_processor_count} multiprocessors",
        flush=True,
    )
    torch.manual_seed(1)
    size = TIERS[tier]
    pictures, labels = load(train=True, device=device)
    held_out_pictures, held_out_labels = load(train=False, device=device)
    model = network(size.channels).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    epochs = int(os.environ.get("EPOCHS", "5"))
    for epoch in range(1, epochs + 1):
        begun = time.monotonic()
        model.train()
        total_loss = torch.zeros((), device=device)
        for batch in torch.randperm(len(pictures), device=device).split(size.batch):
            optimizer.zero_grad(set_to_none=True)
            # bfloat16 keeps the exponent range of float32, so no loss scaling is needed; every MIG board has it.
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = loss_function(model(pictures[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total_loss += loss.detach() * len(batch)  # stays on the device: reading it would wait for the GPU each step
        accuracy = held_out_accuracy(model, held_out_pictures, held_out_labels, size.batch)
        print(
            f"{tier}: epoch {epoch}/{epochs} loss {total_loss.item() / len(pictures):.3f} accuracy {accuracy:.3f} "
            f"in {time.monotonic() - begun:.1f} s, peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB",
            flush=True,
        )
    stay_running.after_training(tier)


@torch.no_grad()
def held_out_accuracy(model: nn.Module, pictures: torch.Tensor, labels: torch.Tensor, batch: int) -> float:
    """The share of held-out pictures that the network names rightly."""
    model.eval()
    hits = sum(
        int((model(pictures[part]).argmax(1) == labels[part]).sum())
        for part in torch.arange(len(pictures), device=pictures.device).split(batch)
    )
    return hits / len(pictures)


if __name__ == "__main__":
    main()
