package netstack

import (
	"time"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	leastBuffer = 4 << 10
	firstBuffer = 1 << 20
	mostBuffer  = 6 << 20 // 100 Mbit/s over half a second
	timeWait    = 10 * time.Second
	sendUDP     = 256 << 10 // so that one socket never fills the queue, and is not woken for each packet
)

// tune sets what differs from gVisor's defaults.
func tune(s *stack.Stack) tcpip.Error {
	sack, moderate, wait := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.TCPTimeWaitTimeoutOption(timeWait)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: leastBuffer, Default: firstBuffer, Max: mostBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: leastBuffer, Default: firstBuffer, Max: mostBuffer}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &wait, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return err
		}
	}
	datagrams := tcpip.SendBufferSizeOption{Min: leastBuffer, Default: sendUDP, Max: mostBuffer}
	return s.SetOption(datagrams)
}

// DiscardLogs silences gVisor, for the whole process: it writes to standard error in a form of its own, and peers can make it.
func DiscardLogs() { log.SetTarget(discard{}) }

type discard struct{}

func (discard) Emit(int, log.Level, time.Time, string, ...any) {}
