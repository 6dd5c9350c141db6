package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
)

// setDNS makes the host's resolver ask the servers of the interface, and them alone.
func (h *Host) setDNS(ctx context.Context, c Config) error {
	if len(c.DNS) == 0 {
		return nil
	}
	h.dnsMu.Lock()
	defer h.dnsMu.Unlock()
	if err := h.recordDNS(c); err != nil {
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w: %w", engine.ErrNotPermitted, err)
		}
		return fmt.Errorf("write down what to take back: %w", err)
	}
	if h.bound() { // the other ways would act on a file of ours
		return h.bindDNS(c)
	}
	if usesResolved(h.o.ResolvConf) {
		if r := dialResolved(ctx); r != nil {
			defer r.close()
			h.logDNS(c, "systemd-resolved")
			return r.set(ctx, c)
		}
	}
	if path, err := exec.LookPath(resolvconf); err == nil {
		h.logDNS(c, path)
		return h.addResolvconf(ctx, path, c)
	}
	return h.bindDNS(c)
}

func (h *Host) logDNS(c Config, by string) {
	h.o.Logger.Info("the host's resolver gets the DNS of an interface", "interface", c.Interface, "by", by, "servers", len(c.DNS))
}

// unsetDNS takes the interface's servers back in whatever way they were set, by us or by
// wg-quick(8), and says nothing where they were not.
func (h *Host) unsetDNS(ctx context.Context, c Config) error {
	h.dnsMu.Lock()
	defer h.dnsMu.Unlock()
	recorded, err := h.forgetDNS(c.Interface)
	if !recorded && len(c.DNS) == 0 {
		return err
	}
	errs := []error{err, revertResolved(ctx, c)}
	if path, err := exec.LookPath(resolvconf); err == nil {
		errs = append(errs, h.deleteResolvconf(ctx, path, c))
	}
	return errors.Join(append(errs, h.unbindDNS(c))...)
}

// resolvLines are the interface's lines in the syntax of resolv.conf(5), as wg-quick(8) hands them
// to resolvconf(8).
func resolvLines(c Config) string {
	var b strings.Builder
	for _, a := range c.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(c.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Search, " "))
	}
	return b.String()
}
