#!/bin/sh
# dpkg says "remove", and "upgrade" where a version follows; rpm says how many versions are left.
set -e

case "${1-}" in
remove | 0) ;;
*) exit 0 ;;
esac

[ -d "${DPKG_ROOT-}/run/systemd/system" ] || exit 0
for unit in @UNITS@; do
    # One of the administrator's that runs another wgfleet, such as /usr/local/bin/wgfleet, is not ours to stop.
    own="${DPKG_ROOT-}/etc/systemd/system/$unit"
    if [ -f "$own" ] && ! grep -q /usr/bin/wgfleet "$own"; then
        continue
    fi
    systemctl disable --now "$unit" || echo "wgfleet: $unit was not stopped" >&2
done
