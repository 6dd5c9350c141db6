package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// peers know whose an address inside the tunnel is: cryptokey routing, as the device does it.
type peers struct {
	table atomic.Pointer[bart.Table[*account]] // replaced, never changed

	mu       sync.Mutex // protects accounts, and is held by who replaces the table
	accounts map[wgtypes.Key]*account
}

func (p *peers) start() {
	p.table.Store(new(bart.Table[*account]))
	p.accounts = make(map[wgtypes.Key]*account)
}

// lookup returns whose an address is. It takes no lock.
func (p *peers) lookup(a netip.Addr) (*account, bool) { return p.table.Load().Lookup(a) }

// set replaces all peers. Who stays keeps the account.
func (p *peers) set(all []engine.Peer, open func(wgtypes.Key) *account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	table := new(bart.Table[*account])
	accounts := make(map[wgtypes.Key]*account, len(all))
	for _, peer := range all {
		a := p.accounts[peer.PublicKey]
		if a == nil {
			a = open(peer.PublicKey)
		}
		accounts[peer.PublicKey] = a
		for _, ip := range peer.AllowedIPs {
			table.Insert(ip.Masked(), a)
		}
	}
	p.accounts = accounts
	p.table.Store(table)
}

// change does what a change of the device does to its routing: what a peer loses goes first, and only where it
// is still the peer's; what is given is taken from whoever has it.
func (p *peers) change(changes []engine.PeerChange, open func(wgtypes.Key) *account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	table := p.table.Load()
	for _, c := range changes {
		if c.Before == nil {
			continue
		}
		a := p.accounts[c.Before.PublicKey]
		for _, ip := range c.Before.AllowedIPs {
			if owner, there := table.Get(ip.Masked()); there && owner == a {
				table = table.DeletePersist(ip.Masked())
			}
		}
		if c.After == nil {
			delete(p.accounts, c.Before.PublicKey)
		}
	}
	for _, c := range changes {
		if c.After == nil {
			continue
		}
		a := p.accounts[c.After.PublicKey]
		if a == nil {
			a = open(c.After.PublicKey)
			p.accounts[c.After.PublicKey] = a
		}
		for _, ip := range c.After.AllowedIPs {
			table = table.InsertPersist(ip.Masked(), a)
		}
	}
	p.table.Store(table)
}

// each calls f for every account.
func (p *peers) each(f func(*account)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.accounts {
		f(a)
	}
}
