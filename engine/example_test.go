package engine_test

import (
	"context"
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// A device is made, looked at, and changed by the difference to what is wanted. Apply reads it back, and puts back what
// was there where a part fails.
func ExampleApply() {
	ctx := context.Background()
	key, err := engine.GeneratePrivateKey()
	if err != nil {
		panic(err)
	}
	d, err := userspace.NewNetstack(userspace.Options{}).Create(ctx, engine.Interface{
		Name: "wg0", PrivateKey: key, Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")},
	})
	if err != nil {
		panic(err)
	}
	defer d.Close(ctx)
	seen, err := d.Observe(ctx)
	if err != nil {
		panic(err)
	}
	wanted := []engine.Peer{{PublicKey: wgtypes.Key{1}, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32")}}}
	changes := engine.Changes{Peers: engine.DiffPeers(seen.Peers, wanted, engine.DiffOptions{})}
	after, err := engine.Apply(ctx, d, seen.State, changes)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(seen.Peers), "peers before,", len(after.Peers), "after")
	fmt.Println("again:", len(engine.DiffPeers(after.Peers, wanted, engine.DiffOptions{})), "changes")
	// Output:
	// 0 peers before, 1 after
	// again: 0 changes
}

// What is there is compared with what is wanted, by digest at first: whoever has the shared secret can tell from 32 bytes
// whether a device is as it should be. The difference names only what differs.
func ExampleDiff() {
	ctx := context.Background()
	key, err := engine.GeneratePrivateKey()
	if err != nil {
		panic(err)
	}
	d, err := enginetest.NewFake().Create(ctx, engine.Interface{Name: "wg0", PrivateKey: key}) // or any other backend
	if err != nil {
		panic(err)
	}
	defer d.Close(ctx)
	if err := d.Configure(ctx, engine.Changes{Peers: []engine.PeerChange{{After: &enginetest.Peers(1)[0]}}}); err != nil {
		panic(err)
	}
	before, err := d.Observe(ctx)
	if err != nil {
		panic(err)
	}

	wanted := engine.Normalize(engine.State{Interface: before.Interface, Peers: enginetest.Peers(2)})
	if err := engine.Validate(wanted); err != nil {
		panic(err)
	}
	mac := engine.DeriveMACKey([]byte("a shared secret"))
	fmt.Println("as wanted:", engine.Digest(before.Peers, mac) == engine.Digest(wanted.Peers, mac))

	changes := engine.Diff(before.State, wanted, engine.DiffOptions{})
	fmt.Println(changes.Count())
	after, err := engine.Apply(ctx, d, before.State, changes)
	if err != nil {
		panic(err)
	}
	fmt.Println("as wanted:", engine.Digest(after.Peers, mac) == engine.Digest(wanted.Peers, mac))
	// Output:
	// as wanted: false
	// 1 0 0
	// as wanted: true
}

// The default lets peers go everywhere but where only the host itself should; a rule within a protected prefix opens it.
func ExampleAccessPolicy_Decide() {
	rule, err := engine.ParseAccessRule("127.0.0.1 tcp 5432")
	if err != nil {
		panic(err)
	}
	peer := wgtypes.Key{1}
	database := netip.MustParseAddrPort("127.0.0.1:5432")
	var usual engine.AccessPolicy
	opened := engine.AccessPolicy{Peers: map[wgtypes.Key]engine.Access{peer: {Allow: []engine.AccessRule{rule}}}}
	fmt.Printf("%q\n", usual.Decide(peer, engine.ProtocolTCP, netip.MustParseAddrPort("192.0.2.1:443")))
	fmt.Printf("%q\n", usual.Decide(peer, engine.ProtocolTCP, database))
	fmt.Printf("%q\n", opened.Decide(peer, engine.ProtocolTCP, database))
	// Output:
	// ""
	// "protected"
	// ""
}
