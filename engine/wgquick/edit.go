package wgquick

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// place is a line of a block.
type place struct {
	block *block
	index int
}

func (p place) line() *line { return &p.block.lines[p.index] }

// SetInterface gives a key of [Interface] these values, and none where there are none or only
// empty ones. Hooks take a line each, Address and DNS any number, the other keys one. What the file
// already says is not touched; a changed line keeps its place, the spelling of its key and its
// comment. A value that the key can't have, or that could begin a new line or comment, is refused
// with a *ParseError and changes nothing.
func (f *File) SetInterface(key string, values ...string) error {
	id := lookupKey(trimmed(key))
	if id.info().section != sectionInterface {
		return &ParseError{Key: safeName(key), Want: "a key of the [Interface] section"}
	}
	return f.set(id, values)
}

func (f *File) set(id keyID, values []string) error {
	wanted, err := cleanValues(id, values)
	if err != nil {
		err.Key = id.String()
		return err
	}
	places := f.interfaceLines(id)
	if current, ok := meaning(id, places); ok && slices.Equal(current, canonical(id, wanted)) {
		return nil
	}
	switch {
	case len(wanted) == 0:
		f.deleteLines(places)
	case id.info().hook, id.info().list && len(places) > 1 && oneWordEach(places):
		f.setEach(id, places, wanted)
	default:
		f.setOne(id, places, strings.Join(wanted, ", "))
	}
	return nil
}

// cleanValues checks the values and splits lists into words.
func cleanValues(id keyID, values []string) ([]string, *ParseError) {
	out := make([]string, 0, len(values))
	for _, v := range values {
		v = trimmed(v)
		if v == "" {
			continue
		}
		if err := injected(id, v); err != nil {
			return nil, err
		}
		if err := new(Interface).read(id, v); err != nil {
			return nil, err
		}
		switch {
		case id.info().list:
			out = append(out, words(v)...)
		case id.info().wg:
			out = append(out, compact(v))
		default:
			out = append(out, v)
		}
	}
	if len(out) > 1 && !id.info().list && !id.info().hook {
		return nil, want("one value", strconv.Itoa(len(out)))
	}
	return out, nil
}

// injected refuses what would not come back as one value of one line.
func injected(id keyID, value string) *ParseError {
	for i := range len(value) {
		c := value[i]
		if c < ' ' && c != '\t' || c == 0x7f {
			return want("text of one line without control characters", "")
		}
		if c == '#' && !id.info().hook {
			return want("a value without #, which begins a comment", "")
		}
	}
	return nil
}

// meaning reads what lines of one key say, in a form that can be compared; false where wg(8) or
// wg-quick(8) would refuse one of them.
func meaning(id keyID, places []place) ([]string, bool) {
	if id.info().ours {
		return linksOf(id, places)
	}
	var values []string
	for _, p := range places {
		v := p.line().value()
		if new(Interface).read(id, v) != nil {
			return nil, false
		}
		if v == "" && (id.info().list || id.info().hook) {
			continue
		}
		if id.info().list {
			values = append(values, words(v)...)
		} else {
			values = append(values, v)
		}
	}
	if !id.info().list && !id.info().hook && len(values) > 0 {
		values = values[len(values)-1:]
		if values[0] == "" {
			values = nil
		}
	}
	return canonical(id, values), true
}

// canonical returns values that are known to be good in the one spelling that can be compared.
func canonical(id keyID, values []string) []string {
	if id.info().ours {
		return joinLinks(nil, values)
	}
	out := make([]string, len(values))
	for i, v := range values {
		var one Interface
		if one.read(id, v) != nil {
			out[i] = v
			continue
		}
		switch id {
		case keyAddress:
			out[i] = one.Addresses[0].String()
		case keyDNS:
			out[i] = fmt.Sprint(one.DNS, one.Search)
		case keyListenPort:
			out[i] = strconv.Itoa(*one.ListenPort)
		case keyMTU:
			out[i] = strconv.Itoa(*one.MTU)
		case keyFwMark:
			out[i] = strconv.FormatUint(uint64(*one.FwMark), 10)
		case keySaveConfig:
			out[i] = strconv.FormatBool(one.SaveConfig)
		case keyPrivateKey: // WireGuard clamps what it is given
			out[i] = one.PrivateKey.Clamped().Reveal().String()
		default: // tables and hooks mean what they say
			out[i] = v
		}
	}
	return out
}

