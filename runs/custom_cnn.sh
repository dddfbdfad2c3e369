#!/usr/bin/env bash
# The default network, 50 k parameters. Aim: 82 %.
#
# RESULT
set -euo pipefail
manta train --data "${1:-cifar10}" --model custom_cnn --workers 1 --seed "${2:-0}" --tta \
  --epochs 24 --batch-size 128 --lr 0.01 --schedule one_cycle --dropout 0.1 --shift 0.0625 --rotate 0 --colour 0 \
  --grow-from 0.75 --grow-until 0.5
