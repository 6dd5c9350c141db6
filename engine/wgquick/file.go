package wgquick

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// File is a configuration file in memory. The zero value is not usable: call New or Parse.
type File struct {
	// Name stands in errors; it is not read.
	Name string

	first, last *block
	peers       map[wgtypes.Key][]*block // sections by public key, in the order of the file
	eol         string                   // of new lines
	bom         bool                     // the file begins with a UTF-8 byte-order mark
}

// block is a section, or the text between two sections that belongs to neither. A section begins
// with the comment lines right above its header and ends with its last key and the comment lines
// right below that; blank lines and comments that stand alone are text.
type block struct {
	prev, next *block
	section    section
	header     int // index in lines; -1 for text
	lines      []line
}

const bom = "\ufeff"

// New returns an empty file.
func New() *File {
	return &File{peers: make(map[wgtypes.Key][]*block), eol: "\n"}
}

// Parse reads the file of a host. Unknown keys, sections and lines without meaning are kept; only
// a NUL byte is refused, since wg(8) and wg-quick(8) read different things where one stands.
func Parse(data []byte) (*File, error) {
	if before, _, found := bytes.Cut(data, []byte{0}); found {
		return nil, &ParseError{Line: 1 + bytes.Count(before, []byte("\n")), Want: "text without NUL bytes"}
	}
	f := New()
	text, found := strings.CutPrefix(string(data), bom)
	f.bom = found
	lines := splitLines(text)
	if len(lines) > 0 && lines[0].eol != "" {
		f.eol = lines[0].eol
	}
	f.cut(lines)
	return f, nil
}

// cut divides the lines into blocks.
func (f *File) cut(lines []line) {
	blocks := make([]block, 0, 16)
	start, header := 0, -1 // of the block that is being read
	flush := func(end int) {
		if header < 0 {
			if start < end {
				blocks = append(blocks, block{header: -1, lines: lines[start:end:end]})
			}
			return
		}
		stop := sectionEnd(lines, header, end)
		blocks = append(blocks, block{section: lines[header].section, header: header - start, lines: lines[start:stop:stop]})
		if stop < end {
			blocks = append(blocks, block{header: -1, lines: lines[stop:end:end]})
		}
	}
	for i := range lines {
		if lines[i].kind != lineHeader {
			continue
		}
		begin := i
		for begin > header+1 && begin > 0 && lines[begin-1].kind == lineComment {
			begin--
		}
		flush(begin)
		start, header = begin, i
	}
	flush(len(lines))
	for i := range blocks {
		f.insert(&blocks[i], f.last)
	}
}

// sectionEnd returns where the section ends whose header is given and whose lines reach to end at most.
func sectionEnd(lines []line, header, end int) int {
	stop := end
	for stop > header+1 && (lines[stop-1].kind == lineBlank || lines[stop-1].kind == lineComment) {
		stop--
	}
	for stop < end && lines[stop].kind == lineComment {
		stop++
	}
	return stop
}

// insert puts b behind after, or first where after is nil.
func (f *File) insert(b, after *block) {
	b.prev = after
	if after == nil {
		b.next, f.first = f.first, b
	} else {
		b.next, after.next = after.next, b
	}
	if b.next == nil {
		f.last = b
	} else {
		b.next.prev = b
	}
	if key, ok := b.publicKey(); ok {
		f.peers[key] = append(f.peers[key], b)
	}
}

// remove takes b out of the file, but not out of the index.
func (f *File) remove(b *block) {
	if b.prev == nil {
		f.first = b.next
	} else {
		b.prev.next = b.next
	}
	if b.next == nil {
		f.last = b.prev
	} else {
		b.next.prev = b.prev
	}
}

// publicKey returns the key of a peer's section; the last one counts.
func (b *block) publicKey() (wgtypes.Key, bool) {
	if b.section != sectionPeer {
		return wgtypes.Key{}, false
	}
	for _, l := range slices.Backward(b.lines) {
		if l.key == keyPublicKey {
			key, err := engine.ParseKey(compact(l.value()))
			return key, err == nil
		}
	}
	return wgtypes.Key{}, false
}

// blocks yields each block with the number of its first line, counted from 1.
func (f *File) blocks() iter.Seq2[int, *block] {
	return func(yield func(int, *block) bool) {
		n := 1
		for b := f.first; b != nil; b = b.next {
			if !yield(n, b) {
				return
			}
			n += len(b.lines)
		}
	}
}

// Bytes prints the file.
func (f *File) Bytes() []byte {
	return f.print(func(b *bytes.Buffer, l *line) { b.WriteString(l.text) })
}

func (f *File) print(write func(*bytes.Buffer, *line)) []byte {
	size := len(bom)
	for _, b := range f.blocks() {
		for i := range b.lines {
			size += len(b.lines[i].text) + len(b.lines[i].eol)
		}
	}
	var out bytes.Buffer
	out.Grow(size)
	if f.bom {
		out.WriteString(bom)
	}
	for _, b := range f.blocks() {
		for i := range b.lines {
			write(&out, &b.lines[i])
			out.WriteString(b.lines[i].eol)
		}
	}
	return out.Bytes()
}

// String describes the file without its content, which holds secrets.
func (f *File) String() string {
	return fmt.Sprintf("configuration file %q with %d peers", f.Name, len(f.peers))
}

// Values returns all values of a key in sections of that name ("Interface", "Peer", or any other),
// in the order of the file and as written, without comments. Names are compared in any case.
func (f *File) Values(section, key string) []string {
	section, key = "["+fold(compact(section))+"]", fold(compact(key))
	var values []string
	for _, b := range f.blocks() {
		if b.header < 0 || fold(b.lines[b.header].name()) != section {
			continue
		}
		for i := range b.lines {
			if l := &b.lines[i]; l.kind == linePair && fold(l.name()) == key {
				values = append(values, l.value())
			}
		}
	}
	return values
}

// Get returns the last value of a key, the one that counts where lines do not add up.
func (f *File) Get(section, key string) (string, bool) {
	values := f.Values(section, key)
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}
