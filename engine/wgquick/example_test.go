package wgquick_test

import (
	"context"
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// A file is read, edited and printed.
func Example() {
	f, err := wgquick.Parse([]byte(`# berlin, behind the router
[Interface]
Address = 10.8.0.1/24
ListenPort = 51820   # forwarded

[Peer] # Ada's laptop
PublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
AllowedIPs = 10.8.0.2/32
`))
	if err != nil {
		panic(err)
	}
	i, err := f.Interface()
	if err != nil {
		panic(err)
	}
	peers, err := f.Peers()
	if err != nil {
		panic(err)
	}
	fmt.Println(i.Addresses, *i.ListenPort, peers[0].AllowedIPs)

	if err := f.SetInterface("ListenPort", "51821"); err != nil {
		panic(err)
	}
	ada := peers[0]
	ada.PersistentKeepalive = 25
	if err := f.PutPeer(ada); err != nil {
		panic(err)
	}
	fmt.Print(string(f.Bytes()))
	// Output:
	// [10.8.0.1/24] 51820 [10.8.0.2/32]
	// # berlin, behind the router
	// [Interface]
	// Address = 10.8.0.1/24
	// ListenPort = 51821   # forwarded
	//
	// [Peer] # Ada's laptop
	// PublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
	// AllowedIPs = 10.8.0.2/32
	// PersistentKeepalive = 25
}

// A device is made as a file says: here one in memory, where userspace or kernel make a real one.
func ExampleInterface_Engine() {
	ctx := context.Background()
	f, err := wgquick.Parse([]byte("[Interface]\nAddress = 10.8.0.1/24\nPrivateKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	if err != nil {
		panic(err)
	}
	i, err := f.Interface()
	if err != nil {
		panic(err)
	}
	d, err := enginetest.NewFake().Create(ctx, i.Engine("wg0"))
	if err != nil {
		panic(err)
	}
	defer d.Close(ctx)
	o, err := d.Observe(ctx)
	fmt.Println(o.Interface.Name, o.Interface.Addresses, o.Interface.PrivateKey, err)
	// Output: wg0 [10.8.0.1/24] (secret) <nil>
}

// A line that cannot be is named, with file and key, and never with a secret.
func ExampleParseError() {
	f, err := wgquick.Parse([]byte("[Interface]\nListenPort = 70000\n"))
	if err != nil {
		panic(err)
	}
	f.Name = "wg0.conf"
	_, err = f.Interface()
	fmt.Println(err)
	// Output: wg0.conf: line 2: ListenPort: expected a port number from 0 to 65535, got "70000"
}

// A file is edited in place: what a person wrote stays.
func ExampleFile_PutPeer() {
	f, err := wgquick.Parse([]byte("[Interface]\nListenPort = 51820 # behind the router\n"))
	if err != nil {
		panic(err)
	}
	if err := f.PutPeer(wgquick.Peer{PublicKey: wgtypes.Key{1}, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32")}}); err != nil {
		panic(err)
	}
	fmt.Print(string(f.Bytes()))
	// Output:
	// [Interface]
	// ListenPort = 51820 # behind the router
	//
	// [Peer]
	// PublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
	// AllowedIPs = 10.8.0.2/32
}
