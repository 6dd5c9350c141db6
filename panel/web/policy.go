package web

import (
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// policyData is what somebody said of how nodes are watched and healed; null: nothing, so that what is said
// above holds: the fleet's policy, then the default.
type policyData struct {
	Mode             *string       `json:"mode" doc:"off, report or heal"`
	Interval         *string       `json:"interval" doc:"between two looks at most, as 5m or 1h30m; with jitter"`
	Heal             healingData   `json:"heal"`
	MaxDeletePercent *int          `json:"max_delete_percent" doc:"of the peers on the node, at once; those that were disabled, deleted or have expired do not count where it heals"`
	Windows          *[]windowData `json:"windows" doc:"when healing is allowed; an empty list: always"`
	SuspendedUntil   *string       `json:"suspended_until" format:"date-time" doc:"no healing before"`
}

// healingData says what is put right by itself.
type healingData struct {
	Missing       *bool `json:"missing"`
	Mismatched    *bool `json:"mismatched"`
	PruneOrphaned *bool `json:"prune_orphaned" doc:"peers that were disabled, deleted or have expired; no window holds that back"`
	PruneForeign  *bool `json:"prune_foreign"`
	Interface     *bool `json:"interface"`
}

type windowData struct {
	Cron     string `json:"cron" doc:"when it opens: five fields as in crontab(5)"`
	Duration string `json:"duration" doc:"as 30m or 2h"`
	TimeZone string `json:"time_zone" doc:"of the IANA database"`
}

// policyBody changes a policy; null: what is said above holds again.
type policyBody struct {
	Mode             optional[string]       `json:"mode" doc:"off, report or heal"`
	Interval         optional[duration]     `json:"interval" doc:"10s to 24h"`
	Heal             healingBody            `json:"heal"`
	MaxDeletePercent optional[int]          `json:"max_delete_percent"`
	Windows          optional[[]windowBody] `json:"windows"`
	SuspendedUntil   optional[time.Time]    `json:"suspended_until"`
}

type healingBody struct {
	Missing       optional[bool] `json:"missing"`
	Mismatched    optional[bool] `json:"mismatched"`
	PruneOrphaned optional[bool] `json:"prune_orphaned"`
	PruneForeign  optional[bool] `json:"prune_foreign"`
	Interface     optional[bool] `json:"interface"`
}

type windowBody struct {
	Cron     string   `json:"cron"`
	Duration duration `json:"duration"`
	TimeZone string   `json:"time_zone" doc:"UTC where it is left out"`
}

// duration is a text like 1h30m.
type duration time.Duration

// UnmarshalText reads what time.ParseDuration does.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

// durationText is a duration without what is zero: 5m, not 5m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (b policyBody) input() panel.PolicyInput {
	in := panel.PolicyInput{
		Mode: panel.Optional[string](b.Mode), Missing: panel.Optional[bool](b.Heal.Missing), Mismatched: panel.Optional[bool](b.Heal.Mismatched),
		PruneOrphaned: panel.Optional[bool](b.Heal.PruneOrphaned), PruneForeign: panel.Optional[bool](b.Heal.PruneForeign),
		Interface: panel.Optional[bool](b.Heal.Interface), MaxDeletePercent: panel.Optional[int](b.MaxDeletePercent),
		SuspendedUntil: panel.Optional[time.Time](b.SuspendedUntil),
	}
	in.Interval.Set, in.Windows.Set = b.Interval.Set, b.Windows.Set
	if v := b.Interval.Value; v != nil {
		in.Interval.Value = new(time.Duration(*v))
	}
	if v := b.Windows.Value; v != nil {
		in.Windows.Value = new(each(*v, func(w windowBody) policy.Window {
			return policy.Window{Cron: w.Cron, Duration: time.Duration(w.Duration), TimeZone: w.TimeZone}
		}))
	}
	return in
}

func fromPolicyInput(p policy.Input) policyData {
	d := policyData{
		Heal: healingData{
			Missing: p.Missing, Mismatched: p.Mismatched, PruneOrphaned: p.PruneOrphaned, PruneForeign: p.PruneForeign, Interface: p.Interface,
		},
		MaxDeletePercent: p.MaxDeletePercent,
	}
	if p.Mode != nil {
		d.Mode = new(string(*p.Mode))
	}
	if p.Interval != nil {
		d.Interval = new(durationText(*p.Interval))
	}
	if p.Windows != nil {
		d.Windows = new(each(*p.Windows, func(w policy.Window) windowData {
			return windowData{w.Cron, durationText(w.Duration), w.TimeZone}
		}))
	}
	if p.SuspendedUntil != nil {
		d.SuspendedUntil = stampOrNull(*p.SuspendedUntil)
	}
	return d
}

// fromPolicy is all that holds.
func fromPolicy(p policy.Policy) policyData {
	h := p.Heal
	in := policy.Input{
		Mode: &p.Mode, Interval: &p.Interval, Missing: &h.Missing, Mismatched: &h.Mismatched, PruneOrphaned: &h.PruneOrphaned,
		PruneForeign: &h.PruneForeign, Interface: &h.Interface, MaxDeletePercent: &p.MaxDeletePercent, Windows: &p.Windows,
	}
	if !p.SuspendedUntil.IsZero() {
		in.SuspendedUntil = &p.SuspendedUntil
	}
	return fromPolicyInput(in)
}

// fleetPolicyData is what was said of all nodes, and what holds of a node that says nothing itself.
type fleetPolicyData struct {
	Drift          policyData `json:"drift"`
	EffectiveDrift policyData `json:"effective_drift"`
}

func fromFleetPolicy(p policy.Input) fleetPolicyData {
	return fleetPolicyData{fromPolicyInput(p), fromPolicy(policy.Default().Merge(p))}
}

func (s *Server) getPolicy(c *gin.Context, _ none) (answer[fleetPolicyData], error) {
	p, err := s.panel.FleetPolicy(c.Request.Context())
	return answer[fleetPolicyData]{message: "The policy of all nodes", data: fromFleetPolicy(p)}, err
}

func (s *Server) putPolicy(c *gin.Context, b policyBody) (answer[fleetPolicyData], error) {
	p, err := s.panel.ChangeFleetPolicy(c.Request.Context(), b.input())
	return answer[fleetPolicyData]{message: "The policy of all nodes was changed", data: fromFleetPolicy(p)}, err
}