func (f *File) interfaceLines(id keyID) []place {
	var places []place
	for _, b := range f.blocks() {
		if b.section == sectionInterface {
			places = append(places, b.find(id)...)
		}
	}
	return places
}

// find returns the lines with a key.
func (b *block) find(id keyID) []place {
	var places []place
	for i := range b.lines {
		if b.lines[i].key == id {
			places = append(places, place{b, i})
		}
	}
	return places
}

func oneWordEach(places []place) bool {
	return !slices.ContainsFunc(places, func(p place) bool { return len(words(p.line().value())) != 1 })
}

// setEach gives each value a line of its own.
func (f *File) setEach(id keyID, places []place, values []string) {
	n := min(len(places), len(values))
	for i, v := range values[:n] {
		if has, ok := meaning(id, places[i:i+1]); !ok || !slices.Equal(has, canonical(id, []string{v})) {
			*places[i].line() = places[i].line().withValue(v)
		}
	}
	f.deleteLines(places[n:])
	var at place
	if n > 0 {
		at = places[n-1]
	}
	for _, v := range values[n:] {
		if at.block == nil {
			at = f.insertPair(f.interfaceBlock(), id, v)
			continue
		}
		at = f.insertLine(at.block, at.index+1, id, v)
	}
}

// setOne leaves one line with the value: the one that counted, or a new one.
func (f *File) setOne(id keyID, places []place, value string) {
	if len(places) == 0 {
		f.insertPair(f.interfaceBlock(), id, value)
		return
	}
	keep := len(places) - 1
	if id.info().list {
		keep = 0
	}
	*places[keep].line() = places[keep].line().withValue(value)
	f.deleteLines(slices.Delete(places, keep, keep+1))
}

// deleteLines takes lines away; places are in the order of the file. A comment that would then
// stand right above the next header is parted from it: it speaks of this section.
func (f *File) deleteLines(places []place) {
	for len(places) > 0 {
		b, n := places[0].block, 1
		for n < len(places) && places[n].block == b {
			n++
		}
		b.drop(places[:n])
		places = places[n:]
		if b.lines[len(b.lines)-1].kind == lineComment && b.next != nil && b.next.header >= 0 {
			f.insertBlank(b)
		}
	}
}

// drop closes the gaps in one pass.
func (b *block) drop(places []place) {
	kept := b.lines[:places[0].index]
	for i, p := range places {
		end := len(b.lines)
		if i+1 < len(places) {
			end = places[i+1].index
		}
		kept = append(kept, b.lines[p.index+1:end]...)
	}
	clear(b.lines[len(kept):])
	b.lines = kept
}

// insertPair adds a line behind the last key that comes before it in canonical order.
func (f *File) insertPair(b *block, id keyID, value string) place {
	at := b.header + 1
	for i := range b.lines {
		if k := b.lines[i].key; k != keyUnknown && k <= id {
			at = i + 1
		}
	}
	return f.insertLine(b, at, id, value)
}

// insertLine puts a new line at an index above 0.
func (f *File) insertLine(b *block, at int, id keyID, value string) place {
	before := &b.lines[at-1]
	if before.eol == "" {
		before.eol = f.eol
	}
	b.lines = slices.Insert(b.lines, at, pair(id, value, before.eol))
	return place{b, at}
}

// interfaceBlock returns the last [Interface] section; where there is none, it makes one in front
// of all other sections.
func (f *File) interfaceBlock() *block {
	for b := f.last; b != nil; b = b.prev {
		if b.section == sectionInterface {
			return b
		}
	}
	var after *block
	if f.first != nil && f.first.header < 0 {
		after = f.first
		f.blankAfter(after)
	}
	b := &block{section: sectionInterface, lines: []line{scan("[Interface]", f.eol)}}
	f.insert(b, after)
	if b.next != nil {
		f.insertBlank(b)
	}
	return b
}

// blankAfter makes sure that a blank line ends the block.
func (f *File) blankAfter(b *block) {
	last := &b.lines[len(b.lines)-1]
	if last.eol == "" {
		last.eol = f.eol
	}
	switch {
	case last.kind == lineBlank:
	case b.header < 0:
		b.lines = append(b.lines, scan("", f.eol))
	default:
		f.insertBlank(b)
	}
}

// insertBlank puts a blank line behind a section.
func (f *File) insertBlank(after *block) {
	f.insert(&block{header: -1, lines: []line{scan("", f.eol)}}, after)
}
