package userspace_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// An interface of its own in this process: UDP on a port of the host that the system chooses, and inside the tunnel
// sockets for Go code. Peers come by engine.Apply.
func ExampleNewNetstack() {
	ctx := context.Background()
	key, err := engine.GeneratePrivateKey()
	if err != nil {
		panic(err)
	}
	backend := userspace.NewNetstack(userspace.Options{})
	d, err := backend.Create(ctx, engine.Interface{
		Name: "wg0", PrivateKey: key, Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")},
	})
	if err != nil {
		panic(err)
	}
	defer d.Close(ctx)
	o, err := d.Observe(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(o.Interface.Addresses, o.Interface.MTU, "on a port:", o.Interface.ListenPort != 0)

	inside, err := backend.Net("wg0")
	if err != nil {
		panic(err)
	}
	l, err := inside.Listen("tcp", ":80")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "hello")
	}()
	c, err := inside.DialContext(ctx, "tcp", l.Addr().String()) // a peer would dial the same
	if err != nil {
		panic(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	fmt.Println(string(text), err)
	// Output:
	// [10.8.0.1/24] 1420 on a port: true
	// hello <nil>
}
