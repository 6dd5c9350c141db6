package network_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
)

// An HTTP server on one node and a client on the other: WireGuard between them, without a privilege or a port. In a test it
// is network.Start(t, 2), which ends with the test.
func Example() {
	n, err := network.New(network.Options{Nodes: 2})
	if err != nil {
		panic(err)
	}
	defer n.Close()
	l, err := n.Node(0).Listen("tcp", ":80")
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s inside the tunnel", r.Host)
	})
	server := httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	server.Start()
	defer server.Close()

	res, err := n.Node(1).HTTPClient().Get(server.URL)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	fmt.Println(string(text), err)
	// Output: hello from 10.0.0.1:80 inside the tunnel <nil>
}

// Two nodes talk TCP.
func ExampleNode_Listen() {
	n, err := network.New(network.Options{Nodes: 2})
	if err != nil {
		panic(err)
	}
	defer n.Close()
	l, err := n.Node(0).Listen("tcp", ":7")
	if err != nil {
		panic(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "hello, %s", n.Node(1).Addr)
	}()
	c, err := n.Node(1).DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	fmt.Println(string(text), err)
	// Output: hello, 10.0.0.2 <nil>
}

// A node's device is like any other: here is who the first one speaks with, and whether it did.
func ExampleNode() {
	n, err := network.New(network.Options{Nodes: 3})
	if err != nil {
		panic(err)
	}
	defer n.Close()
	o, err := n.Node(0).Device.Observe(context.Background())
	if err != nil {
		panic(err)
	}
	for _, p := range o.Peers {
		fmt.Println(len(p.AllowedIPs), "allowed IPs, handshake:", !o.Stats[p.PublicKey].LastHandshake.IsZero())
	}
	// Output:
	// 2 allowed IPs, handshake: false
	// 2 allowed IPs, handshake: false
}

// A peer is taken from a running node, as by a fleet's operator.
func ExampleNode_Peer() {
	ctx := context.Background()
	n, err := network.New(network.Options{Nodes: 3})
	if err != nil {
		panic(err)
	}
	defer n.Close()
	d := n.Node(0).Device
	seen, err := d.Observe(ctx)
	if err != nil {
		panic(err)
	}
	wanted := engine.NormalizePeers([]engine.Peer{n.Node(1).Peer()})
	changes := engine.Changes{Peers: engine.DiffPeers(seen.Peers, wanted, engine.DiffOptions{RemoveUnknown: true})}
	after, err := engine.Apply(ctx, d, seen.State, changes)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(seen.Peers), "peers,", len(changes.Peers), "change,", len(after.Peers), "left")
	// Output: 2 peers, 1 change, 1 left
}
