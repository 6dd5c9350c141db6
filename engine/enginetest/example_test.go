package enginetest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// A device fails half-way through a change, which is how code above the engine is seen to cope.
func ExampleFake() {
	ctx := context.Background()
	key, err := engine.GeneratePrivateKey()
	if err != nil {
		panic(err)
	}
	host := enginetest.NewFake()
	d, err := host.Create(ctx, engine.Interface{Name: "wg0", PrivateKey: key})
	if err != nil {
		panic(err)
	}
	defer d.Close(ctx)
	fake, err := host.Device("wg0") // the same device, as what can be told to fail
	if err != nil {
		panic(err)
	}
	before, err := d.Observe(ctx)
	if err != nil {
		panic(err)
	}
	changes := engine.Changes{Peers: engine.DiffPeers(before.Peers, enginetest.Peers(3), engine.DiffOptions{})}

	fake.FailAt(7, nil) // somewhere in the second peer
	_, err = engine.Apply(ctx, d, before.State, changes)
	var failed *engine.ApplyError
	fmt.Println(errors.Is(err, enginetest.ErrInjected), errors.As(err, &failed) && failed.RolledBack)

	after, err := engine.Apply(ctx, d, before.State, changes)
	fmt.Println(len(after.Peers), err)
	// Output:
	// true true
	// 3 <nil>
}
