package main

import (
	"net/http"
	"net/netip"

	"github.com/wgfleet/wgfleet/cmd/internal/fleet"
	"github.com/wgfleet/wgfleet/engine"
)

// misbehave changes the nodes as somebody with wg(8) on each host would: every kind of drift.
func (d *demo) misbehave() error {
	d.title("Somebody changes the nodes behind the panel's back")
	berlin, lisbon, tokyo := d.fleet.Nodes[0], d.fleet.Nodes[1], d.fleet.Nodes[2]
	if err := d.wishPort(tokyo); err != nil {
		return err
	}
	for _, change := range []func() error{
		func() error { return d.addStranger(berlin, "10.8.0.200/32") },
		func() error { return d.removePeer(lisbon, d.clients[1]) },
		func() error { return d.changePeer(tokyo, d.clients[2], "10.8.2.77/32") },
		func() error { return d.movePort(tokyo) },
		// All at once on one node.
		func() error { return d.removePeer(berlin, d.clients[3]) },
		func() error { return d.changePeer(berlin, d.clients[6], "10.8.0.66/32") },
	} {
		if err := change(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) addStranger(n *fleet.Node, prefix string) error {
	private, err := engine.GeneratePrivateKey()
	if err != nil {
		return err
	}
	d.say("%-8s a peer that nobody knows, on %s", n.Name, prefix)
	return n.Change(d.ctx, engine.Changes{Peers: []engine.PeerChange{{After: &engine.Peer{
		PublicKey: private.PublicKey(), AllowedIPs: []netip.Prefix{netip.MustParsePrefix(prefix)},
	}}}})
}

func (d *demo) removePeer(n *fleet.Node, c *fleet.Client) error {
	d.say("%-8s %s is removed", n.Name, c.Peer.Name)
	return n.Change(d.ctx, engine.Changes{Peers: []engine.PeerChange{{Before: &engine.Peer{PublicKey: c.Key()}}}})
}

func (d *demo) changePeer(n *fleet.Node, c *fleet.Client, prefix string) error {
	d.say("%-8s %s gets another address, another keepalive and no preshared key", n.Name, c.Peer.Name)
	return n.Change(d.ctx, engine.Changes{Peers: []engine.PeerChange{{After: &engine.Peer{
		PublicKey: c.Key(), AllowedIPs: []netip.Prefix{netip.MustParsePrefix(prefix)}, PersistentKeepalive: 120,
	}}}})
}

// wishPort makes the port on which a node listens now the panel's wish, so that it is compared.
func (d *demo) wishPort(n *fleet.Node) error {
	return d.fleet.Call(d.ctx, http.MethodPut, "/api/nodes/"+n.ID, map[string]any{"override_listen_port": n.Endpoint.Port()}, nil)
}

func (d *demo) movePort(n *fleet.Node) error {
	o, err := n.Observe(d.ctx)
	if err != nil {
		return err
	}
	after := o.Interface
	after.ListenPort = 0 // any other
	d.say("%-8s listens on another port: its clients can't find it", n.Name)
	return n.Change(d.ctx, engine.Changes{Interface: &engine.InterfaceChange{Before: o.Interface, After: after}})
}
