package agent

import (
	"fmt"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Flows is the answer of GET /v1/wg/{if}/flows.
type Flows struct {
	Interface string           `json:"interface"`
	Total     int              `json:"total"` // of the flows; the list may hold fewer
	Flows     []Flow           `json:"flows"` // the oldest first
	Peers     []PeerTraffic    `json:"peers"`
	Drops     map[string]int64 `json:"drops"` // packets lost in the network stack, by reason
}

// Flow is one conversation that a gateway carries.
type Flow struct {
	Peer        string    `json:"peer"`      // public key
	Protocol    string    `json:"protocol"`  // tcp, udp, icmp, or a number
	Direction   string    `json:"direction"` // out, in (by a published port) or peer
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Opened      time.Time `json:"opened"`
	LastUsed    time.Time `json:"last_used"`
	TxBytes     int64     `json:"tx_bytes"` // from source to destination
	RxBytes     int64     `json:"rx_bytes"`
}

// PeerTraffic is what a gateway did for one peer.
type PeerTraffic struct {
	PublicKey string           `json:"public_key"`
	Flows     int              `json:"flows"` // now
	Opened    int64            `json:"opened"`
	TxBytes   int64            `json:"tx_bytes"` // from the peer
	RxBytes   int64            `json:"rx_bytes"`
	Failures  int64            `json:"failures"` // refused or not answered by the network
	Refused   map[string]int64 `json:"refused"`  // by reason
}

// AccessPolicy is the answer of GET /v1/wg/{if}/access and, without what is only told, the body of its PUT, which replaces
// all of it. Rules are text, see engine.ParseAccessRule.
type AccessPolicy struct {
	Access
	Peers map[string]Access `json:"peers"` // by public key; only those of which something is said
}

// AccessState is a policy and what else is in force.
type AccessState struct {
	Interface string `json:"interface"`
	// Active: a gateway carries by it now. Else the policy is kept, and nothing heeds it.
	Active bool `json:"active"`
	AccessPolicy
}

// Access is where one peer may go, or all of them.
type Access struct {
	Allow  []string `json:"allow"`
	Deny   []string `json:"deny"`
	Limits Limits   `json:"limits"`
}

// Limits are those of engine.Limits: 0 says nothing, -1 is none.
type Limits struct {
	Connections int   `json:"connections"`
	Rate        int   `json:"rate"`
	Bandwidth   int64 `json:"bandwidth"`
}

// NewAccessPolicy returns a policy as it is sent.
func NewAccessPolicy(p engine.AccessPolicy) AccessPolicy {
	out := AccessPolicy{Access: newAccess(p.Node), Peers: make(map[string]Access, len(p.Peers))}
	for key, a := range p.Peers {
		out.Peers[key.String()] = newAccess(a)
	}
	return out
}

func newAccess(a engine.Access) Access {
	texts := func(rules []engine.AccessRule) []string {
		out := make([]string, len(rules))
		for i, r := range rules {
			out[i] = r.String()
		}
		return out
	}
	return Access{Allow: texts(a.Allow), Deny: texts(a.Deny), Limits: Limits(a.Limits)}
}

// Engine reads a policy. Errors: *engine.FieldError.
func (p AccessPolicy) Engine() (engine.AccessPolicy, error) {
	node, err := p.Access.engine("")
	if err != nil {
		return engine.AccessPolicy{}, err
	}
	out := engine.AccessPolicy{Node: node, Peers: make(map[wgtypes.Key]engine.Access, len(p.Peers))}
	for text, a := range p.Peers {
		key, err := wgtypes.ParseKey(text)
		if err != nil {
			return engine.AccessPolicy{}, &engine.FieldError{Field: "peers", Reason: "expected public keys in base64"}
		}
		if out.Peers[key], err = a.engine("peers." + text + "."); err != nil {
			return engine.AccessPolicy{}, err
		}
	}
	return out, nil
}

func (a Access) engine(prefix string) (engine.Access, error) {
	var out engine.Access
	for _, list := range []struct {
		field string
		from  []string
		to    *[]engine.AccessRule
	}{{"allow", a.Allow, &out.Allow}, {"deny", a.Deny, &out.Deny}} {
		for i, text := range list.from {
			r, err := engine.ParseAccessRule(text)
			if err != nil {
				return out, fieldOf(err, fmt.Sprintf("%s%s.%d", prefix, list.field, i))
			}
			*list.to = append(*list.to, r)
		}
	}
	out.Limits = engine.Limits(a.Limits)
	if out.Limits == (engine.Limits{}) {
		return out, nil
	}
	if l, err := engine.ParseLimits(out.Limits.String()); err != nil || l != out.Limits {
		return out, &engine.FieldError{Field: prefix + "limits", Reason: "expected connections, rate (below 1,000,000) and bandwidth, each a number, 0 or -1 for none"}
	}
	return out, nil
}

// fieldOf puts the name of a field in place of the one that an error has.
func fieldOf(err error, field string) error {
	if f, ok := err.(*engine.FieldError); ok { //nolint:errorlint // made a line above, and not wrapped
		return &engine.FieldError{Field: field, Reason: f.Reason}
	}
	return err
}
