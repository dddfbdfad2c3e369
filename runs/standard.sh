#!/usr/bin/env bash
# CIFAR-10 in 25 minutes on two CPU cores: airbench, 6 epochs, at 20, 24, 28 and then 32 pixels.
#
# 87.9 % test accuracy without test-time augmentation (one seed; aim 88 %), 89.3 % with it. Two cores of an AMD EPYC
# (Zen 3, AVX2), no GPU: 22 min 3 s of training, as CPU time of the worker divided by two, because other work ran beside
# it. In mid-run a worker was lost and the driver was terminated; `manta train --resume` went on.
# Data: CIFAR-10 as JPEG of quality 75, 45,000 training and 5,000 test images.
#
#     runs/standard.sh [DATA [SEED]]     DATA: cifar10 (downloaded), or a folder or zip of class folders
set -euo pipefail
manta train --data "${1:-cifar10}" --recipe standard --workers 1 --seed "${2:-0}" --tta
