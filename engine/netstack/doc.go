// Package netstack is the network of a WireGuard device that needs no privileges: a tun.Device for wireguard-go on gVisor's
// TCP/IP stack inside this process. Packets move in batches both ways; what the stack sends in pieces of up to 64 KiB is
// cut into segments as they are read, and TCP segments that arrive together are joined before the stack sees them.
//
// It owns the stack, its one NIC and the packets that wait to be read. It refuses packets that are no whole IP packets, and
// never joins a segment whose checksum is wrong: the stack checks what it gets, as a host does. A full queue drops
// the newest packet and counts it; nothing blocks but Read.
//
// Units: bytes. A Device is safe for concurrent use: Write runs in a goroutine per peer, Read in one. After Close,
// Read and Write return os.ErrClosed and Send reports false; Close waits for the stack to end.
package netstack
