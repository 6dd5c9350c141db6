package wgquick

// keyID names a known key of the format. The order is the one in which new lines are written.
type keyID uint8

const (
	keyUnknown keyID = iota
	keyAddress
	keyListenPort
	keyPrivateKey
	keyFwMark
	keyDNS
	keyMTU
	keyTable
	keySaveConfig
	keyDirective // of an unknown name
	keyForward
	keyMasquerade
	keyResolver
	keyPublish
	keyAllow // of the node, or of a peer
	keyDeny
	keyLimit
	keyPreUp
	keyPostUp
	keyPreDown
	keyPostDown
	keyPublicKey
	keyPresharedKey
	keyAllowedIPs
	keyEndpoint
	keyPersistentKeepalive
)

// section is the kind of section that a line stands in or begins.
type section uint8

const (
	sectionNone section = iota // before the first header
	sectionInterface
	sectionPeer
	sectionOther
)

type keyInfo struct {
	name    string
	section section
	wg      bool // wg(8) knows it; the others are wg-quick's
	list    bool // several values in a line, several lines add up
	hook    bool // a shell command: one value a line, lines add up, '#' belongs to it
	ours    bool // a directive: the name is that of the whole comment in front of the value
}

var keyInfos = [...]keyInfo{
	keyUnknown:             {},
	keyAddress:             {name: "Address", section: sectionInterface, list: true},
	keyListenPort:          {name: "ListenPort", section: sectionInterface, wg: true},
	keyPrivateKey:          {name: "PrivateKey", section: sectionInterface, wg: true},
	keyFwMark:              {name: "FwMark", section: sectionInterface, wg: true},
	keyDNS:                 {name: "DNS", section: sectionInterface, list: true},
	keyMTU:                 {name: "MTU", section: sectionInterface},
	keyTable:               {name: "Table", section: sectionInterface},
	keySaveConfig:          {name: "SaveConfig", section: sectionInterface},
	keyDirective:           {name: "# wgfleet", ours: true},
	keyForward:             {name: "# wgfleet: forward", section: sectionInterface, list: true, ours: true},
	keyMasquerade:          {name: "# wgfleet: masquerade", section: sectionInterface, list: true, ours: true},
	keyResolver:            {name: "# wgfleet: resolver", section: sectionInterface, ours: true},
	keyPublish:             {name: "# wgfleet: publish", section: sectionInterface, ours: true},
	keyAllow:               {name: "# wgfleet: allow", ours: true},
	keyDeny:                {name: "# wgfleet: deny", ours: true},
	keyLimit:               {name: "# wgfleet: limit", ours: true},
	keyPreUp:               {name: "PreUp", section: sectionInterface, hook: true},
	keyPostUp:              {name: "PostUp", section: sectionInterface, hook: true},
	keyPreDown:             {name: "PreDown", section: sectionInterface, hook: true},
	keyPostDown:            {name: "PostDown", section: sectionInterface, hook: true},
	keyPublicKey:           {name: "PublicKey", section: sectionPeer, wg: true},
	keyPresharedKey:        {name: "PresharedKey", section: sectionPeer, wg: true},
	keyAllowedIPs:          {name: "AllowedIPs", section: sectionPeer, wg: true, list: true},
	keyEndpoint:            {name: "Endpoint", section: sectionPeer, wg: true},
	keyPersistentKeepalive: {name: "PersistentKeepalive", section: sectionPeer, wg: true},
}

func (k keyID) info() *keyInfo { return &keyInfos[k] }
func (k keyID) String() string { return keyInfos[k].name }

// secret reports whether the values of the key must never be shown.
func (k keyID) secret() bool { return k == keyPrivateKey || k == keyPresharedKey }

var keyIDs = func() map[string]keyID {
	ids := make(map[string]keyID, len(keyInfos))
	for id := keyAddress; int(id) < len(keyInfos); id++ {
		if !id.info().ours {
			ids[fold(id.String())] = id
		}
	}
	return ids
}()

const longestKey = len("PersistentKeepalive")

// lookupKey finds the key written as name, which is without space around it. wg(8) also takes
// white space within its keys, wg-quick does not.
func lookupKey(name string) keyID {
	var buf [longestKey]byte
	n, spaced := 0, false
	for i := range len(name) {
		if isSpace(name[i]) {
			spaced = true
			continue
		}
		if n == len(buf) {
			return keyUnknown
		}
		buf[n] = lower(name[i])
		n++
	}
	id := keyIDs[string(buf[:n])]
	if spaced && !id.info().wg {
		return keyUnknown
	}
	return id
}

func sectionByName(name string) section {
	switch fold(name) {
	case "[interface]":
		return sectionInterface
	case "[peer]":
		return sectionPeer
	}
	return sectionOther
}

// fold is ASCII only: a Kelvin sign is no k for wg(8).
func fold(s string) string {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			b := []byte(s)
			for j := range b {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// isSpace is char_is_space of wireguard-tools' ctype.h, and [[:space:]] of bash in the C locale.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// compact removes all white space, as wg(8) does from every line.
func compact(s string) string {
	for i := range len(s) {
		if isSpace(s[i]) {
			b := make([]byte, 0, len(s))
			for j := range len(s) {
				if !isSpace(s[j]) {
					b = append(b, s[j])
				}
			}
			return string(b)
		}
	}
	return s
}

// trim returns the bounds of s[from:to] without the white space around it.
func trim(s string, from, to int) (int, int) {
	for from < to && isSpace(s[from]) {
		from++
	}
	for from < to && isSpace(s[to-1]) {
		to--
	}
	return from, to
}

func trimmed(s string) string {
	from, to := trim(s, 0, len(s))
	return s[from:to]
}
