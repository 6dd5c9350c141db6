#!/bin/sh
# A purge too leaves /etc/wireguard, /etc/wgfleet and /var/lib/wgfleet: keys that nobody else has.
set -e

if [ "${1-}" = purge ]; then
    for dir in /etc/wgfleet /var/lib/wgfleet; do
        [ ! -d "${DPKG_ROOT-}$dir" ] || echo "wgfleet: $dir is kept: it may hold the keys of a fleet"
    done
fi

[ -d "${DPKG_ROOT-}/run/systemd/system" ] || exit 0
systemctl daemon-reload
