"""Settings of the training loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from app.errors import BadInput
from app.settings.checks import require

DEFAULT_ARCHITECTURE = "custom_cnn"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SCHEDULES = ("cosine", "one_cycle", "plateau")
DEFAULT_LR = {"adamw": 4e-3, "sgd": 0.1, "muon": 0.05}
"""Peak learning rate of each optimizer unless one is given."""
AUTO: Literal["auto"] = "auto"

BatchSize = int | Literal["auto"]


def parse_batch_size(text: str) -> BatchSize:
    """A whole number, or `auto`. Raises BadInput."""
    if text == AUTO:
        return AUTO
    try:
        return int(text)
    except ValueError as error:
        raise BadInput(f"--batch-size is a whole number or auto, not {text!r}") from error


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What the training loop needs to know, apart from the data."""

    model: str = DEFAULT_ARCHITECTURE
    """Architecture; `manta models` lists them."""
    epochs: int | None = None
    """Passes over the training images. Unless given, 20, and up to 60 for small data."""
    batch_size: BatchSize | None = field(default=None, metadata={"parser": parse_batch_size, "metavar": "<int>|auto"})
    """Images per optimizer step, over all workers together; auto measures which is fastest and fits in memory.
    Unless given, 64, and less for small data."""
    optimizer: str = "adamw"
    """adamw, sgd (Nesterov momentum) or muon (orthogonalized momentum for matrices, AdamW for the rest)."""
    lr: float | None = None
    """Peak learning rate. Unless given, 0.004 for adamw, 0.1 for sgd, 0.05 for muon."""
    momentum: float = 0.9
    """Momentum of sgd and muon."""
    weight_decay: float = 0.01
    """Decoupled weight decay: each step takes this share, times the learning rate, off every weight that is
    no bias and no part of a normalization."""
    schedule: str = "cosine"
    """Learning rate after its rise: cosine, one_cycle (falls in a straight line) or plateau (a fifth of it when
    validation stops getting better)."""
    warmup: float = 0.15
    """Share of the steps during which the learning rate rises."""
    plateau_patience: int = 3
    """Epochs without a better validation loss before the plateau schedule lowers the learning rate."""
    label_smoothing: float = 0.05
    """Probability mass taken from the true class and spread over all of them."""
    dropout: float | None = None
    """Dropout before the last layer. Unless given, the architecture's own."""
    accumulate: int = 1
    """Parts that each batch is computed in, one after the other, to need less memory for the same step."""
    recompute: bool = False
    """Compute activations a second time in the backward pass rather than keep them: less memory, more time."""
    clip: float | None = None
    """Largest norm of the gradient; a longer one is scaled down. Unless given, no limit."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999, which is then what is evaluated and
    exported. Unless given, none is kept."""
    patience: int | None = None
    """Stop early after this many epochs without a better validation score. Unless given, all epochs are trained."""
    seed: int = 0
    """Seed of the initial weights, the order of images and the augmentation."""
    precision: str = "auto"
    """auto, fp32, bf16 or fp16. auto is bf16 where that is faster (CUDA, a CPU with AVX512_BF16 or AMX), else fp32."""
    compile: bool = False
    """Compile the network with torch.compile: pays on long runs (docs/PERFORMANCE.md)."""
    quantization_aware: bool = False
    """Compute with weights and activations rounded as an int8 graph rounds them, so that the network learns to bear
    it: for a few epochs at a low learning rate, from --init."""
    flip: bool | None = None
    """Mirror half of the images. Unless given: on, and off for digits (a mirrored digit is another one)."""
    alternate_flip: bool = True
    """Mirror each image in every other epoch, rather than by chance."""
    shift: float = 0.125
    """Largest random shift, as a share of the image's height and width."""
    rotate: float = 5.0
    """Largest random rotation, in degrees."""
    colour: float = 0.1
    """Largest random change of brightness, contrast and saturation, as a share."""
    cutout: float = 0.0
    """Side of a grey square laid over each image at random, as a share of the image's side."""
    mixup: float = 0.0
    """Alpha of mixup: images and their labels are blended in pairs. 0 is off."""
    cutmix: float = 0.0
    """Alpha of cutmix: a rectangle of another image is pasted in, labels in proportion. 0 is off."""
    grow_from: float = 1.0
    """Share of its side that images have in the first epoch. Smaller ones are faster, and lose little early on."""
    grow_until: float = 0.6
    """Share of the epochs during which images grow to their full size, when --grow-from is below 1."""
    checkpoint_epochs: int = 1
    """Write a checkpoint after every so many epochs, and after the last."""
    checkpoint_minutes: float = 5.0
    """Write one within an epoch too when the last is older than this many minutes."""

    def __post_init__(self) -> None:
        require(self.epochs is None or self.epochs >= 1, f"--epochs must be at least 1, not {self.epochs}")
        require(
            self.batch_size in (None, AUTO) or (isinstance(self.batch_size, int) and self.batch_size >= 2),
            f"--batch-size must be at least 2, or auto, not {self.batch_size}",
        )
        require(
            self.optimizer in DEFAULT_LR, f"--optimizer must be one of {', '.join(DEFAULT_LR)}, not {self.optimizer!r}"
        )
        require(self.lr is None or 0 < self.lr < math.inf, f"--lr must be a number above 0, not {self.lr}")
        require(0 <= self.momentum < 1, f"--momentum must be in [0, 1), not {self.momentum}")
        require(0 <= self.weight_decay < math.inf, f"--weight-decay must not be negative, it is {self.weight_decay}")
        require(self.schedule in SCHEDULES, f"--schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        require(0 <= self.warmup < 1, f"--warmup must be in [0, 1), not {self.warmup}")
        require(self.plateau_patience >= 1, f"--plateau-patience must be at least 1, not {self.plateau_patience}")
        require(0 <= self.label_smoothing < 1, f"--label-smoothing must be in [0, 1), not {self.label_smoothing}")
        require(self.dropout is None or 0 <= self.dropout < 1, f"--dropout must be in [0, 1), not {self.dropout}")
        require(self.accumulate >= 1, f"--accumulate must be at least 1, not {self.accumulate}")
        require(self.clip is None or 0 < self.clip < math.inf, f"--clip must be a number above 0, not {self.clip}")
        require(self.ema is None or 0 < self.ema < 1, f"--ema must be between 0 and 1, not {self.ema}")
        require(self.patience is None or self.patience >= 1, f"--patience must be at least 1, not {self.patience}")
        require(0 <= self.seed < 2**32, f"--seed must be from 0 to {2**32 - 1}, not {self.seed}")
        require(self.precision in PRECISIONS, f"--precision must be one of {', '.join(PRECISIONS)}")
        require(0 <= self.shift < 1, f"--shift must be in [0, 1), not {self.shift}")
        require(0 <= self.rotate <= 180, f"--rotate must be in [0, 180], not {self.rotate}")
        require(0 <= self.colour < 1, f"--colour must be in [0, 1), not {self.colour}")
        require(0 <= self.cutout < 1, f"--cutout must be in [0, 1), not {self.cutout}")
        require(0 <= self.mixup < math.inf, f"--mixup must not be negative, it is {self.mixup}")
        require(0 <= self.cutmix < math.inf, f"--cutmix must not be negative, it is {self.cutmix}")
        require(not (self.mixup and self.cutmix), "--mixup and --cutmix exclude each other")
        require(0 < self.grow_from <= 1, f"--grow-from must be above 0 and at most 1, not {self.grow_from}")
        require(0 < self.grow_until <= 1, f"--grow-until must be above 0 and at most 1, not {self.grow_until}")
        require(self.checkpoint_epochs >= 1, f"--checkpoint-epochs must be at least 1, not {self.checkpoint_epochs}")
        require(
            0 < self.checkpoint_minutes < math.inf,
            f"--checkpoint-minutes must be a number above 0, not {self.checkpoint_minutes}",
        )

    @property
    def peak_lr(self) -> float:
        """The learning rate given, or the optimizer's own."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr
