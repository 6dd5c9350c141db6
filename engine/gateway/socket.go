package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// socket sends datagrams to anybody from one port of the host: UDP, or ICMP echo as an unprivileged
// user may (a "ping socket", icmp(7)).
type socket struct {
	file *os.File
	raw  syscall.RawConn
	v6   bool
}

// openSocket opens one. Errors: that of the system.
func openSocket(proto engine.Protocol, v6 bool) (*socket, error) {
	family, number := unix.AF_INET, unix.IPPROTO_UDP
	if v6 {
		family = unix.AF_INET6
	}
	if proto == engine.ProtocolICMP {
		number = unix.IPPROTO_ICMP
		if v6 {
			number = unix.IPPROTO_ICMPV6
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, number)
	if err != nil {
		return nil, err
	}
	if v6 {
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1), unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	} else {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &socket{file: os.NewFile(uintptr(fd), "datagram socket"), v6: v6}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) close() { s.file.Close() }

// send hands over a datagram and waits for nothing: one that the host has no room for is lost.
func (s *socket) send(to netip.AddrPort, b []byte) error {
	var sa unix.Sockaddr
	if s.v6 {
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	var err error
	failed := s.raw.Write(func(fd uintptr) bool {
		if err = unix.Sendto(int(fd), b, 0, sa); isReport(err) {
			err = unix.Sendto(int(fd), b, 0, sa) // the first one told of an earlier datagram
		}
		return true
	})
	return errors.Join(failed, err)
}

// isReport reports whether an error may be of a datagram before: with IP_RECVERR a socket tells once of each.
func isReport(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) ||
		errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EPROTO) || errors.Is(err, unix.EACCES)
}

// arrival is what a socket received: a datagram, or the network's word on one that was sent.
type arrival struct {
	from   netip.AddrPort    // of a report: where the datagram went
	data   *[bufferSize]byte // to be put back; nil: a report
	length int
	report report
}

// report is what the network says of a datagram; see ip(7), IP_RECVERR.
type report struct {
	kind errorKind
	by   netip.Addr // zero: this host
	mtu  int        // of tooBig
}

// receive waits for an arrival. Errors: os.ErrClosed.
func (s *socket) receive() (arrival, error) {
	var a arrival
	var err error
	failed := s.raw.Read(func(fd uintptr) bool {
		for {
			a, err = receiveNow(int(fd))
			switch {
			case errors.Is(err, unix.EINTR):
			case isReport(err): // its words are in the queue
			case errors.Is(err, unix.EAGAIN):
				a, err = reportNow(int(fd))
				return !errors.Is(err, unix.EAGAIN)
			default:
				return true
			}
		}
	})
	return a, errors.Join(failed, err)
}

func receiveNow(fd int) (arrival, error) {
	b, _ := buffers.Get().(*[bufferSize]byte)
	n, sa, err := unix.Recvfrom(fd, b[:], 0)
	if err != nil {
		buffers.Put(b)
		return arrival{}, err
	}
	return arrival{from: sockaddr(sa), data: b, length: n}, nil
}

// reportNow reads one entry of the error queue.
func reportNow(fd int) (arrival, error) {
	var oob [512]byte
	_, n, _, sa, err := unix.Recvmsg(fd, nil, oob[:], unix.MSG_ERRQUEUE)
	if err != nil {
		return arrival{}, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return arrival{}, fmt.Errorf("read the error queue of a socket: %w", err)
	}
	a := arrival{from: sockaddr(sa)}
	for _, m := range messages {
		v4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if v4 || v6 {
			a.report = readReport(m.Data)
		}
	}
	return a, nil
}

// readReport reads a struct sock_extended_err and the offender's address behind it (linux/errqueue.h).
func readReport(b []byte) report {
	const size = int(unsafe.Sizeof(unix.SockExtendedErr{}))
	if len(b) < size {
		return report{}
	}
	errno := unix.Errno(binary.NativeEndian.Uint32(b))
	r := report{mtu: int(binary.NativeEndian.Uint32(b[8:]))}
	switch errno {
	case unix.ECONNREFUSED:
		r.kind = noPort
	case unix.EHOSTUNREACH:
		r.kind = noHost
		if origin, what := b[4], b[5]; origin == unix.SO_EE_ORIGIN_ICMP && what == timeExceeded.type4 ||
			origin == unix.SO_EE_ORIGIN_ICMP6 && what == timeExceeded.type6 {
			r.kind = timeExceeded
		}
	case unix.ENETUNREACH:
		r.kind = noNetwork
	case unix.EMSGSIZE:
		r.kind = tooBig
	case unix.EACCES:
		r.kind = prohibited
	}
	switch by := b[size:]; {
	case len(by) >= unix.SizeofSockaddrInet4 && binary.NativeEndian.Uint16(by) == unix.AF_INET:
		r.by = netip.AddrFrom4([4]byte(by[4:8]))
	case len(by) >= unix.SizeofSockaddrInet6 && binary.NativeEndian.Uint16(by) == unix.AF_INET6:
		r.by = netip.AddrFrom16([16]byte(by[8:24]))
	}
	return r
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
