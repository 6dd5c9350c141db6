package wgquick

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

func addFixtures(f *testing.F, add func(data []byte)) {
	for _, name := range allFixtures(f) {
		add(fixture(f, name))
	}
	add([]byte(gatewayFile))
	add([]byte(strings.TrimSpace(gatewayFile)))
}

// FuzzParse: every file without NUL is taken and printed as it was; what it means survives being
// written anew in canonical form.
func FuzzParse(f *testing.F) {
	addFixtures(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if bytes.IndexByte(data, 0) >= 0 {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, file.Bytes()))
		file.Redacted()
		_ = file.String()
		i, interfaceErr := file.Interface()
		peers, peersErr := file.Peers()
		g, gatewayErr := file.Gateway()
		for _, err := range []error{interfaceErr, peersErr, gatewayErr} {
			e, ok := errors.AsType[*ParseError](err)
			require.Equal(t, err != nil, ok)
			if ok {
				require.LessOrEqual(t, e.Line, bytes.Count(data, []byte("\n"))+1)
				require.Positive(t, e.Line)
			}
		}
		if _, err := ParseStrict(data); err == nil {
			require.NoError(t, errors.Join(interfaceErr, peersErr))
		}
		if interfaceErr == nil && peersErr == nil {
			require.NoError(t, gatewayErr, "what an interface comes up with, its gateway takes")
			rewrite(t, i, peers)
			rewriteAccess(t, file, g.Access)
		}
	})
}

func rewrite(t *testing.T, i Interface, peers []Peer) {
	fresh := New()
	want := texts(i)
	for key, values := range want {
		if err := setKey(fresh, key, values...); err != nil {
			require.ErrorContains(t, err, "control characters") // read from a file, refused in an edit
			delete(want, key)
		}
	}
	n := 0
	for _, p := range peers {
		if p.PublicKey != (wgtypes.Key{}) { // wg(8) reads the zero key, no device takes it
			require.NoError(t, fresh.PutPeer(p))
			peers[n], n = p, n+1
		}
	}
	again, err := Parse(fresh.Bytes())
	require.NoError(t, err)
	j, err := again.Interface()
	require.NoError(t, err)
	require.Equal(t, want, texts(j))
	got := bare(t, again)
	require.Len(t, got, n)
	for k := range got {
		p := peers[k]
		p.Name, p.Line, p.AllowedIPs = "", 0, engine.NormalizePrefixes(p.AllowedIPs)
		require.Equal(t, p, got[k])
	}
}

// rewriteAccess takes all that is said of access out of a file, which leaves its other words, and puts it in again.
func rewriteAccess(t *testing.T, file *File, p engine.AccessPolicy) {
	before := lines(file, unaccess)
	for _, wanted := range []engine.AccessPolicy{{}, p} {
		file.SetAccess(wanted)
		again, err := Parse(file.Bytes())
		require.NoError(t, err)
		g, err := again.Gateway()
		require.NoError(t, err)
		require.Equal(t, wanted, g.Access)
		require.Equal(t, before, lines(again, unaccess))
	}
}

// unaccess wants the lines that SetAccess leaves alone.
func unaccess(_ *block, l *line) bool {
	return l.kind != lineDirective || !slices.Contains([]keyID{keyAllow, keyDeny, keyLimit}, l.key)
}

// FuzzEdit: an edit changes what it was asked for and no other line.
func FuzzEdit(f *testing.F) {
	addFixtures(f, func(data []byte) {
		for op := range byte(4) {
			f.Add(data, op, byte(1), uint16(25), "touch /run/%i # x")
		}
	})
	f.Fuzz(func(t *testing.T, data []byte, op, which byte, n uint16, hook string) {
		before, err := Parse(data)
		if err != nil {
			return
		}
		file, err := Parse(data)
		require.NoError(t, err)
		e := fuzzedEdit{t: t, before: before, file: file, which: which, n: n, hook: hook}
		switch op % 4 {
		case 0:
			e.put()
		case 1:
			e.remove()
		case 2:
			e.set()
		case 3:
			e.access()
		}
		again, err := Parse(file.Bytes())
		require.NoError(t, err)
		require.Len(t, again.peers, len(file.peers))
	})
}

type fuzzedEdit struct {
	t            *testing.T
	before, file *File
	which        byte
	n            uint16
	hook         string
}

// key picks one of the file's peers, or a new one.
func (e fuzzedEdit) key() wgtypes.Key {
	var keys []wgtypes.Key
	for _, b := range e.before.blocks() {
		if k, ok := b.publicKey(); ok && k != (wgtypes.Key{}) {
			keys = append(keys, k)
		}
	}
	keys = append(keys, wgtypes.Key{1, 2, 3})
	return keys[int(e.which)%len(keys)]
}

// lines returns the lines that are not blank and that keep wants.
func lines(f *File, keep func(*block, *line) bool) []string {
	var out []string
	for _, b := range f.blocks() {
		for i := range b.lines {
			if l := &b.lines[i]; l.kind != lineBlank && keep(b, l) {
				out = append(out, trimmed(l.text))
			}
		}
	}
	return out
}

func (e fuzzedEdit) reparsed() *File {
	f, err := Parse(e.file.Bytes())
	require.NoError(e.t, err)
	return f
}

