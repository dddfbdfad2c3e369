#!/usr/bin/env bash
# Checks the form of all C++ code with clang-format, and looks for mistakes with clang-tidy: engine/scripts/tidy.sh
#
#   engine/scripts/tidy.sh          check
#   engine/scripts/tidy.sh --fix    format in place, and no more
#
# Nothing is compiled: clang-tidy reads the compile commands of the preset `tidy`. JOBS is how many run at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

engine/scripts/packages.sh clang clang-format clang-tidy
mapfile -t files < <(find engine \( -name '*.cpp' -o -name '*.hpp' \) -print | sort)
if [ "${1:-}" = --fix ]; then
  clang-format -i "${files[@]}"
  exit 0
fi
clang-format --dry-run -Werror "${files[@]}"
build=$(engine/scripts/configure.sh tidy)
run-clang-tidy -quiet -p "$build" -j "${JOBS:-$(nproc)}" "/engine/(src|program|cli|server|load|fuzz|tests)/" 2> "$build/tidy.log" ||
  { cat "$build/tidy.log" >&2; exit 1; }
