package mesh

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Options describe a client and the one peer it speaks to.
type Options struct {
	PrivateKey engine.SecretKey // the client's own; zero: made up, see (*Client).PublicKey
	Addresses  []netip.Addr     // inside the tunnel
	DNS        []netip.Addr
	MTU        int       // bytes; 0: 1420
	Bind       conn.Bind // nil: the system's UDP, on a port that it chooses

	Peer         wgtypes.Key
	PresharedKey engine.SecretKey
	Endpoint     netip.AddrPort // of the peer; zero: it will call
	AllowedIPs   []netip.Prefix // what is sent to the peer
	// PersistentKeepalive is in seconds; where it is not 0 the handshake begins at once.
	PersistentKeepalive int
}

// Client is a running WireGuard client with a network stack of its own.
type Client struct {
	dev     *device.Device
	network *netstack.Net
	public  wgtypes.Key
	close   sync.Once
}

// NewClient starts a client. On an error nothing is left running.
func NewClient(o Options) (*Client, error) {
	if o.PrivateKey.IsZero() {
		k, err := engine.GeneratePrivateKey()
		if err != nil {
			return nil, err
		}
		o.PrivateKey = k
	}
	if o.MTU == 0 {
		o.MTU = device.DefaultMTU
	}
	if o.Bind == nil {
		o.Bind = conn.NewDefaultBind()
	}
	t, n, err := netstack.CreateNetTUN(o.Addresses, o.DNS, o.MTU)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	c := &Client{
		network: n, public: o.PrivateKey.PublicKey(),
		dev: device.NewDevice(t, o.Bind, device.NewLogger(device.LogLevelSilent, "")),
	}
	if err := c.dev.IpcSet(o.text()); err != nil {
		c.Close()
		return nil, fmt.Errorf("configure a client: %w", err)
	}
	if err := c.dev.Up(); err != nil {
		c.Close()
		return nil, fmt.Errorf("bring a client up: %w", err)
	}
	return c, nil
}

func (o Options) text() string {
	var b strings.Builder
	line := func(key, value string) { b.WriteString(key + "=" + value + "\n") }
	secret := func(key string, k wgtypes.Key) { line(key, hex.EncodeToString(k[:])) }
	secret("private_key", o.PrivateKey.Reveal())
	secret("public_key", o.Peer)
	secret("preshared_key", o.PresharedKey.Reveal())
	if o.Endpoint.IsValid() {
		line("endpoint", o.Endpoint.String())
	}
	for _, ip := range o.AllowedIPs {
		line("allowed_ip", ip.String())
	}
	line("persistent_keepalive_interval", strconv.Itoa(o.PersistentKeepalive))
	return b.String()
}

// Net dials and listens inside the tunnel. Close what you opened with it before the client.
func (c *Client) Net() *netstack.Net { return c.network }

// PublicKey is the key that the other side must know.
func (c *Client) PublicKey() wgtypes.Key { return c.public }

// Stats are what the client measured of its peer.
func (c *Client) Stats() (engine.Stats, error) {
	text, err := c.dev.IpcGet()
	if err != nil {
		return engine.Stats{}, fmt.Errorf("read a client: %w", err)
	}
	var s engine.Stats
	var sec, nsec int64
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch key {
		case "rx_bytes":
			s.RxBytes = n
		case "tx_bytes":
			s.TxBytes = n
		case "last_handshake_time_sec":
			sec = n
		case "last_handshake_time_nsec":
			nsec = n
		case "endpoint":
			s.Endpoint, _ = netip.ParseAddrPort(value)
		}
	}
	if sec != 0 || nsec != 0 {
		s.LastHandshake = time.Unix(sec, nsec)
	}
	return s, nil
}

// Close stops the client and waits for it. A second call does nothing.
func (c *Client) Close() {
	c.close.Do(func() {
		_ = c.dev.Down() // its error is of a UDP socket that is closed either way
		c.dev.Close()
	})
}
