package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/engine"
)

const (
	dnsPort      = 53
	dnsHeader    = 12               // bytes, RFC 1035
	dnsIdle      = 10 * time.Second // of a TCP connection, RFC 7766, 6.2.3
	maxQuestions = 512              // that are asked at the same time
)

// packetConn is a socket inside the tunnel.
type packetConn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, to net.Addr) (int, error)
	Close() error
}

// resolver answers DNS on the node's own addresses: it hands each question to the host's resolvers as it is, the next one
// where one is silent, and their answer back.
type resolver struct {
	g    *Gateway
	ctx  context.Context // ends with it
	room chan struct{}   // one token a question
}

// resolve runs it on every own address until s ends. Errors: *engine.FieldError.
func (g *Gateway) resolve(s *service) error {
	r := &resolver{g: g, ctx: s.ctx, room: make(chan struct{}, maxQuestions)}
	for _, p := range g.own {
		if err := r.open(s, netip.AddrPortFrom(p.Addr(), dnsPort)); err != nil {
			return &engine.FieldError{Field: "resolver", Reason: err.Error()}
		}
	}
	return nil
}

func (r *resolver) open(s *service, at netip.AddrPort) error {
	u, err := r.g.dev.Net().ListenUDPAddrPort(at)
	if err != nil {
		return err
	}
	s.closes(u)
	t, err := r.g.dev.Net().ListenTCPAddrPort(at)
	if err != nil {
		return err
	}
	s.closes(t)
	if !r.g.task(func() { r.serveUDP(u) }) || !r.g.task(func() { r.serveTCP(t) }) {
		return net.ErrClosed
	}
	return nil
}

func (r *resolver) serveUDP(c packetConn) {
	var b [bufferSize]byte
	for {
		n, from, err := c.ReadFrom(b[:])
		if err != nil {
			return // closed
		}
		peer, known := r.g.peers.lookup(addrPortOf(from).Addr())
		if n < dnsHeader || !known || !r.take(peer) {
			continue
		}
		question := append([]byte(nil), b[:n]...)
		r.g.tasks.Go(func() {
			defer r.give()
			if answer, err := r.ask(question, "udp"); err == nil {
				_, _ = c.WriteTo(answer, from) // lost as any datagram may be: the peer asks again
			}
		})
	}
}

// take asks for room for one more question of a peer.
func (r *resolver) take(a *account) bool {
	if !a.opening.Allow() {
		a.refuse(RefusedRate)
		return false
	}
	select {
	case r.room <- struct{}{}:
		return true
	default:
		a.refuse(RefusedConnections)
		return false
	}
}

func (r *resolver) give() { <-r.room }

func (r *resolver) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		peer, known := r.g.peers.lookup(addrPortOf(c.RemoteAddr()).Addr())
		if !known || !r.take(peer) {
			c.Close()
			continue
		}
		r.g.tasks.Go(func() {
			defer r.give()
			defer c.Close()
			defer context.AfterFunc(r.ctx, func() { c.Close() })()
			for r.answerTCP(c) == nil {
			}
		})
	}
}

// answerTCP answers one question of a connection.
func (r *resolver) answerTCP(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(dnsIdle)); err != nil {
		return err
	}
	question, err := readMessage(c)
	if err != nil {
		return err
	}
	answer, err := r.ask(question, "tcp")
	if err != nil {
		return err
	}
	return writeMessage(c, answer)
}

// ask puts a question to the host's resolvers, one after the other.
func (r *resolver) ask(question []byte, network string) ([]byte, error) {
	servers, err := r.g.o.Nameservers()
	for _, server := range servers {
		var answer []byte
		if answer, err = r.askOne(question, network, server); err == nil {
			return answer, nil
		}
		if r.ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (r *resolver) askOne(question []byte, network string, server netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.g.o.Timeouts.Nameserver)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if network == "tcp" {
		if err := writeMessage(c, question); err != nil {
			return nil, err
		}
		return readMessage(c)
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	b := make([]byte, bufferSize)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, err
		}
		if n >= dnsHeader && binary.BigEndian.Uint16(b) == binary.BigEndian.Uint16(question) {
			return b[:n], nil // the socket is connected: only that server's answers come in
		}
	}
}

// readMessage reads a message with its length in front, RFC 1035, 4.2.2.
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	if len(b) < dnsHeader {
		return nil, errors.New("a DNS message without a whole header")
	}
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

// nameserversOf reads those of a resolv.conf(5). It is read for each question, since it may change at any time. Without one
// it is this host, as the C library has it.
func nameserversOf(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []netip.AddrPort
	for s := bufio.NewScanner(f); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a, dnsPort))
		}
	}
	if len(out) == 0 {
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort))
	}
	return out, nil
}

// addrPortOf is an address of a socket of the stack or the host.
func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmapped(a.AddrPort())
	case *net.TCPAddr:
		return unmapped(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
