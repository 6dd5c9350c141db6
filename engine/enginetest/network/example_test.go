package network_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/wgfleet/wgfleet/engine/enginetest/network"
)

// Two nodes, an HTTP server on one and a client on the other: WireGuard between them, without a privilege or a port.
func Example() {
	n, err := network.New(network.Options{Nodes: 2})
	if err != nil {
		panic(err)
	}
	defer n.Close()
	l, err := n.Node(0).Listen(80)
	if err != nil {
		panic(err)
	}
	server := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello from inside the tunnel")
	})}
	go server.Serve(l)
	defer server.Close()

	client := http.Client{Transport: &http.Transport{DialContext: n.Node(1).DialContext, DisableKeepAlives: true}}
	res, err := client.Get("http://10.0.0.1/")
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	fmt.Println(string(text), err)
	// Output: hello from inside the tunnel <nil>
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
