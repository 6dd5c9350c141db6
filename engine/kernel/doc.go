// Package kernel drives WireGuard interfaces of the host through wgctrl: links of the kernel's own
// WireGuard, and devices of other processes behind a UAPI socket in /var/run/wireguard.
//
// It owns what it creates. What it attaches to is used as it is: others can write to it at any time,
// so no device of this package is engine.Owned and each decision starts from a fresh Observe. A
// kernel dump of many messages may be torn when somebody writes during it, which wgctrl does not
// report; engine.Apply reads back what it wrote, and removals are decided on two equal reads.
//
// Units are those of engine. Backend and Device are safe for concurrent use. Errors are those of
// engine, wrapped with the interface's name.
package kernel
