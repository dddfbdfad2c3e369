#!/usr/bin/env bash
# Unpacks the headers of ONNX Runtime's C API from Debian's own package: engine/scripts/onnxruntime_headers.sh FOLDER
#
# Debian 13 has the package, Debian 12 does not. It comes from the mirror that this machine is set up with, through an
# apt state of its own, so that nothing of the machine's apt changes. The C API is stable: these headers go with the
# newer library of the Python wheel.
set -euo pipefail

PACKAGE=libonnxruntime-dev
VERSION='1.21.0*'
RELEASE=trixie

folder=$1
[ -e "$folder/.complete" ] && exit 0

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
  grep -v security | head -n 1)
if [ -z "$mirror" ]; then
  echo "error: apt knows no Debian mirror (run apt-get update); or give -DONNXRUNTIME_ROOT=<an unpacked release>" >&2
  exit 1
fi
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/archives/partial"
touch "$state/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $RELEASE main" > "$state/sources.list"
private=(
  -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status"
  -o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives"
  -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
  -o "APT::Sandbox::User=$(id -un)" -o Acquire::Languages=none
)
apt-get -qq "${private[@]}" update
(cd "$state" && apt-get -qq "${private[@]}" download "$PACKAGE=$VERSION")
rm -rf "$folder"
mkdir -p "$folder"
dpkg-deb -x "$state"/"$PACKAGE"_*.deb "$folder"
touch "$folder/.complete"
