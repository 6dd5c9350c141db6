package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// backWithin is how long going back may take.
const backWithin = 3 * time.Minute

// Apply does the plan. Where a step fails or ctx ends, everything is put back: the Outcome is
// RolledBack then and the error says what failed, or Stuck, and the error says what remains.
func (p *Plan) Apply(ctx context.Context) error {
	switch {
	case p.Outcome == Already:
		return nil
	case len(p.Blockers) > 0:
		return p.Err()
	case p.o.Systemd == nil:
		return fmt.Errorf("--apply needs systemd, which does not answer here: %s", p.byHand())
	}
	for i, s := range p.steps {
		p.o.Progress(p.numbered(i))
		err := ctx.Err()
		if err == nil {
			err = s.do(ctx)
		}
		if err != nil {
			return p.rollBack(ctx, err)
		}
	}
	p.record.Phase = phaseApplied
	if err := p.o.writeRecord(p.record); err != nil {
		return p.rollBack(ctx, err)
	}
	p.Outcome = Applied
	return nil
}

func (p *Plan) rollBack(ctx context.Context, why error) error {
	if ctx.Err() != nil {
		why = context.Cause(ctx)
		p.o.Progress("interrupted: going back")
	} else {
		p.o.Progress("this failed: going back")
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), backWithin)
	defer cancel()
	warnings, err := p.o.goBack(back, p.record)
	p.Warnings = append(p.Warnings, warnings...)
	if err != nil {
		p.Outcome = Stuck
		// Not wrapped: an interrupt that left a mess is no interrupt.
		return errors.New(why.Error() + "\ngoing back failed as well: " + err.Error() + "\n`wgfleet migrate --undo` tries that again")
	}
	p.Outcome = RolledBack
	p.o.Progress("this host is as it was before")
	return fmt.Errorf("%w; this host is as it was before", why)
}
