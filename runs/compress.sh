#!/usr/bin/env bash
# The CIFAR-10 network of runs/standard.sh, sixteen times smaller: pruned to half of its channels, which learn from the
# whole network's answers in 8 epochs, then int8.
#
# 7.9 MB -> 982 kB (87.6 % less), test accuracy 88.20 -> 86.92 % (98.5 % of it), a quarter of the parameters, 2.99 -> 0.44
# ms an image on one thread (6.8 times faster). 22 minutes by the clock, beside other work, the teacher's 45,000 answers
# included; two cores of an AMD EPYC (AVX512, VNNI), no GPU, one run of this script as a whole. An earlier run of its
# commands on AVX2 without VNNI: 523,206 bytes (93.4 % less), 87.90 -> 86.88 % (98.8 %), 4.06 -> 0.86 ms.
# Both side by side: docs/PERFORMANCE.md.
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
