package web

import (
	"net/netip"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel"
)

// interfaceData is what the panel wants of an interface; null where it has no wish.
type interfaceData struct {
	PublicKey  *string    `json:"public_key"`
	ListenPort *int       `json:"listen_port"`
	Addresses  *[]string  `json:"addresses"`
	MTU        *int       `json:"mtu"`
	DNS        *string    `json:"dns"`
	Table      *string    `json:"table"`
	FwMark     *uint32    `json:"fwmark"`
	Hooks      *hooksData `json:"hooks"`
	Forward    *string    `json:"forward"`
	Masquerade *string    `json:"masquerade"`
}

// interfaceBody changes that: an absent field stays, null ends the wish.
type interfaceBody struct {
	PublicKey  optional[string]    `json:"public_key"`
	ListenPort optional[int]       `json:"listen_port"`
	Addresses  optional[[]string]  `json:"addresses" doc:"addresses with their prefix length"`
	MTU        optional[int]       `json:"mtu"`
	DNS        optional[string]    `json:"dns"`
	Table      optional[string]    `json:"table"`
	FwMark     optional[uint32]    `json:"fwmark"`
	Hooks      optional[hooksBody] `json:"hooks"`
	Forward    optional[string]    `json:"forward" doc:"any, or the links that packets from the interface may leave by, with a comma between; empty for none"`
	Masquerade optional[string]    `json:"masquerade" doc:"any, or the links behind which packets from the interface get the host's address; it implies forwarding"`
}

type hooksData struct {
	PreUp    []string `json:"pre_up"`
	PostUp   []string `json:"post_up"`
	PreDown  []string `json:"pre_down"`
	PostDown []string `json:"post_down"`
}

// hooksBody is hooksData as a request: every list may be left out.
type hooksBody struct {
	PreUp    []string `json:"pre_up"`
	PostUp   []string `json:"post_up"`
	PreDown  []string `json:"pre_down"`
	PostDown []string `json:"post_down"`
}

func fromWish(w panel.InterfaceWish) interfaceData {
	d := interfaceData{
		PublicKey: w.PublicKey, ListenPort: w.ListenPort, MTU: w.MTU, DNS: w.DNS, Table: w.Table, FwMark: w.FwMark,
		Forward: w.Forward, Masquerade: w.Masquerade,
	}
	if w.Addresses != nil {
		d.Addresses = new(each(*w.Addresses, netip.Prefix.String))
	}
	if w.Hooks != nil {
		d.Hooks = new(fromHooks(*w.Hooks))
	}
	return d
}

func fromHooks(h agent.Hooks) hooksData {
	return hooksData{notNil(h.PreUp), notNil(h.PostUp), notNil(h.PreDown), notNil(h.PostDown)}
}

func (b hooksBody) hooks() agent.Hooks {
	return agent.Hooks{PreUp: b.PreUp, PostUp: b.PostUp, PreDown: b.PreDown, PostDown: b.PostDown}
}

// changeWish changes what b names.
func changeWish(w *panel.InterfaceWish, b interfaceBody) error {
	change(&w.PublicKey, b.PublicKey)
	change(&w.ListenPort, b.ListenPort)
	change(&w.MTU, b.MTU)
	change(&w.DNS, b.DNS)
	change(&w.Table, b.Table)
	change(&w.FwMark, b.FwMark)
	change(&w.Forward, b.Forward)
	change(&w.Masquerade, b.Masquerade)
	if b.Hooks.Set {
		w.Hooks = nil
		if h := b.Hooks.Value; h != nil {
			w.Hooks = new(h.hooks())
		}
	}
	if !b.Addresses.Set {
		return nil
	}
	w.Addresses = nil
	if b.Addresses.Value == nil {
		return nil
	}
	addresses := []netip.Prefix{}
	for _, text := range *b.Addresses.Value {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return panel.Invalid("addresses", "%q is not an address with a prefix length, like 10.8.0.1/24", clip(text))
		}
		addresses = append(addresses, p)
	}
	w.Addresses = &addresses
	return nil
}

func change[T any](field **T, o optional[T]) {
	if o.Set {
		*field = o.Value
	}
}

func (s *Server) getInterface(c *gin.Context, _ none) (answer[interfaceData], error) {
	w, err := s.panel.Interface(c.Request.Context(), c.Param("id"))
	return answer[interfaceData]{message: "Interface found", data: fromWish(w)}, err
}

func (s *Server) putInterface(c *gin.Context, b interfaceBody) (answer[interfaceData], error) {
	w, err := s.panel.ChangeInterface(c.Request.Context(), c.Param("id"), func(w *panel.InterfaceWish) error {
		return changeWish(w, b)
	})
	return answer[interfaceData]{message: "Interface updated", data: fromWish(w)}, err
}

func (s *Server) syncInterface(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.SyncInterface(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Interface synchronized"}, err
}

func (s *Server) enableInterface(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.EnableInterface(c.Request.Context(), c.Param("id"), true)
	return answer[none]{message: "Interface enabled"}, err
}

func (s *Server) disableInterface(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.EnableInterface(c.Request.Context(), c.Param("id"), false)
	return answer[none]{message: "Interface disabled"}, err
}
