package wgquick

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// PutPeer makes the file say p. In an existing section only the keys whose meaning differs are
// touched, entries of AllowedIPs that stay keep their line and spelling, and the endpoint is left
// alone unless p has one. A new peer becomes a section at the end, with one blank line before it.
// A value out of range is refused with a *ParseError and changes nothing.
func (f *File) PutPeer(p Peer) error {
	p, err := checkPeer(p)
	if err != nil {
		return err
	}
	blocks := f.peers[p.PublicKey]
	if len(blocks) == 0 {
		f.appendPeer(p)
		return nil
	}
	var current Peer
	unreadable := make(map[keyID]bool)
	for _, b := range blocks {
		s := b.peer()
		current.merge(&s)
		for _, e := range s.errors {
			unreadable[e.key] = true
		}
	}
	if !p.PresharedKey.Equal(current.PresharedKey) || unreadable[keyPresharedKey] {
		f.setPeerKey(blocks, keyPresharedKey, p.PresharedKey.RevealText())
	}
	last := blocks[len(blocks)-1]
	if !samePrefixes(p.AllowedIPs, current.AllowedIPs) || unreadable[keyAllowedIPs] {
		f.setAllowedIPs(last, p.AllowedIPs)
	}
	if p.Endpoint != "" && (p.Endpoint != current.Endpoint || unreadable[keyEndpoint]) {
		f.setPeerKey(blocks, keyEndpoint, p.Endpoint)
	}
	if p.PersistentKeepalive != current.PersistentKeepalive || unreadable[keyPersistentKeepalive] {
		f.setPeerKey(blocks, keyPersistentKeepalive, keepaliveText(p))
	}
	return nil
}

// checkPeer returns p in canonical form.
func checkPeer(p Peer) (Peer, error) {
	bad := func(key keyID, what string) (Peer, error) {
		return p, &ParseError{Key: key.String(), Want: what}
	}
	if p.PublicKey == (wgtypes.Key{}) {
		return bad(keyPublicKey, wantKey+" that is not all zero")
	}
	if p.PersistentKeepalive < 0 || p.PersistentKeepalive > engine.MaxKeepalive {
		return bad(keyPersistentKeepalive, wantKeepalive)
	}
	ips := make([]netip.Prefix, 0, len(p.AllowedIPs))
	for _, ip := range p.AllowedIPs {
		ip, err := engine.ParsePrefix(ip.String()) // refuses the zero value, unmaps and masks
		if err != nil {
			return bad(keyAllowedIPs, wantAllowedIP)
		}
		ips = append(ips, ip)
	}
	p.AllowedIPs = dedupe(ips)
	if p.Endpoint != "" {
		endpoint, err := parseEndpoint(p.Endpoint)
		if err != nil {
			err.Key = keyEndpoint.String()
			return p, err
		}
		p.Endpoint = endpoint
	}
	return p, nil
}

func samePrefixes(a, b []netip.Prefix) bool {
	return slices.Equal(engine.NormalizePrefixes(a), engine.NormalizePrefixes(b))
}

func keepaliveText(p Peer) string {
	if p.PersistentKeepalive == 0 {
		return ""
	}
	return strconv.Itoa(p.PersistentKeepalive)
}

func prefixesText(ips []netip.Prefix) string {
	texts := make([]string, len(ips))
	for i, ip := range ips {
		texts[i] = ip.String()
	}
	return strings.Join(texts, ", ")
}

// setPeerKey leaves one line with the value in the last of a peer's sections, and none where the
// value is empty: what an earlier section says would otherwise hold again.
func (f *File) setPeerKey(blocks []*block, key keyID, value string) {
	last := blocks[len(blocks)-1]
	for _, b := range blocks {
		places := b.find(key)
		switch {
		case value == "" || b != last:
			f.deleteLines(places)
		case len(places) == 0:
			f.insertPair(b, key, value)
		default:
			f.setOne(key, places, value)
		}
	}
}

// setAllowedIPs changes the AllowedIPs lines of a section: what is not wanted goes, a line that
// becomes empty too; what is new is added to the last line that stays.
func (f *File) setAllowedIPs(b *block, wanted []netip.Prefix) {
	places := b.find(keyAllowedIPs)
	missing := make(map[netip.Prefix]bool, len(wanted))
	for _, ip := range wanted {
		missing[ip] = true
	}
	texts := make([][]string, len(places)) // of each line: the entries that stay
	whole := make([]bool, len(places))
	target := 0
	for i, p := range places {
		ips, _ := parseAllowedIPs(compact(p.line().value())) // a line that can't be read has no entries
		for _, ip := range ips {
			if missing[ip.prefix] {
				delete(missing, ip.prefix)
				texts[i] = append(texts[i], ip.text)
				target = i
			}
		}
		whole[i] = len(ips) > 0 && len(texts[i]) == len(ips)
	}
	added := slices.DeleteFunc(slices.Clone(wanted), func(ip netip.Prefix) bool { return !missing[ip] })
	if len(added) > 0 {
		if len(places) == 0 {
			f.insertPair(b, keyAllowedIPs, prefixesText(added))
			return
		}
		texts[target] = append(texts[target], prefixesText(added))
		whole[target] = false
	}
	var empty []place
	for i, p := range places {
		switch {
		case len(texts[i]) == 0:
			empty = append(empty, p)
		case !whole[i]:
			*p.line() = p.line().withValue(strings.Join(texts[i], ", "))
		}
	}
	f.deleteLines(empty)
}

// appendPeer adds a section at the end.
func (f *File) appendPeer(p Peer) {
	if f.last != nil {
		f.blankAfter(f.last)
	}
	lines := []line{scan("[Peer]", f.eol)}
	for _, kv := range []struct {
		key   keyID
		value string
	}{
		{keyPublicKey, p.PublicKey.String()},
		{keyPresharedKey, p.PresharedKey.RevealText()},
		{keyAllowedIPs, prefixesText(p.AllowedIPs)},
		{keyEndpoint, p.Endpoint},
		{keyPersistentKeepalive, keepaliveText(p)},
	} {
		if kv.value != "" {
			lines = append(lines, pair(kv.key, kv.value, f.eol))
		}
	}
	f.insert(&block{section: sectionPeer, lines: lines}, f.last)
}

// RemovePeer takes the sections of a peer out of the file, each with the comment lines right above
// its header and the blank lines on one side of it. It reports whether there was one.
func (f *File) RemovePeer(key wgtypes.Key) bool {
	blocks := f.peers[key]
	for _, b := range blocks {
		f.remove(b)
		f.closeGap(b)
	}
	delete(f.peers, key)
	return len(blocks) > 0
}

// closeGap drops blank lines around the block that was removed, so that the ones on one side of it
// remain to part its neighbours.
func (f *File) closeGap(b *block) {
	before, after := b.prev, b.next
	if before != nil && before.lines[len(before.lines)-1].kind != lineBlank {
		return
	}
	if after == nil {
		if before != nil { // at the end of the file there is nothing to part
			f.shorten(before, len(before.lines)-1, len(before.lines))
		}
		return
	}
	n := 0
	for n < len(after.lines) && after.lines[n].kind == lineBlank {
		n++
	}
	f.shorten(after, 0, n)
}

func (f *File) shorten(b *block, from, to int) {
	b.lines = slices.Delete(b.lines, from, to)
	if len(b.lines) == 0 {
		f.remove(b)
	}
}