func (e fuzzedEdit) put() {
	p := Peer{PublicKey: e.key(), PersistentKeepalive: int(e.n), AllowedIPs: prefixes("10.0.0.0/8", "fd00::/64")}
	if e.n%2 == 0 {
		p.PresharedKey = engine.NewSecretKey(wgtypes.Key{9})
	}
	require.NoError(e.t, e.file.PutPeer(p))
	once := e.file.Bytes()
	require.NoError(e.t, e.file.PutPeer(p))
	require.Equal(e.t, string(once), string(e.file.Bytes()))

	others := func(_ *block, l *line) bool {
		return !slices.Contains([]keyID{keyAllowedIPs, keyPresharedKey, keyPersistentKeepalive, keyEndpoint}, l.key)
	}
	want := lines(e.before, others)
	if len(e.before.peers[p.PublicKey]) == 0 {
		want = append(want, "[Peer]", "PublicKey = "+p.PublicKey.String())
	}
	after := e.reparsed()
	require.Equal(e.t, want, lines(after, others))
	e.compare(after, p.PublicKey, &p)
}

func (e fuzzedEdit) remove() {
	key := e.key()
	require.Equal(e.t, len(e.before.peers[key]) > 0, e.file.RemovePeer(key))
	after := e.reparsed()
	want := lines(e.before, func(b *block, _ *line) bool { k, ok := b.publicKey(); return !ok || k != key })
	require.Equal(e.t, want, lines(after, func(*block, *line) bool { return true }))
	e.compare(after, key, nil)
}

// compare wants all peers but the edited one as they were, names too.
func (e fuzzedEdit) compare(after *File, key wgtypes.Key, edited *Peer) {
	was, err := e.before.Peers()
	if err != nil {
		return
	}
	is, err := after.Peers()
	require.NoError(e.t, err)
	if edited != nil && !slices.ContainsFunc(was, func(p Peer) bool { return p.PublicKey == key }) {
		was = append(was, *edited)
	}
	if edited == nil {
		was = slices.DeleteFunc(was, func(p Peer) bool { return p.PublicKey == key })
	}
	require.Len(e.t, is, len(was))
	for i := range was {
		was[i].Line, is[i].Line = 0, 0
		if was[i].PublicKey == key {
			was[i].AllowedIPs, was[i].PresharedKey, was[i].PersistentKeepalive = edited.AllowedIPs, edited.PresharedKey, edited.PersistentKeepalive
			was[i].AllowedIPs = engine.NormalizePrefixes(was[i].AllowedIPs)
			is[i].AllowedIPs = engine.NormalizePrefixes(is[i].AllowedIPs)
		}
		require.Equal(e.t, was[i], is[i])
	}
	i, err := e.before.Interface()
	j, err2 := after.Interface()
	if err != nil && edited == nil && misplaced(e.before.peers[key]) {
		return // the directive that was refused went with its peer
	}
	require.Equal(e.t, err == nil, err2 == nil)
	require.Equal(e.t, i, j)
}

// misplaced finds a directive in sections of a peer.
func misplaced(blocks []*block) bool {
	return slices.ContainsFunc(blocks, func(b *block) bool {
		return slices.ContainsFunc(b.lines, func(l line) bool { return l.kind == lineDirective })
	})
}

func (e fuzzedEdit) access() {
	key := e.key()
	wanted := engine.AccessPolicy{Node: engine.Access{Limits: engine.Limits{Rate: int(e.n)}}}
	if e.file.HasPeer(key) {
		wanted.Peers = map[wgtypes.Key]engine.Access{key: {Deny: rules(e.t, "any udp 53"), Limits: engine.Limits{Bandwidth: engine.NoLimit}}}
	}
	e.file.SetAccess(wanted)
	once := e.file.Bytes()
	e.file.SetAccess(wanted)
	require.Equal(e.t, string(once), string(e.file.Bytes()))

	after := e.reparsed()
	others := func(b *block, l *line) bool {
		return unaccess(b, l) && !(l.kind == lineHeader && l.section == sectionInterface)
	}
	require.Equal(e.t, lines(e.before, others), lines(after, others))
	if _, err := e.before.Gateway(); err != nil {
		return
	}
	c, err := after.Gateway()
	require.NoError(e.t, err)
	require.Equal(e.t, wanted, c.Access)
}

func (e fuzzedEdit) set() {
	key, values := keyPostUp, []string{e.hook, "true"}
	switch e.which % 5 {
	case 0:
		key, values = keyMTU, []string{"1400"}
	case 1:
		key, values = keyAddress, []string{"10.9.8.7/24", "fd00::1/64"}
	case 2:
		key, values = keyForward, []string{"eth0", "eth1"}
	case 3:
		key, values = keyMasquerade, []string{AnyLink}
	}
	name := key.String()
	if key.info().ours {
		name = strings.TrimPrefix(name, keyDirective.String()+": ")
	}
	if e.n%5 == 0 {
		values = nil
	}
	wasPeers, peersErr := e.before.Peers()
	if err := setKey(e.file, name, values...); err != nil {
		require.Equal(e.t, string(e.before.Bytes()), string(e.file.Bytes()))
		return
	}
	after := e.reparsed()
	others := func(b *block, l *line) bool {
		return (b.section != sectionInterface || l.key != key) && !(l.kind == lineHeader && l.section == sectionInterface)
	}
	require.Equal(e.t, lines(e.before, others), lines(after, others))
	isPeers, err := after.Peers()
	require.Equal(e.t, peersErr == nil, err == nil)
	require.Len(e.t, isPeers, len(wasPeers))
	for i := range isPeers {
		wasPeers[i].Line, isPeers[i].Line = 0, 0
	}
	require.Equal(e.t, wasPeers, isPeers)

	was, err := e.before.Interface()
	if err != nil {
		return
	}
	is, err := after.Interface()
	require.NoError(e.t, err)
	want := texts(was)
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return trimmed(v) == "" })
	for i := range values {
		values[i] = trimmed(values[i])
	}
	if delete(want, name); len(values) > 0 {
		want[name] = values
	}
	require.Equal(e.t, want, texts(is))
}
