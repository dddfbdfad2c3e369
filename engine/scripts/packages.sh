#!/usr/bin/env bash
# The system packages that the engine is built with: installed by root, named to others (who then end with 1).
#
#   engine/scripts/packages.sh [PACKAGE ...]  install what is missing, of these too
#   engine/scripts/packages.sh --missing      only name it
set -euo pipefail

PACKAGES=(
  cmake g++ make libboost-dev libgtest-dev libopencv-dev libsimdjson-dev libssl-dev rapidjson-dev zlib1g-dev
)

only_name=
if [ "${1:-}" = --missing ]; then
  only_name=1
  shift
fi
missing=()
for package in "${PACKAGES[@]}" "$@"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
if [ -n "$only_name" ]; then
  echo "${missing[*]}"
elif [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
    echo "error: the engine needs these packages; install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" > /dev/null
fi
