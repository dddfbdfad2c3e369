#!/usr/bin/env bash
# The CIFAR-10 network of runs/standard.sh, sixteen times smaller: pruned to half of its channels, which learn from the
# whole network's answers in 8 epochs, then int8.
#
# 7,899,861 -> 523,206 bytes (93.4 % less), test accuracy 87.90 -> 86.88 % (98.8 % of it), a quarter of the parameters,
# 0.56 ms an image on one thread. Pruned and in fp32: 1,996,186 bytes, 87.10 %, 0.89 ms. Two cores of an AMD EPYC (Zen 3,
# AVX2, no VNNI), no GPU; 10 min 49 s of training, as CPU time of the worker divided by two, because other work ran
# beside it, after the teacher had been asked once. Both side by side: docs/PERFORMANCE.md.
#
#     runs/compress.sh VERSION [DATA]    VERSION: name/3, of an airbench trained by runs/standard.sh; DATA: its data
set -euo pipefail

version_of() { python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])'; }

original="${1:?which version? runs/standard.sh trains one}"
data="${2:-cifar10}"
pruned="$(manta prune "$original" --data "$data" --remove 0.5 --steps 1 \
    --recipe standard --epochs 8 --grow-from 0.75 --grow-until 0.5 --shift 0 --workers 1 --json | version_of)"
small="$(manta convert "$pruned" --variants int8 --json | version_of)"
manta compare "$original" "$small"
