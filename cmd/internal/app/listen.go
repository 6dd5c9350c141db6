package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen binds a role's port; its errors name the settings. The address need not be on this host yet: a
// role may start before the network does.
func listen(ctx context.Context, host string, port int, hostKey, portKey string) (net.Listener, error) {
	lc := net.ListenConfig{Control: freeBind}
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d of %s is in use: stop what listens there, or set another %s",
			port, host, settingOf(portKey).env)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s port %d: %w: see %s and %s", host, port, err,
			settingOf(hostKey).env, settingOf(portKey).env)
	}
	return l, nil
}

// listen takes the socket of that name from systemd, or binds the role's port. A socket that is elsewhere than the
// settings say is refused: who limits a role to an address must not find it open to all.
func (p *process) listen(ctx context.Context, name, host string, port int, hostKey, portKey string) (net.Listener, error) {
	l := p.sockets[name]
	if l == nil {
		return listen(ctx, host, port, hostKey, portKey)
	}
	delete(p.sockets, name)
	p.log.Info("systemd listens for this role", slog.String("role", name), slog.String("address", l.Addr().String()))
	at := addrOf(l)
	if port != 0 && port != int(at.Port()) || !within(ctx, at.Addr(), host) {
		l.Close() // systemd keeps its own
		return nil, fmt.Errorf("systemd listens on %s for the %s, and the settings say %s: make %s and %s agree with the socket's unit, or run `wgfleet install` again",
			at, name, net.JoinHostPort(host, strconv.Itoa(port)), settingOf(hostKey).env, settingOf(portKey).env)
	}
	return l, nil
}

// within reports whether who listens on that address is reached by no more ways than on the host of a setting.
func within(ctx context.Context, a netip.Addr, host string) bool {
	allowed, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return err == nil && slices.ContainsFunc(allowed, func(h netip.Addr) bool {
		h = h.Unmap()
		return h == a || h.IsUnspecified() && (h.Is6() || a.Is4())
	})
}

// closeSockets lets go of those that no role took.
func (p *process) closeSockets() {
	for name, l := range p.sockets {
		p.log.Warn("systemd listens for a role that does not run here", slog.String("role", name), slog.String("address", l.Addr().String()))
		l.Close() // systemd keeps its own
	}
	p.sockets = nil
}

// freeBind lets a socket have an address that is not there, see ip(7). It needs no privilege; where the
// system does not know it, binding says what is wrong.
func freeBind(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
	})
}

// absent reports whether no interface of this host has the listener's address.
func absent(l net.Listener) bool {
	a := addrOf(l).Addr().WithZone("")
	all, err := net.InterfaceAddrs()
	return err == nil && !a.IsUnspecified() && !a.IsLoopback() && !slices.ContainsFunc(all, func(has net.Addr) bool {
		n, ok := has.(*net.IPNet)
		return ok && n.IP.Equal(a.AsSlice())
	})
}

func addrOf(l net.Listener) netip.AddrPort {
	a, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil { // a TCP listener's address is one
		panic(err)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// localURL is how this host reaches the listener; "" where it can't over loopback.
func localURL(l net.Listener, scheme string) string {
	a := addrOf(l)
	host := a.Addr()
	if host.IsUnspecified() {
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if !host.IsLoopback() {
		return ""
	}
	return scheme + "://" + netip.AddrPortFrom(host, a.Port()).String()
}

// anyURL is how a person on this host reaches the listener.
func anyURL(l net.Listener, scheme string) string {
	if u := localURL(l, scheme); u != "" {
		return u
	}
	return scheme + "://" + addrOf(l).String()
}

// serverTLS returns nil where the files name no certificate.
func serverTLS(f TLSFiles) (*tls.Config, error) {
	if f.Cert == "" {
		return nil, nil //nolint:nilnil // no TLS is an answer
	}
	kept := &keptCertificate{cert: f.Cert, key: f.Key}
	if _, err := kept.get(nil); err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: kept.get}
	if f.ClientCA != "" {
		pool, err := certPool(f.ClientCA)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func certPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// keptCertificate reads the files again when the certificate's has changed, so that a renewal needs
// no restart. While the new files can't be read together the old certificate is kept.
type keptCertificate struct {
	cert, key string

	mu      sync.Mutex // protects what follows
	changed time.Time
	current *tls.Certificate
}

func (k *keptCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.cert)
	if err == nil && k.current != nil && info.ModTime().Equal(k.changed) {
		return k.current, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(k.cert, k.key)
	}
	switch {
	case err == nil:
		k.current, k.changed = &pair, info.ModTime()
	case k.current == nil:
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return k.current, nil
}
