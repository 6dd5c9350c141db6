package wgquick_test

import (
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine/wgquick"
)

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
