#!/bin/sh
# dpkg says "configure" and which version was configured before, if any; rpm says how many versions
# there are now. A new installation starts nothing: a node needs its settings first. An upgrade
# restarts what runs.
set -e

case "${1-}" in
configure) upgrade=${2-} ;;
1 | abort-*) upgrade= ;;
*) upgrade=yes ;;
esac

[ -d "${DPKG_ROOT-}/run/systemd/system" ] || exit 0
systemctl daemon-reload
[ -n "$upgrade" ] || exit 0
systemctl try-restart wgfleet.service ||
    echo "wgfleet: the new version does not start: see journalctl -u wgfleet" >&2
