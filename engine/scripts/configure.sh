#!/usr/bin/env bash
# Configures a build of the engine, and prints its folder: engine/scripts/configure.sh PRESET
#
# PRESET is one of CMakePresets.json.
# PYTHON is the environment whose onnxruntime the engine is linked to, and compared with. ONNXRUNTIME_ROOT names an
# official release to link to instead.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
preset=$1

options=("-DPython3_EXECUTABLE=$(realpath --no-symlinks "$PYTHON")")
# What an earlier call found must not stand against what this one asks for.
options+=(-UONNXRUNTIME_ROOT -UONNXRUNTIME_INCLUDE_DIR -UONNXRUNTIME_LIBRARY -UONNXRUNTIME_HEADERS)
if [ -n "${ONNXRUNTIME_ROOT:-}" ]; then
  options+=("-DONNXRUNTIME_ROOT=$ONNXRUNTIME_ROOT")
else
  headers=/usr
  if [ ! -e /usr/include/onnxruntime/onnxruntime_cxx_api.h ]; then
    headers=$PWD/build/onnxruntime-headers
    engine/scripts/onnxruntime_headers.sh "$headers" >&2
  fi
  package=$("$PYTHON" -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("onnxruntime").origin).parent)')
  libraries=("$package"/capi/libonnxruntime.so.1.*)
  options+=("-DONNXRUNTIME_INCLUDE_DIR=$headers" "-DONNXRUNTIME_LIBRARY=${libraries[0]}")
fi

build=build/engine
[ "$preset" = release ] || build=build/engine-$preset
mkdir -p "$build"
(cd engine && cmake --preset "$preset" "${options[@]}") > "$build/configure.log" || { cat "$build/configure.log" >&2; exit 1; }
echo "$build"
