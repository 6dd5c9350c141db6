package panel

import (
	"context"
	"fmt"
	"strings"
)

// ClientConfig prints the peer's own side as a wg-quick(8) file. Where the node's public key was
// never seen, the node is asked. Of a node without an endpoint the file has none either, and says so.
func (s *Service) ClientConfig(ctx context.Context, nodeID, peerID string) (string, error) {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return "", err
	}
	p, err := st.peer(peerID)
	if err != nil {
		return "", err
	}
	if p.PrivateKey.IsZero() {
		return "", ErrNoPrivateKey
	}
	n := st.node
	if n.publicKey() == "" || n.Endpoint != "" && n.dialed() == "" {
		if n, err = s.askInterface(ctx, n); err != nil {
			return "", err
		}
	}
	switch {
	case n.publicKey() == "":
		return "", conflictf("the public key of the node's interface is not known yet: bring the interface up and try again")
	case n.Endpoint != "" && n.dialed() == "":
		return "", conflictf("the node's listen port is not known: give the endpoint as host:port")
	}
	return clientFile(n, *p), nil
}

// askInterface reads the node's interface and returns the node with what that showed.
func (s *Service) askInterface(ctx context.Context, n Node) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
	defer cancel()
	a, err := s.reach(n)
	if err != nil {
		return n, err
	}
	sum, err := s.summary(ctx, n, a, "")
	if err != nil {
		return n, err
	}
	if err := s.learn(ctx, n, a, &sum); err != nil {
		return n, err
	}
	n.SeenPublicKey, n.SeenListenPort = sum.PublicKey, sum.ListenPort
	return n, nil
}

// clientFile prints what wg-quick(8) reads. It holds the peer's private key.
func clientFile(n Node, p Peer) string {
	e := effective(n, p)
	var b strings.Builder
	line := func(key string, value any) {
		if text := fmt.Sprint(value); text != "" {
			b.WriteString(key + " = " + text + "\n")
		}
	}
	b.WriteString("[Interface]\n")
	line("PrivateKey", p.PrivateKey.Reveal())
	addresses := make([]string, len(p.AllowedIPs))
	for i, ip := range p.AllowedIPs {
		addresses[i] = ip.String()
	}
	line("Address", strings.Join(addresses, ", "))
	line("DNS", e.DNS)
	line("MTU", e.MTU)
	b.WriteString("\n[Peer]\n")
	line("PublicKey", n.publicKey())
	if !p.PresharedKey.IsZero() {
		line("PresharedKey", p.PresharedKey.Reveal())
	}
	line("AllowedIPs", e.EndpointAllowedIP)
	if e.Endpoint == "" {
		b.WriteString("# Endpoint is missing: give the node the host that clients dial, then fetch this file again.\n")
	}
	line("Endpoint", e.Endpoint)
	if e.Keepalive > 0 {
		line("PersistentKeepalive", e.Keepalive)
	}
	return b.String()
}
