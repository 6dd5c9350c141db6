package panel

import (
	"context"
	"strconv"
	"strings"
)

// ClientFile is a peer's own side as a wg-quick(8) file. It holds the peer's private key.
type ClientFile struct {
	Text string

	nodeID, peerID string
	sum            string // of what it holds
}

// ClientConfig prints the peer's own side as a wg-quick(8) file. Where the node's public key was
// never seen, the node is asked. Of a node without an endpoint the file has none either, and says so.
// Who hands the file out says so with ClientConfigFetched.
func (s *Service) ClientConfig(ctx context.Context, nodeID, peerID string) (ClientFile, error) {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return ClientFile{}, err
	}
	p, err := st.peer(peerID)
	if err != nil {
		return ClientFile{}, err
	}
	if p.PrivateKey.IsZero() {
		return ClientFile{}, ErrNoPrivateKey
	}
	n := st.node
	if n.fileProblem() != nil {
		if n, err = s.askInterface(ctx, n); err != nil {
			return ClientFile{}, err
		}
	}
	if err := n.fileProblem(); err != nil {
		return ClientFile{}, err
	}
	sum, _ := sumOfFile(n, *p)
	return ClientFile{Text: clientFile(n, *p), nodeID: nodeID, peerID: peerID, sum: sum}, nil
}

// fileProblem says what is not known of the node that its clients' files need.
func (n Node) fileProblem() error {
	switch {
	case n.publicKey() == "":
		return conflictf("the public key of the node's interface is not known yet: bring the interface up and try again")
	case n.Endpoint != "" && n.dialed() == "":
		return conflictf("the node's listen port is not known: give the endpoint as host:port")
	}
	return nil
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

// clientSetting is one line of a client's file.
type clientSetting struct{ section, key, value string }

// clientSettings are all lines of a client's file but that with its private key. An empty value is no line.
func clientSettings(n Node, p Peer) []clientSetting {
	e := effective(n, p)
	addresses := make([]string, len(p.AllowedIPs))
	for i, ip := range p.AllowedIPs {
		addresses[i] = ip.String()
	}
	psk, keepalive := "", ""
	if !p.PresharedKey.IsZero() {
		psk = p.PresharedKey.Reveal().String()
	}
	if e.Keepalive > 0 {
		keepalive = strconv.Itoa(e.Keepalive)
	}
	const own, node = "Interface", "Peer"
	return []clientSetting{
		{own, "Address", strings.Join(addresses, ", ")},
		{own, "DNS", e.DNS},
		{own, "MTU", strconv.Itoa(e.MTU)},
		{node, "PublicKey", n.publicKey()},
		{node, "PresharedKey", psk},
		{node, "AllowedIPs", e.EndpointAllowedIP},
		{node, "Endpoint", e.Endpoint},
		{node, "PersistentKeepalive", keepalive},
	}
}

// clientFile prints what wg-quick(8) reads. It holds the peer's private key.
func clientFile(n Node, p Peer) string {
	var b strings.Builder
	b.WriteString("[Interface]\nPrivateKey = " + p.PrivateKey.Reveal().String() + "\n")
	section := "Interface"
	for _, s := range clientSettings(n, p) {
		if s.section != section {
			section = s.section
			b.WriteString("\n[" + section + "]\n")
		}
		switch {
		case s.value != "":
			b.WriteString(s.key + " = " + s.value + "\n")
		case s.key == "Endpoint":
			b.WriteString("# Endpoint is missing: give the node the host that clients dial, then fetch this file again.\n")
		}
	}
	return b.String()
}
