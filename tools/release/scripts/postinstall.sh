#!/bin/sh
# dpkg says "configure" and which version was configured before, if any; rpm says how many versions
# there are now. A new installation starts nothing: a node needs its secret first. An upgrade
# restarts what runs; requests wait in its sockets.
set -e

case "${1-}" in
configure) upgrade=${2-} ;;
1 | abort-*) upgrade= ;;
*) upgrade=yes ;;
esac

[ -d "${DPKG_ROOT-}/run/systemd/system" ] || exit 0
systemctl daemon-reload
if [ -z "$upgrade" ]; then
    case "${1-}" in abort-*) ;; *) echo "wgfleet: nothing was started: \`wgfleet install\` sets this host up" ;; esac
    exit 0
fi
systemctl try-restart wgfleet.service ||
    echo "wgfleet: the new version does not start: see journalctl -u wgfleet" >&2
