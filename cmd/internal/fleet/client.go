package fleet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// echoPort is where a node's service inside the tunnel sends every line back (RFC 862).
const echoPort = 7

// Client is a standard WireGuard client that was made from the file that the panel hands out.
type Client struct {
	Peer panelclient.Peer
	Node *Node

	*mesh.Client
	http *http.Client
}

// Connect adds a peer through the panel, fetches its file, and runs a client on it.
func (f *Fleet) Connect(ctx context.Context, n *Node, name string) (*Client, error) {
	c := &Client{Node: n}
	err := f.Call(ctx, http.MethodPost, "/api/nodes/"+n.ID+"/peers", map[string]any{"name": name, "preshared_key": "auto"}, &c.Peer)
	if err != nil {
		return nil, err
	}
	text, err := f.Panel.Raw(ctx, "/api/nodes/"+n.ID+"/peers/"+c.Peer.ID+"/config")
	if err != nil {
		return nil, err
	}
	options, err := clientOptions(text)
	if err != nil {
		return nil, fmt.Errorf("the file of client %s: %w", name, err)
	}
	if c.Client, err = mesh.NewClient(options); err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.Net().DialContext}}
	return c, nil
}

// clientOptions reads a client's wg-quick(8) file.
func clientOptions(text []byte) (mesh.Options, error) {
	file, err := wgquick.Parse(text)
	if err != nil {
		return mesh.Options{}, err
	}
	i, err := file.Interface()
	if err != nil {
		return mesh.Options{}, err
	}
	peers, err := file.Peers()
	if err != nil {
		return mesh.Options{}, err
	}
	if len(peers) != 1 {
		return mesh.Options{}, fmt.Errorf("it has %d peers: expected the node alone", len(peers))
	}
	server := peers[0].Engine()
	o := mesh.Options{
		PrivateKey: i.PrivateKey, Peer: server.PublicKey, PresharedKey: server.PresharedKey, Endpoint: server.Endpoint,
		AllowedIPs: server.AllowedIPs, PersistentKeepalive: server.PersistentKeepalive,
	}
	if i.MTU != nil {
		o.MTU = *i.MTU
	}
	for _, a := range i.Addresses {
		o.Addresses = append(o.Addresses, a.Addr())
	}
	return o, nil
}

// Key is the client's public key.
func (c *Client) Key() wgtypes.Key { return c.PublicKey() }

// Get fetches the page that the node serves inside its tunnel.
func (c *Client) Get(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Node.Address.String()+"/", nil)
	if err != nil {
		return "", fmt.Errorf("make a request: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("through the tunnel of %s: %w", c.Node.Name, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", fmt.Errorf("through the tunnel of %s: %w", c.Node.Name, err)
	}
	return string(body), nil
}

// Close ends the client and its connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.Client.Close()
}

// Session is one TCP connection inside a tunnel.
type Session struct {
	conn net.Conn
	in   *bufio.Reader
}

// Dial opens a session with the node's echo service.
func (c *Client) Dial(ctx context.Context) (*Session, error) {
	conn, err := c.Net().DialContextTCPAddrPort(ctx, netip.AddrPortFrom(c.Node.Address, echoPort))
	if err != nil {
		return nil, fmt.Errorf("through the tunnel of %s: %w", c.Node.Name, err)
	}
	return &Session{conn: conn, in: bufio.NewReader(conn)}, nil
}

// Say sends a line and demands it back.
func (s *Session) Say(line string) error {
	if _, err := io.WriteString(s.conn, line+"\n"); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	back, err := s.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if back != line+"\n" {
		return fmt.Errorf("%q came back for %q", back, line)
	}
	return nil
}

// Close ends the session.
func (s *Session) Close() error { return s.conn.Close() }

// Serve offers a page on port 80 and an echo on port 7 inside the node's tunnel, until the node
// stops or ctx ends.
func (f *Fleet) Serve(ctx context.Context, n *Node) error {
	d, err := n.Device(ctx)
	if err != nil {
		return err
	}
	page, err := d.Net().ListenTCPAddrPort(netip.AddrPortFrom(n.Address, 80))
	if err != nil {
		return fmt.Errorf("listen inside the tunnel of %s: %w", n.Name, err)
	}
	echo, err := d.Net().ListenTCPAddrPort(netip.AddrPortFrom(n.Address, echoPort))
	if err != nil {
		page.Close() //nolint:errcheck // the other error counts
		return fmt.Errorf("listen inside the tunnel of %s: %w", n.Name, err)
	}
	server := &http.Server{ReadHeaderTimeout: headerTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "hello from %s", n.Name)
	})}
	f.tasks.Go(func() error { server.Serve(page); return nil }) //nolint:errcheck // ends with its listener
	f.tasks.Go(func() error { f.echo(echo); return nil })
	context.AfterFunc(f.running, func() { server.Close(); echo.Close() }) //nolint:errcheck // the node goes down
	return nil
}

func (f *Fleet) echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		stop := context.AfterFunc(f.running, func() { conn.Close() }) // the node goes down
		f.tasks.Go(func() error {
			defer stop()
			defer conn.Close()
			io.Copy(conn, conn) //nolint:errcheck // ends with the connection
			return nil
		})
	}
}
