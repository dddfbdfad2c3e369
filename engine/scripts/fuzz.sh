#!/usr/bin/env bash
# Builds the fuzzers with Clang and runs each for so many seconds: engine/scripts/fuzz.sh [SECONDS]
#
# They start from images and requests of every kind, and keep what they find new in build/engine-fuzz/corpus. What makes
# one of them stop is written to build/engine-fuzz, and ends this with an error.
# PYTHON and ONNXRUNTIME_ROOT: see configure.sh. JOBS is how many compilers run at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
engine/scripts/packages.sh clang libclang-rt-dev
build=$(engine/scripts/configure.sh fuzz)
cmake --build "$build" --parallel "${JOBS:-$(nproc)}" --target fuzz-image fuzz-request -- --no-print-directory --quiet

"${PYTHON:-.venv/bin/python}" -m tests.engine.fuzz_seeds "$build/seeds"
export MANTA_FUZZ_MODEL=$build/seeds/golden/bundles/colours
# ONNX Runtime and OpenCV are not instrumented, and keep what they allocated until the end.
export ASAN_OPTIONS=detect_leaks=0
for name in image request; do
  mkdir -p "$build/corpus/$name"
  echo "fuzz-$name for $seconds s"
  "$build/bin/fuzz-$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="$build/fuzz-$name-" "$build/corpus/$name" "$build/seeds/$name" > "$build/fuzz-$name.log" 2>&1 ||
    { tail -n 40 "$build/fuzz-$name.log" >&2; exit 1; }
  grep -E '^stat::|^Done|cov:' "$build/fuzz-$name.log" | tail -n 7
done
