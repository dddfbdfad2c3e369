#!/usr/bin/env bash
# At most 0.27 M parameters. Aim: 89 %.
#
# RESULT
set -euo pipefail
manta train --data "${1:-cifar10}" --recipe standard --model airbench_tiny --workers 1 --seed "${2:-0}" --tta \
  --epochs 16
