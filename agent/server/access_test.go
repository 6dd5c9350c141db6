package server

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// A file that the gateway can't take is not written to: the answer would promise what nothing heeds.
func TestAccessOfAFileThatCannotBeRead(t *testing.T) {
	set := make(chan engine.GatewayConfig, 10)
	n := newNode(t, func(o *Options) {
		withConf(t)(o)
		o.Backend = governedBackend{o.Backend, set}
	})
	n.edit("[Interface]\n", "[Interface]\n# wgfleet: publish nonsense\n")
	same := n.conf("wg0")
	r := n.do("PUT", accessPath, map[string]any{"deny": []string{"any"}})
	require.NotEqual(t, 200, r.status, "%s", r.body)
	require.Contains(t, string(r.body), "wg0.conf: line 3: # wgfleet: publish: expected tcp or udp", "where it stands in the file")
	require.Equal(t, same, n.conf("wg0"))

	n.edit("publish nonsense", "allow nonsense")
	var state agent.AccessState
	n.mustDo("PUT", accessPath, map[string]any{"deny": []string{"any"}}).decode(t, &state)
	require.True(t, state.Active)
	require.NotContains(t, n.conf("wg0"), "nonsense", "what is replaced may have been unreadable")
}

// Where the host's addresses can't be read any more, those of before go on keeping peers from our ports.
func TestHostAddressesThatCannotBeRead(t *testing.T) {
	set := make(chan engine.GatewayConfig, 100)
	host := netip.MustParseAddr("198.51.100.7")
	var broken atomic.Bool
	n := newNode(t, func(o *Options) {
		withConf(t)(o)
		o.Backend = governedBackend{o.Backend, set}
		o.Gateway.HostAddresses = func() ([]netip.Addr, error) {
			if broken.Load() {
				return nil, errors.New("no netlink today")
			}
			return []netip.Addr{host}, nil
		}
	})
	require.Equal(t, []netip.Addr{host}, (<-set).Access.HostAddresses)
	broken.Store(true)
	n.edit("[Interface]\n", "[Interface]\n# wgfleet: deny 192.0.2.0/24\n")
	sl := n.server.known()[0]
	d, _ := sl.current()
	for range 3 {
		n.server.govern(t.Context(), sl, d)
		c := <-set
		for len(set) > 0 { // the agent looks by itself, too
			c = <-set
		}
		require.Equal(t, []netip.Addr{host}, c.Access.HostAddresses)
		require.Len(t, c.Access.Node.Deny, 1, "the file is followed all the same")
	}
	require.Equal(t, 1, strings.Count(n.logs.String(), "no netlink today"), "said once")
	broken.Store(false)
	n.server.govern(t.Context(), sl, d)
	broken.Store(true)
	n.server.govern(t.Context(), sl, d)
	require.Equal(t, 2, strings.Count(n.logs.String(), "no netlink today"), "and again when it fails again")
}

func TestFlowsOfAGatewayThatDidNothing(t *testing.T) {
	n := newNode(t, func(o *Options) {
		withConf(t)(o)
		o.Backend = governedBackend{o.Backend, make(chan engine.GatewayConfig, 10)}
	})
	require.JSONEq(t, `{"interface":"wg0","total":0,"flows":[],"peers":[],"drops":{}}`, string(n.mustDo("GET", flowsPath, nil).body))
}

// Two keys with one hash are one series, and what the gateway told stays as it was told.
func TestCountersOfTwoKeysWithOneHash(t *testing.T) {
	sc := &scraper{hashKey: []byte("a key")}
	var one, two wgtypes.Key
	seen := make(map[string]wgtypes.Key)
	for i := uint32(1); ; i++ { // some 80,000, by the birthday paradox
		var k wgtypes.Key
		binary.BigEndian.PutUint32(k[:], i)
		label := sc.label(k)
		if other, twice := seen[label]; twice {
			one, two = other, k
			break
		}
		seen[label] = k
	}
	stats := map[wgtypes.Key]engine.GatewayCounters{
		one: {Flows: 1, Opened: 2, TxBytes: 3, RxBytes: 4, Failures: 5},
		two: {Flows: 10, Opened: 20, TxBytes: 30, RxBytes: 40, Failures: 50, Refused: map[engine.Refusal]int64{engine.RefusedDenied: 6}},
		{9}: {Refused: map[engine.Refusal]int64{engine.RefusedDenied: 1}},
	}
	for range 20 { // a map begins anywhere
		require.Equal(t, map[string]engine.GatewayCounters{
			sc.label(one): {
				Flows: 11, Opened: 22, TxBytes: 33, RxBytes: 44, Failures: 55, Refused: map[engine.Refusal]int64{engine.RefusedDenied: 6},
			},
			sc.label(wgtypes.Key{9}): {Refused: map[engine.Refusal]int64{engine.RefusedDenied: 1}},
		}, sc.byLabel(stats))
		require.Nil(t, stats[one].Refused)
		require.Len(t, stats[two].Refused, 1)
	}
}
