#!/usr/bin/env bash
# Builds and tests the engine: engine/scripts/build.sh [--if-ready] [PRESET]
#
# PRESET is one of CMakePresets.json (release). Packages that are missing are installed by root, and named to others;
# with --if-ready nothing is installed, and a build that cannot be made is skipped.
# PYTHON is the environment whose onnxruntime the engine is linked to and compared with.
set -euo pipefail
cd "$(dirname "$0")/../.."

PACKAGES=(
  cmake g++ make libboost-dev libgtest-dev libopencv-dev libsimdjson-dev libssl-dev libturbojpeg0-dev rapidjson-dev
  zlib1g-dev
)
PYTHON=${PYTHON:-.venv/bin/python}
JOBS=${JOBS:-$(nproc)}

if_ready=false
if [ "${1:-}" = --if-ready ]; then
  if_ready=true
  shift
fi
preset=${1:-release}

missing=()
for package in "${PACKAGES[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if $if_ready; then
    echo "engine: SKIPPED, not built and not tested, for want of: ${missing[*]} (\`make engine\` installs them)"
    exit 0
  elif ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
    echo "error: the engine needs these packages; install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" > /dev/null
fi

options=()
if [ -n "${ONNXRUNTIME_ROOT:-}" ]; then
  options+=("-DONNXRUNTIME_ROOT=$ONNXRUNTIME_ROOT")
else
  headers=/usr
  if [ ! -d /usr/include/onnxruntime ]; then
    headers=$PWD/build/onnxruntime-headers
    engine/scripts/onnxruntime_headers.sh "$headers"
  fi
  folder=$("$PYTHON" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("onnxruntime").origin).parent)')
  libraries=("$folder"/capi/libonnxruntime.so.1.*)
  options+=("-DONNXRUNTIME_INCLUDE_DIR=$headers" "-DONNXRUNTIME_LIBRARY=${libraries[0]}")
fi

build=build/engine
[ "$preset" = release ] || build=build/engine-$preset
(cd engine && cmake --preset "$preset" -DPython3_EXECUTABLE="$(realpath -s "../$PYTHON" 2> /dev/null || echo "$PYTHON")" "${options[@]}" > /dev/null)
cmake --build "$build" --parallel "$JOBS"
ctest --test-dir "$build" --output-on-failure
