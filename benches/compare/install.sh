#!/usr/bin/env bash
# Fetches the programs that cefline is compared with and that Debian or PyPI have, into target/peers:
# unpacked, not installed, since the packages exclude each other and would run as services.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p target/peers
unpack() {
    local place=$PWD/target/peers/$1 folder
    shift
    # the libraries that they need, from the packages' own words
    local libraries
    mapfile -t libraries < <(apt-cache depends "$@" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p' | sort -u)
    apt-get install -qy --no-install-recommends --no-upgrade "${libraries[@]}"
    folder=$(mktemp -d)
    (cd "$folder" && apt-get download -q "$@" && for package in *.deb; do dpkg -x "$package" "$place"; done)
    rm -rf "$folder"
}
apt-get update -q
unpack rsyslog rsyslog rsyslog-elasticsearch
unpack syslog-ng syslog-ng-core syslog-ng-mod-http
python3 -m venv target/peers/tenzir && target/peers/tenzir/bin/pip install -q tenzir ||
    echo "Tenzir cannot be had from PyPI here: it will be left out"
