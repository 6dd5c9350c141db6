package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/store/backup/backuptest"
	"github.com/wgfleet/wgfleet/store/internal/cost"
)

// workFactor is that of the product.
var workFactor = cost.WorkFactor

func TestMain(m *testing.M) {
	backuptest.Cheap()
	os.Exit(m.Run())
}

const good Passphrase = "correct horse battery staple"

var header = Header{Schema: 3, SchemaName: "third", Program: "v1.2.3", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}

// made is a backup of some records.
func made(t require.TestingT, h Header, records map[string]string) ([]byte, Summary) {
	var out bytes.Buffer
	w, err := NewWriter(&out, good, h)
	require.NoError(t, err)
	for _, key := range slices.Sorted(maps.Keys(records)) {
		require.NoError(t, w.Put(key, []byte(records[key])))
	}
	sum, err := w.Close()
	require.NoError(t, err)
	return out.Bytes(), sum
}

func readAll(r io.Reader, p Passphrase) (map[string]string, Summary, error) {
	b, err := Open(r, p)
	if err != nil {
		return nil, Summary{}, err
	}
	got := map[string]string{}
	for {
		key, value, err := b.Next()
		if errors.Is(err, io.EOF) {
			return got, b.Summary(), nil
		}
		if err != nil {
			return nil, Summary{}, err
		}
		got[key] = string(value)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		records := rapid.MapOfN(rapid.StringN(1, 40, 200), rapid.StringN(0, 300, 70_000), 0, 12).Draw(rt, "records")
		file, wrote := made(rt, header, records)
		got, sum, err := readAll(bytes.NewReader(file), good)
		require.NoError(rt, err)
		require.Equal(rt, records, got)
		require.Equal(rt, wrote, sum)
		require.Equal(rt, Format, sum.Format)
		require.Equal(rt, len(records), sum.Records)
		d := NewDigest()
		for _, key := range slices.Sorted(maps.Keys(records)) {
			d.Add(key, []byte(records[key]))
		}
		require.Equal(rt, d.Sum(), sum.SHA256, "the hash is of the records alone")
	})
}

func TestWorkFactor(t *testing.T) {
	cheap := cost.WorkFactor
	defer func() { cost.WorkFactor = cheap }()
	require.Less(t, cheap, workFactor)
	cost.WorkFactor = workFactor
	file, _ := made(t, header, nil)
	require.Contains(t, string(file[:200]), " 17\n", "of a file that is made outside of these tests")
	_, err := Verify(bytes.NewReader(file), good)
	require.NoError(t, err)
	dear := bytes.Replace(file, []byte(" 17\n"), []byte(" 22\n"), 1)
	_, err = Verify(bytes.NewReader(dear), good)
	require.ErrorIs(t, err, ErrDamaged, "a file can't ask for 4 GiB")
}

func TestHashTellsWhereARecordEnds(t *testing.T) {
	sum := func(pairs ...string) string {
		d := NewDigest()
		for i := 0; i < len(pairs); i += 2 {
			d.Add(pairs[i], []byte(pairs[i+1]))
		}
		return d.Sum()
	}
	require.NotEqual(t, sum("a", "bc"), sum("ab", "c"))
	require.NotEqual(t, sum("a", "", "b", ""), sum("a", "b"))
	require.NotEqual(t, sum("a", "1"), sum("a", "2"))
}

