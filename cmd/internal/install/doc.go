// Package install sets wgfleet up under systemd on this host, and takes it away again.
//
// It owns the program at its place, the units, what is in /etc/wgfleet, and a record of what it wrote there. It refuses
// to overwrite what it did not write and to remove what somebody has changed since; a unit that a package brought is
// left alone. The data folder, the secret and /etc/wireguard outlive it. What to do is decided before anything is done: a
// Plan can be shown. Run again, it brings a newer program and its units; the interfaces of the kernel stay up.
//
// Errors are one sentence that says what to do. A Plan is not safe for concurrent use.
package install
