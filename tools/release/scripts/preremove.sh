#!/bin/sh
# dpkg says "remove", and "upgrade" where a version follows; rpm says how many versions are left.
set -e

case "${1-}" in
remove | 0) ;;
*) exit 0 ;;
esac

[ -d "${DPKG_ROOT-}/run/systemd/system" ] || exit 0
for unit in @UNITS@; do
    systemctl disable --now "$unit" || echo "wgfleet: $unit was not stopped" >&2
done
