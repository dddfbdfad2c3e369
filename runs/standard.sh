#!/usr/bin/env bash
# CIFAR-10 in 25 minutes on two CPU cores: airbench, 6 epochs, at 20, 24, 28 and then 32 pixels.
#
# 88.2 % test accuracy without test-time augmentation (seed 0; aim 88 %), 89.0 % with it. Two cores of an AMD EPYC
# (AVX512), no GPU: 18 min 50 s of training, as CPU time of the worker divided by two, because other work ran beside it.
# An earlier run of the same seed on AVX2 (its arithmetic rounds otherwise): 87.9 and 89.3 %, 22 min 3 s; in mid-run a
# worker was lost and the driver was terminated, and `manta train --resume` went on.
# Data: CIFAR-10 as JPEG of quality 75, 45,000 training and 5,000 test images.
#
#     runs/standard.sh [DATA [SEED]]     DATA: cifar10 (downloaded), or a folder or zip of class folders
set -euo pipefail
manta train --data "${1:-cifar10}" --recipe standard --workers 1 --seed "${2:-0}" --tta