// Whatever is cut off or flipped, nothing is taken for whole, and the sentence is one of ours.
func TestDamageIsSeen(t *testing.T) {
	records := map[string]string{"a": "1", "b": strings.Repeat("long ", 30_000), "c": ""} // three chunks of age
	file, _ := made(t, header, records)
	ours := func(err error, what string, at int) {
		t.Helper()
		require.Error(t, err, "%s at %d", what, at)
		if !errors.Is(err, ErrPassphrase) && !errors.Is(err, ErrNotBackup) && !errors.Is(err, ErrDamaged) {
			require.NoError(t, err, "%s at %d", what, at)
		}
		require.NotContains(t, err.Error(), "chacha")
		require.NotContains(t, err.Error(), "\n")
	}
	places := []int{}
	for i := range len(file) {
		if i < 400 || i%997 == 0 || i > len(file)-200 {
			places = append(places, i)
		}
	}
	for _, i := range places {
		_, _, err := readAll(bytes.NewReader(file[:i]), good)
		ours(err, "cut", i)
		bad := slices.Clone(file)
		bad[i] ^= 1
		_, _, err = readAll(bytes.NewReader(bad), good)
		ours(err, "flipped", i)
	}
	_, _, err := readAll(bytes.NewReader(append(slices.Clone(file), 'x')), good)
	require.ErrorIs(t, err, ErrDamaged, "something follows")
	_, _, err = readAll(bytes.NewReader(append(slices.Clone(file), file...)), good)
	require.ErrorIs(t, err, ErrDamaged, "two in one")
}

func TestWhatIsNoBackup(t *testing.T) {
	file, _ := made(t, header, map[string]string{"a": "1"})
	for _, wrong := range []Passphrase{"", "x", "correct horse battery stapl", good + " "} {
		_, err := Verify(bytes.NewReader(file), wrong)
		require.ErrorIs(t, err, ErrPassphrase)
		require.EqualError(t, err, "the passphrase does not open this backup")
	}
	for _, text := range []string{"", "age", "{}", "PK\x03\x04 a zip file", strings.Repeat("x", 5000)} {
		_, err := Verify(strings.NewReader(text), good)
		require.EqualError(t, err, "this is no backup of wgfleet")
	}
	seal := func(inside string) io.Reader {
		var out bytes.Buffer
		to, err := age.NewScryptRecipient(string(good))
		require.NoError(t, err)
		to.SetWorkFactor(4)
		w, err := age.Encrypt(&out, to)
		require.NoError(t, err)
		_, err = io.WriteString(w, inside)
		require.NoError(t, errors.Join(err, w.Close()))
		return &out
	}
	_, err := Verify(seal("holiday pictures\n"), good)
	require.ErrorIs(t, err, ErrNotBackup)
	_, err = Verify(seal(`{"wgfleet_backup":1}`+"\n"), good)
	require.ErrorIs(t, err, ErrNotBackup, "no schema")
	_, err = Verify(seal(`{"wgfleet_backup":2,"schema":1,"program":"v9.0.0","surprise":[1]}`+"\nanything"), good)
	require.EqualError(t, err, "the backup was written by a newer wgfleet (v9.0.0, format 2; this program knows format 1): read it with that one")
	_, err = Verify(seal(`{"wgfleet_backup":1,"schema":1}`+"\n"+"\x00\x00\x00\x01\xff\xff\xff\xffa"), good)
	require.ErrorIs(t, err, ErrDamaged)

	lies := inside(t, map[string]string{"a": "1", "b": "2"})
	_, err = Verify(seal(string(lies)), good)
	require.NoError(t, err)
	for _, lie := range [][2]string{{"a1", "a2"}, {`"records":2`, `"records":3`}, {`"sha256":"`, `"sha256":"0`}, {"a1", "c1"}, {"b2", "a2"}} {
		require.Contains(t, string(lies), lie[0])
		_, err = Verify(seal(strings.Replace(string(lies), lie[0], lie[1], 1)), good)
		require.ErrorIs(t, err, ErrDamaged, lie)
	}
	_, err = Verify(seal(string(lies)+"x"), good)
	require.ErrorIs(t, err, ErrDamaged)

	var out bytes.Buffer
	who, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	w, err := age.Encrypt(&out, who.Recipient())
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, err = Verify(&out, good)
	require.ErrorIs(t, err, ErrPassphrase, "encrypted to a key")
}

