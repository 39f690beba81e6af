#!/bin/sh
# What is done to a root file system once its packages are in.
#   finish.sh ROOT INPUTS
# ROOT is a directory (mmdebstrap) or / (a container). INPUTS holds ca-certificates.crt, and
# npm.tgz where the image has node. Nothing here depends on the time, the host or the network.
set -eu
umask 022
root=${1%/}
inputs=$2

# npm, as its registry publishes it.
npm=$root/usr/local/lib/node_modules/npm
if [ -e "$inputs/npm.tgz" ]; then
    rm -rf "$npm"
    mkdir -p "$npm" "$root/usr/local/bin"
    tar -xzf "$inputs/npm.tgz" -C "$npm" --strip-components=1 --no-same-owner \
        --exclude=package/docs --exclude=package/man
    ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
    ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
fi

# The certificates that the host trusts, and the name by which OpenSSL looks for them unasked.
mkdir -p "$root/etc/ssl/certs" "$root/usr/lib/ssl"
cp "$inputs/ca-certificates.crt" "$root/etc/ssl/certs/ca-certificates.crt"
chmod 644 "$root/etc/ssl/certs/ca-certificates.crt"
ln -sf /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"

# A name for the usual user; containers run under other numbers, too.
grep -q '^agent:' "$root/etc/passwd" || {
    echo 'agent:x:10001:10001:agent:/home/agent:/bin/bash' >>"$root/etc/passwd"
    echo 'agent:x:10001:' >>"$root/etc/group"
}
mkdir -p "$root/workspace" "$root/home/agent"
chown 10001:10001 "$root/workspace" "$root/home/agent"
chmod 755 "$root/workspace" "$root/home/agent"

# No program raises anybody's rights.
for dir in bin sbin lib usr opt; do
    [ ! -d "$root/$dir" ] || find "$root/$dir/" -xdev -type f -perm /6000 -exec chmod a-s {} +
done

# What is in it: name, version, architecture.
mkdir -p "$root/usr/share/opencode-fsm"
{
    dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version} ${Architecture}\n'
    [ ! -e "$inputs/npm.tgz" ] || sed -n 's/^  "version": "\([^"]*\)",*$/npm \1 all/p' "$npm/package.json"
} | LC_ALL=C sort >"$root/usr/share/opencode-fsm/packages.txt"

# Nothing of the host: neither its mirrors, its proxies nor its name; no caches, no logs.
rm -f "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d/"* "$root/etc/apt/apt.conf.d/99mmdebstrap"
rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/var/cache/ldconfig" "$root/var/cache/debconf"
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
find "$root/var/log" -type f -exec rm -f {} +
# A container's engine holds these three itself.
if [ -n "$root" ]; then
    rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
    echo '127.0.0.1 localhost' >"$root/etc/hosts"
fi
