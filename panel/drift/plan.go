package drift

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Ops of a Step, in the order in which they are done.
const (
	OpRemove    = "remove"
	OpUpdate    = "update"
	OpAdd       = "add"
	OpInterface = "interface" // a setting of the interface
	OpAdopt     = "adopt"     // into the panel; the node is not written to
	OpAccept    = "accept"    // the panel's wish becomes what the node has; the node is not written to
)

var ops = []string{OpRemove, OpUpdate, OpAdd, OpInterface, OpAdopt, OpAccept}

// Options say how far a plan may go.
type Options struct {
	Missing       bool // add missing peers
	Mismatched    bool // update mismatched ones
	PruneOrphaned bool // remove unknown peers that the panel once had
	PruneForeign  bool
	Adopt         bool // all unknown peers that are not removed
	Accept        bool // of mismatched peers, and with Interface of its settings; wins over Mismatched
	Interface     bool
	// Only narrows the plan to the steps with these ids; nil: all of them. What a step needs of one that is
	// left out blocks it.
	Only []string
	// Others are peers that somebody else answers for, and who that is: nothing is taken from them.
	Others map[wgtypes.Key]string
	Now    time.Time // what the ages of handshakes are counted from
}

// Plan is the way from observed to desired.
type Plan struct {
	Steps    []Step    // never nil; in the order of their ops, each by key
	Blocked  []Blocked // what can't be done under the options, and why
	Warnings []string  // what a person should know before saying yes

	kept map[wgtypes.Key][]netip.Prefix // allowed IPs of unknown peers that stay
}

// Step is one change: of one peer, or of one setting of the interface.
type Step struct {
	Op        string
	PublicKey string // "" for the interface
	Name      string // "" for foreign peers
	PeerID    string
	Before    *Peer      // nil: it is not on the node
	After     *Peer      // nil: it will not be
	Changes   []Mismatch // of the interface exactly one
	Takes     []Take
	Reason    string // one sentence
	Impact    string // what users will notice

	psk  engine.SecretKey
	need map[wgtypes.Key]bool // peers whose step must be done together with this one
}

// ID names the step within its plan, and in each plan that does the same to the same peer or setting.
func (s Step) ID() string {
	if s.PublicKey == "" {
		return InterfaceStep(s.Changes[0].Field)
	}
	return s.PublicKey
}

// States are what the step is about before and after it, by the names of the API's fields; nil: it is not
// there. Of a preshared key they say whether it is set.
func (s Step) States() (before, after map[string]any) {
	if s.PublicKey == "" {
		m := s.Changes[0]
		return map[string]any{m.Field: m.Actual}, map[string]any{m.Field: m.Expected}
	}
	return s.Before.state(), s.After.state()
}

func (p *Peer) state() map[string]any {
	if p == nil {
		return nil
	}
	return map[string]any{
		FieldAllowedIPs: Texts(p.AllowedIPs), FieldKeepalive: p.Keepalive, FieldPresharedKey: isSet(p.PresharedKey),
	}
}

// InterfaceStep is the id of the step that is about a setting of the interface.
func InterfaceStep(field string) string { return "interface." + field }

// Take is an allowed IP that leaves a peer that the panel does not know.
type Take struct {
	Prefix netip.Prefix
	From   string // public key
}

// Blocked is what can't be put right under the options.
type Blocked struct {
	Op        string
	PublicKey string // "" for the interface
	Field     string // of the interface
	Reason    string
}

// ID is that of the step that is not possible.
func (b Blocked) ID() string {
	if b.PublicKey == "" {
		return InterfaceStep(b.Field)
	}
	return b.PublicKey
}

// UnknownStepError names an id of Options.Only that is of no step and nothing blocked.
type UnknownStepError struct{ ID string }

// Error is one sentence.
func (e *UnknownStepError) Error() string { return "the plan has no step " + e.ID }

// NewPlan decides what to do. It never moves an allowed IP without saying whose it is. The only error is
// an UnknownStepError.
func NewPlan(d Desired, o Observed, opt Options) (Plan, error) {
	b := newBuilder(d, o, opt)
	for want, have := range merge(d.Peers, o.Peers) {
		b.consider(want, have)
	}
	b.settle()
	b.considerInterface()
	if err := b.narrow(); err != nil {
		return Plan{}, err
	}
	plan := Plan{Steps: make([]Step, 0, len(b.order)+len(b.settings)), Blocked: b.blocked, kept: make(map[wgtypes.Key][]netip.Prefix)}
	for _, have := range o.Peers {
		if !b.known[have.PublicKey] {
			plan.kept[have.PublicKey] = have.AllowedIPs
		}
	}
	for _, op := range ops {
		for _, key := range b.order {
			if s, ok := b.steps[key]; ok && s.Op == op {
				plan.Steps = append(plan.Steps, *s)
			}
		}
		for _, s := range b.settings {
			if s.Op == op {
				plan.Steps = append(plan.Steps, s)
			}
		}
	}
	plan.Warnings = warnings(plan, o, opt)
	return plan, nil
}

// Removals counts the peers that the plan removes.
func (p Plan) Removals() int {
	n := 0
	for _, s := range p.Steps {
		if s.Op == OpRemove {
			n++
		}
	}
	return n
}

// Fingerprint names what the plan does and what it can't do: two plans that do the same have the same. It
// does not depend on the time, and tells nothing of any key.
func (p Plan) Fingerprint() string {
	sum := sha256.New()
	for _, s := range p.Steps {
		fmt.Fprintln(sum, s.Op, s.ID(), s.Takes, s.Changes)
		if s.After != nil {
			fmt.Fprintln(sum, s.After.AllowedIPs, s.After.Keepalive, s.After.PresharedKey)
		}
	}
	for _, b := range p.Blocked {
		fmt.Fprintln(sum, b.Op, b.ID(), b.Reason)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// narrow leaves only the steps that were asked for.
func (b *builder) narrow() error {
	if b.opt.Only == nil {
		return nil
	}
	chosen := make(map[string]bool, len(b.opt.Only))
	for _, id := range b.opt.Only {
		chosen[id] = false
	}
	mark := func(id string) bool {
		_, ok := chosen[id]
		if ok {
			chosen[id] = true
		}
		return ok
	}
	b.settings = slices.DeleteFunc(b.settings, func(s Step) bool { return !mark(s.ID()) })
	b.blocked = slices.DeleteFunc(b.blocked, func(x Blocked) bool { return !mark(x.ID()) })
	for key := range b.steps {
		if !mark(key.String()) {
			delete(b.steps, key)
		}
	}
	for _, id := range b.opt.Only {
		if !chosen[id] {
			return &UnknownStepError{ID: id}
		}
	}
	b.dropWhatLacks()
	return nil
}

// dropWhatLacks blocks the steps that need one that is not in the plan, again and again.
func (b *builder) dropWhatLacks() {
	for again := true; again; {
		again = false
		for _, key := range b.order {
			s := b.steps[key]
			if s == nil {
				continue
			}
			for other := range s.need {
				if b.steps[other] == nil {
					b.block(s, fmt.Sprintf("it needs an allowed IP of peer %s, whose change is not in this plan", other))
					delete(b.steps, key)
					again = true
					break
				}
			}
		}
	}
}

// fields lists the names of what differs.
func fields(m []Mismatch) string {
	names := make([]string, len(m))
	for i, x := range m {
		names[i] = x.Field
	}
	return strings.Join(names, ", ")
}
