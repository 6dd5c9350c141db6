package kernel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// socketTimeout bounds a read from the process behind a userspace device: one that is stopped would hold
// it for ever.
const socketTimeout = 10 * time.Second

// readSocket adds up what the process behind a userspace device answers, line by line; the lines are those
// of https://www.wireguard.com/xplatform/.
func readSocket(ctx context.Context, name string, s *sums) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(socketDir, name+".sock"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(socketTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("get=1\n\n")); err != nil {
		return err
	}
	in := bufio.NewReaderSize(c, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("UAPI: the end of the answer is missing: %w", err)
		}
		done, err := s.line(line[:len(line)-1])
		if done || err != nil {
			return err
		}
	}
}

// line adds one line, and reports whether it was the last. Errors name the key of the line alone: a value
// may be a secret.
func (s *sums) line(line []byte) (done bool, err error) {
	key, value, ok := bytes.Cut(line, []byte("="))
	if !ok {
		return true, errors.New("UAPI: the answer ends without an errno")
	}
	switch string(key) {
	case "errno":
		if string(value) != "0" {
			err = errors.New("the device reports an error")
		}
		done = true
	case "private_key":
		var k wgtypes.Key
		k, err = hexKey(value)
		s.face.PrivateKey = engine.NewSecretKey(k)
	case "listen_port":
		var n uint64
		n, err = number(value, 16)
		s.face.ListenPort = uint16(n)
	case "fwmark":
		var n uint64
		n, err = number(value, 32)
		s.face.FwMark = uint32(n)
	case "public_key":
		var k wgtypes.Key
		k, err = hexKey(value)
		s.beginPeer(k)
	case "preshared_key":
		var k wgtypes.Key
		k, err = hexKey(value)
		s.peer.PresharedKey = engine.NewSecretKey(k)
	case "persistent_keepalive_interval":
		var n uint64
		n, err = number(value, 16)
		s.peer.PersistentKeepalive = int(n)
	case "allowed_ip":
		var p netip.Prefix
		p, err = netip.ParsePrefix(string(value))
		s.peer.AllowedIPs = append(s.peer.AllowedIPs, p)
	}
	if err != nil {
		err = fmt.Errorf("UAPI: %.40q: %w", key, err)
	}
	return done, err
}

func hexKey(digits []byte) (k wgtypes.Key, err error) {
	if len(digits) != hex.EncodedLen(len(k)) {
		return k, errors.New("not a key: expected 64 hexadecimal digits")
	}
	if _, err := hex.Decode(k[:], digits); err != nil {
		return wgtypes.Key{}, errors.New("not a key: expected 64 hexadecimal digits")
	}
	return k, nil
}

func number(digits []byte, bits int) (uint64, error) {
	n, err := strconv.ParseUint(string(digits), 10, bits)
	if err != nil {
		return 0, fmt.Errorf("not a number of %d bits", bits)
	}
	return n, nil
}
