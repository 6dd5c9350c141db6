package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store/backup"
)

const testPassphrase = "correct horse battery staple"

func TestPassphraseIsAskedForTwiceWhereItIsNew(t *testing.T) {
	ask := func(old bool, answers string, environ ...string) (string, string, error) {
		var asked bytes.Buffer
		f := &passphraseFlags{con: &console{in: strings.NewReader(answers), out: io.Discard, err: &asked, terminal: true, environ: environ}}
		get := f.ofNew
		if old {
			get = f.ofOld
		}
		p, err := get(t.Context())
		return string(p), asked.String(), err
	}
	p, asked, err := ask(false, testPassphrase+"\n"+testPassphrase+"\n")
	require.NoError(t, err)
	require.Equal(t, testPassphrase, p)
	require.Equal(t, "Passphrase of the backup (12 characters or more): \nThe same again: \n", asked)
	_, _, err = ask(false, testPassphrase+"\n"+testPassphrase+"x\n")
	require.EqualError(t, err, "the two are not the same: nothing was done")
	_, asked, err = ask(false, "short\nagain\n")
	require.ErrorIs(t, err, backup.ErrShortPassphrase)
	require.NotContains(t, asked, "again")
	_, _, err = ask(false, "\n\n")
	require.ErrorIs(t, err, backup.ErrNoPassphrase)
	_, _, err = ask(false, "")
	require.ErrorIs(t, err, io.EOF)

	p, asked, err = ask(true, "old one\n")
	require.NoError(t, err, "one that was made elsewhere may be short")
	require.Equal(t, "old one", p)
	require.Equal(t, "Passphrase of the backup: \n", asked)
	_, _, err = ask(true, "\n")
	require.ErrorContains(t, err, "no passphrase was given")
	p, asked, err = ask(false, "", passphraseEnv+"="+testPassphrase)
	require.NoError(t, err)
	require.Equal(t, testPassphrase, p)
	require.Empty(t, asked)
}

func TestPassphraseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pass")
	for text, want := range map[string]string{"a b c": "a b c", "a b c\n": "a b c", "a b c\r\n": "a b c", " a \n": " a ", "": "", "\n": ""} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		p, err := readPassphrase(path)
		require.NoError(t, err)
		require.Equal(t, want, string(p))
	}
	require.NoError(t, os.WriteFile(path, []byte("-----BEGIN\nkey\n"), 0o600))
	_, err := readPassphrase(path)
	require.ErrorContains(t, err, "more than one line")
	require.NotContains(t, err.Error(), "BEGIN")
}

func TestNewFileIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	only := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		names := []string{}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		require.Equal(t, append([]string{}, want...), names)
	}
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	half := func(w io.Writer) error { return errors.Join(hello(w), errors.ErrUnsupported) }
	require.ErrorIs(t, writeNew(path, false, half), errors.ErrUnsupported)
	only()
	require.NoError(t, writeNew(path, false, hello))
	only("file")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.WriteFile(path, []byte("before"), 0o644))
	require.ErrorIs(t, writeNew(path, true, half), errors.ErrUnsupported)
	require.ErrorIs(t, writeNew(path, false, hello), os.ErrExist, "somebody made it meanwhile")
	only("file")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "before", string(text))
	require.NoError(t, writeNew(path, true, hello))
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "not that of the file that was replaced")

	free := filepath.Join(dir, "free")
	gone := func(w io.Writer) error { return os.Remove(w.(*os.File).Name()) }
	require.ErrorIs(t, writeNew(free, false, gone), os.ErrNotExist)
	require.NoFileExists(t, free, "not even an empty one")
	require.ErrorIs(t, writeNew(path, true, gone), os.ErrNotExist)
	only("file")

	nowhere := filepath.Join(dir, "nowhere", "file")
	for _, err := range []error{mayWrite(nowhere, false), writeNew(nowhere, false, hello)} {
		require.EqualError(t, err, "make a file in the folder "+filepath.Dir(nowhere)+": no such file or directory")
	}

	require.NoError(t, os.Symlink(path, filepath.Join(dir, "link")))
	for _, other := range []string{dir, "/dev/null", filepath.Join(dir, "link")} {
		require.ErrorContains(t, mayWrite(other, true), "is no file", other)
	}
}

// Whatever comes instead of a whole backup, an interrupt too, leaves no file, and says one sentence.
func TestBackupThatIsNotWholeLeavesNothing(t *testing.T) {
	var whole bytes.Buffer
	w, err := backup.NewWriter(&whole, testPassphrase, backup.Header{Schema: 1})
	require.NoError(t, err)
	require.NoError(t, w.Put("a", make([]byte, 300_000)))
	_, err = w.Close()
	require.NoError(t, err)
	var answer func(http.ResponseWriter, *http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer server.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	attempt := func(ctx context.Context) (int, string) {
		var stderr bytes.Buffer
		con := &console{
			in: strings.NewReader(""), out: io.Discard, err: &stderr,
			environ: []string{"WGFLEET_URL=" + server.URL, "WGFLEET_API_KEY=x", passphraseEnv + "=" + testPassphrase},
		}
		status := run(ctx, con, []string{"backup", path})
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		if status != 0 {
			require.Empty(t, entries)
		}
		require.NotContains(t, stderr.String(), testPassphrase)
		return status, stderr.String()
	}
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(whole.Bytes()[:200_000])
			panic(http.ErrAbortHandler)
		}, "the panel ended the backup before it was whole, see its log"},
		"too short":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(whole.Bytes()[:200_000]) }, "damaged or not complete"},
		"something else": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "this is no backup of wgfleet"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"status":false,"message":"Too many requests.","data":null}`))
		}, "Too many requests"},
	} {
		answer = tt.answer
		status, stderr := attempt(t.Context())
		require.Equal(t, exitError, status, name)
		require.Contains(t, stderr, tt.want, name)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}

	ctx, cancel := context.WithCancel(t.Context())
	answer = func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(whole.Bytes()[:200_000])
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}
	status, stderr := attempt(ctx)
	require.Equal(t, exitInterrupted, status)
	require.Empty(t, stderr)

	answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(whole.Bytes()) }
	status, stderr = attempt(t.Context())
	require.Zero(t, status, stderr)
	require.FileExists(t, path)
}

// What comes from a pipe is verified as well, and waiting for it ends with an interrupt.
func TestVerifyReadsStandardInput(t *testing.T) {
	var whole, stdout, stderr bytes.Buffer
	w, err := backup.NewWriter(&whole, testPassphrase, backup.Header{Schema: 1})
	require.NoError(t, err)
	_, err = w.Close()
	require.NoError(t, err)
	con := &console{in: &whole, out: &stdout, err: &stderr, environ: []string{passphraseEnv + "=" + testPassphrase}}
	require.Zero(t, run(t.Context(), con, []string{"backup", "verify", "-"}), stderr.String())
	require.Contains(t, stdout.String(), "standard input is whole: 0 records")

	ctx, cancel := context.WithCancel(t.Context())
	r, never := io.Pipe()
	defer never.Close()
	con.in = r
	go func() {
		_, _ = never.Write(nil) // until somebody reads
		cancel()
	}()
	require.Equal(t, exitInterrupted, run(ctx, con, []string{"backup", "verify", "-"}))
}
