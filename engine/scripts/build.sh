#!/usr/bin/env bash
# Builds and tests the engine: engine/scripts/build.sh [--if-ready] [PRESET]
#
# PRESET is one of CMakePresets.json (release). Packages that are missing are installed first, see packages.sh; with
# --if-ready nothing is installed, and a build for want of them is skipped.
# PYTHON is the environment whose onnxruntime the engine is linked to, and compared with. ONNXRUNTIME_ROOT names an
# official release to link to instead. JOBS is how many compilers run at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
JOBS=${JOBS:-$(nproc)}

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
preset=${1:-release}

options=("-DPython3_EXECUTABLE=$(realpath --no-symlinks "$PYTHON")")
if [ -n "${ONNXRUNTIME_ROOT:-}" ]; then
  options+=("-DONNXRUNTIME_ROOT=$ONNXRUNTIME_ROOT")
else
  headers=/usr
  if [ ! -e /usr/include/onnxruntime/onnxruntime_cxx_api.h ]; then
    headers=$PWD/build/onnxruntime-headers
    engine/scripts/onnxruntime_headers.sh "$headers"
  fi
  package=$("$PYTHON" -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("onnxruntime").origin).parent)')
  libraries=("$package"/capi/libonnxruntime.so.1.*)
  options+=("-DONNXRUNTIME_INCLUDE_DIR=$headers" "-DONNXRUNTIME_LIBRARY=${libraries[0]}")
fi

build=build/engine
[ "$preset" = release ] || build=build/engine-$preset
mkdir -p "$build"
(cd engine && cmake --preset "$preset" "${options[@]}") > "$build/configure.log" || { cat "$build/configure.log"; exit 1; }
cmake --build "$build" --parallel "$JOBS" -- --no-print-directory --quiet
ctest --test-dir "$build" --output-on-failure
