#!/usr/bin/env bash
# Builds and tests the engine: engine/scripts/build.sh [--if-ready] [PRESET]
#
# PRESET is one of CMakePresets.json (release). Packages that are missing are installed first, see packages.sh; with
# --if-ready nothing is installed, and a build for want of them is skipped.
# PYTHON and ONNXRUNTIME_ROOT: see configure.sh. JOBS is how many compilers run at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --if-ready ]; then
  shift
  missing=$(engine/scripts/packages.sh --missing)
  if [ -n "$missing" ]; then
    echo "engine: SKIPPED, not built and not tested, for want of these packages: $missing (\`make engine\` installs them)"
    exit 0
  fi
else
  engine/scripts/packages.sh
fi

build=$(engine/scripts/configure.sh "${1:-release}")
cmake --build "$build" --parallel "${JOBS:-$(nproc)}" -- --no-print-directory --quiet
ctest --test-dir "$build" --output-on-failure
