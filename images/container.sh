#!/bin/sh
# What runs in a container of a registry's image to make a runner image of it.
#   container.sh PACKAGE...
# The directory of this file holds finish.sh and its inputs, and excludes.txt for dpkg.
set -eu
umask 022
inputs=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive
command -v apt-get >/dev/null || {
    echo "there is no apt-get in this image; take one of Debian or of its kin" >&2
    exit 1
}
cp "$inputs/excludes.txt" /etc/dpkg/dpkg.cfg.d/opencode-fsm
# Mirrors may speak https; the host's certificates serve until the image has its own.
mkdir -p /etc/ssl/certs
cp "$inputs/ca-certificates.crt" /etc/ssl/certs/ca-certificates.crt
apt-get -q update
apt-get -q -y --no-install-recommends install "$@"
sh "$inputs/finish.sh" / "$inputs"
rm -rf "$inputs"
