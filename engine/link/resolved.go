package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

const (
	resolvedName    = "org.freedesktop.resolve1"
	resolvedDir     = "/run/systemd/resolve"
	resolvedTimeout = 10 * time.Second
)

// resolvedStubs are the addresses at which systemd-resolved answers.
var resolvedStubs = []string{"127.0.0.53", "127.0.0.54"}

// usesResolved reports whether the programs of this host ask systemd-resolved: their file is one of
// its own, or names it first.
func usesResolved(resolvConf string) bool {
	if file, err := filepath.EvalSymlinks(resolvConf); err == nil && filepath.Dir(file) == resolvedDir {
		return true
	}
	f, err := os.Open(resolvConf)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "nameserver" {
			return slices.Contains(resolvedStubs, words[1])
		}
	}
	return false
}

// resolved is the manager of systemd-resolved, see org.freedesktop.resolve1(5).
type resolved struct {
	bus     *dbus.Conn
	manager dbus.BusObject
	cancel  context.CancelFunc
}

// dialResolved returns nil where systemd-resolved is not running. It does not start it. The bus is
// the one of DBUS_SYSTEM_BUS_ADDRESS, else the usual one.
func dialResolved(ctx context.Context) *resolved {
	ctx, cancel := context.WithTimeout(ctx, resolvedTimeout)
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		cancel()
		return nil
	}
	r := &resolved{bus, bus.Object(resolvedName, "/org/freedesktop/resolve1"), cancel}
	var running bool
	err = bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, resolvedName).Store(&running)
	if err != nil || !running {
		r.close()
		return nil
	}
	return r
}

func (r *resolved) close() {
	_ = r.bus.Close()
	r.cancel()
}

// linkAddress and linkDomain are as the D-Bus methods take them.
type linkAddress struct {
	Family  int32
	Address []byte
}

type linkDomain struct {
	Name    string
	Routing bool // names below it go to this link; it is not appended to short names
}

// set gives the link its servers and all queries, as systemd's resolvconf does for wg-quick(8).
func (r *resolved) set(ctx context.Context, c Config) error {
	l, err := byName(c.Interface)
	if err != nil {
		return err
	}
	var servers []linkAddress
	for _, a := range c.DNS {
		family := int32(unix.AF_INET6)
		if a = a.Unmap(); a.Is4() {
			family = unix.AF_INET
		}
		servers = append(servers, linkAddress{family, a.AsSlice()})
	}
	var domains []linkDomain
	for _, d := range c.Search {
		domains = append(domains, linkDomain{Name: d})
	}
	domains = append(domains, linkDomain{Name: ".", Routing: true})
	index := int32(l.Attrs().Index)
	for _, call := range []struct {
		method string
		value  any
	}{
		{"SetLinkDNS", servers},
		{"SetLinkDomains", domains},
		{"SetLinkDefaultRoute", true},
	} {
		if err := r.call(ctx, call.method, index, call.value); err != nil {
			return resolvedFailed(call.method, c.Interface, err)
		}
	}
	return nil
}

// revertResolved is content where systemd-resolved knows nothing of the interface.
func revertResolved(ctx context.Context, c Config) error {
	l, err := byName(c.Interface)
	if errors.Is(err, engine.ErrUnknownInterface) {
		return nil // its settings went with it
	}
	if err != nil {
		return err
	}
	r := dialResolved(ctx)
	if r == nil {
		return nil
	}
	defer r.close()
	err = r.call(ctx, "RevertLink", int32(l.Attrs().Index))
	if e, ok := errors.AsType[dbus.Error](err); ok {
		switch e.Name {
		case resolvedName + ".NoSuchLink", resolvedName + ".LinkBusy": // busy: systemd-networkd's, not ours
			return nil
		}
	}
	return resolvedFailed("RevertLink", c.Interface, err)
}

func (r *resolved) call(ctx context.Context, method string, args ...any) error {
	return r.manager.CallWithContext(ctx, resolvedName+".Manager."+method, dbus.FlagNoAutoStart, args...).Err
}

func resolvedFailed(method, ifname string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[dbus.Error](err); ok {
		switch e.Name {
		case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
			return fmt.Errorf("%w: %s of systemd-resolved for %s needs root: %w", engine.ErrNotPermitted, method, ifname, err)
		}
	}
	return fmt.Errorf("%s of systemd-resolved for %s: %w", method, ifname, err)
}
