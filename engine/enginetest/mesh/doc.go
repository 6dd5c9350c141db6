// Package mesh makes WireGuard clients inside this process, out of upstream's wireguard-go and its
// netstack alone: the side of a tunnel that the engine did not write. Tests and the demo send real
// packets with it.
//
// It refuses to share code with the backends that it checks. A Client is safe for concurrent use.
package mesh
