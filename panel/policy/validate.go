package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

// Problem is one refused field, by its name in the API.
type Problem struct {
	Field string
	Error string // one clause: what is wrong and what was expected
}

// Validate returns the input in one spelling, or what is wrong with it.
func (in Input) Validate() (Input, []Problem) {
	var bad []Problem
	add := func(field, format string, args ...any) {
		bad = append(bad, Problem{Field: field, Error: fmt.Sprintf(format, args...)})
	}
	if m := in.Mode; m != nil && *m != Off && *m != Report && *m != Heal {
		add("mode", "%q is no mode: expected %s, %s or %s", clip(string(*m)), Off, Report, Heal)
	}
	if d := in.Interval; d != nil && (*d < MinInterval || *d > MaxInterval) {
		add("interval", "%s is out of range: expected 10s to 24h", *d)
	}
	if n := in.MaxDeletePercent; n != nil && (*n < 0 || *n > 100) {
		add("max_delete_percent", "%d is out of range: expected 0 to 100", *n)
	}
	if in.Windows != nil {
		if len(*in.Windows) > MaxWindows {
			add("windows", "has %d entries: %d at most", len(*in.Windows), MaxWindows)
			return in, bad
		}
		list := make([]Window, len(*in.Windows))
		for i, w := range *in.Windows {
			field := fmt.Sprintf("windows[%d]", i)
			list[i] = w.validate(func(name, format string, args ...any) { add(field+"."+name, format, args...) })
		}
		in.Windows = &list
	}
	if in.SuspendedUntil != nil {
		in.SuspendedUntil = new(in.SuspendedUntil.UTC().Truncate(time.Second))
	}
	return in, bad
}

func (w Window) validate(add func(name, format string, args ...any)) Window {
	w.Cron = strings.Join(strings.Fields(w.Cron), " ")
	w.TimeZone = strings.TrimSpace(w.TimeZone)
	if w.TimeZone == "" {
		w.TimeZone = "UTC"
	}
	switch s, err := parseCron(w.Cron); {
	case err != nil:
		add("cron", `%q is no cron expression: expected minute, hour, day of month, month and day of week, for example "0 2 * * 6"`, clip(w.Cron))
	case s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero():
		add("cron", "%q names a day that never comes", clip(w.Cron))
	}
	if w.Duration < MinWindow || w.Duration > MaxWindow {
		add("duration", "%s is out of range: expected 1m to 168h", w.Duration)
	}
	if _, err := location(w.TimeZone); err != nil {
		add("time_zone", `%q is no time zone of the IANA database: expected for example "Europe/Berlin" or "UTC"`, clip(w.TimeZone))
	}
	return w
}

// crontab reads the five fields of crontab(5): where both days are restricted, either is enough.
var crontab = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom)

// parseCron refuses what the library takes beside the five fields: a time zone within, names like @daily.
func parseCron(text string) (cron.Schedule, error) {
	if n := len(strings.Fields(text)); n != 5 || len(text) > 256 || strings.ContainsAny(text, "=@") {
		return nil, fmt.Errorf("%d fields", n)
	}
	return crontab.Parse(text)
}

// location refuses "" and "Local", which mean another place on each host.
func location(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("time zone %q is a different one on each host", name)
	}
	return time.LoadLocation(name)
}

func clip(s string) string {
	const most = 60 // bytes
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