// What fails below is told as it is: a network is no damage.
func TestSourceThatFails(t *testing.T) {
	file, _ := made(t, header, map[string]string{"a": "1"})
	broken := errors.New("connection reset")
	for _, n := range []int{0, 5, 100, len(file) - 1} {
		_, err := Verify(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)), good)
		require.ErrorIs(t, err, broken)
	}
	_, err := Verify(iotest.OneByteReader(bytes.NewReader(file)), good)
	require.NoError(t, err)
	_, err = NewWriter(failing{broken}, good, header)
	require.ErrorIs(t, err, broken)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestRecordsMustAscend(t *testing.T) {
	w, err := NewWriter(io.Discard, good, header)
	require.NoError(t, err)
	require.NoError(t, w.Put("b", nil))
	for _, key := range []string{"", "a", "b", strings.Repeat("k", maxKey+1)} {
		require.Error(t, w.Put(key, nil))
	}
	require.Error(t, w.Put("c", make([]byte, maxValue+1)))
	err = w.Put("a", []byte("a secret"))
	require.NotContains(t, err.Error(), "a secret")
}

func TestPassphraseOfANewBackup(t *testing.T) {
	for p, want := range map[Passphrase]error{
		"": ErrNoPassphrase, "short": ErrShortPassphrase, "elevenchars": ErrShortPassphrase, "twelve chars": nil,
		"ünïcödé äöü": ErrShortPassphrase, "ünïcödé äöü!": nil,
		"twelve chars\n": ErrLinesPassphrase, "twelve\r chars": ErrLinesPassphrase,
	} {
		require.ErrorIs(t, p.Check(), want, "%d bytes", len(p))
		_, err := NewWriter(io.Discard, p, header)
		require.ErrorIs(t, err, want)
	}
}

func TestPassphraseNeverPrints(t *testing.T) {
	var out strings.Builder
	holder := struct {
		Public  Passphrase
		private *Passphrase
	}{good, new(good)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+"\n", good, holder)
	}
	text, err := json.Marshal(holder)
	require.NoError(t, err)
	out.Write(text)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "passphrase", good)
	require.NotContains(t, out.String(), "horse")
	require.NotContains(t, out.String(), fmt.Sprintf("%x", "horse"))
	require.Contains(t, out.String(), "(secret)")
}

// FuzzRead reads anything that a passphrase may have been put around: it may refuse, never panic, take no more memory
// than there is input, and what it takes for whole is what its writer would have written.
func FuzzRead(f *testing.F) {
	for _, records := range []map[string]string{nil, {"node/a": "{}"}, {"a": "", "b": strings.Repeat("x", 300)}} {
		f.Add(inside(f, records))
	}
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"wgfleet_backup":1,"schema":1}` + "\n\x00\x00\x00\x01\x00\x3f\xff\xffa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := newReader(bytes.NewReader(data), nil)
		if err != nil {
			return
		}
		var again bytes.Buffer
		p := plain{to: &again, digest: NewDigest()}
		for {
			key, value, err := b.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				require.ErrorIs(t, err, ErrDamaged)
				return
			}
			require.NoError(t, p.Put(key, value))
		}
		require.NoError(t, p.end(p.digest.trailer()))
		require.Equal(t, p.digest.Sum(), b.Summary().SHA256)
		_, records, _ := bytes.Cut(data, []byte("\n"))
		n := again.Len() - len(mustJSON(t, p.digest.trailer()))
		require.Equal(t, again.Bytes()[:n-8], records[:n-8])
	})
}

func inside(t testing.TB, records map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	p := plain{to: &out, digest: NewDigest()}
	h := header
	h.Format = Format
	require.NoError(t, p.begin(h))
	for _, key := range slices.Sorted(maps.Keys(records)) {
		require.NoError(t, p.Put(key, []byte(records[key])))
	}
	require.NoError(t, p.end(p.digest.trailer()))
	return out.Bytes()
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// FuzzOpen reads anything at all as a file.
func FuzzOpen(f *testing.F) {
	file, _ := made(f, header, map[string]string{"a": "1"})
	f.Add(file)
	f.Add([]byte(magic))
	f.Add([]byte(magic + "-> scrypt AAAAAAAAAAAAAAAAAAAAAA 4\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if i := bytes.Index(data, []byte(" 1")); i >= 0 && i < 100 {
			return // a work factor of ten or more would be all that is fuzzed
		}
		sum, err := Verify(bytes.NewReader(data), good)
		if err == nil {
			require.Positive(t, sum.Schema)
		}
	})
}
