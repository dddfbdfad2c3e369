#!/usr/bin/env bash
# MEASURED
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
