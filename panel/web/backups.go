package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// maxBackup is the size of a backup, in bytes, over which it is refused (413): 200,000 events and as many peers are a
// tenth of it.
const maxBackup = 1 << 30

// uploadLimit is how long the next bytes of an upload may take.
const uploadLimit = 30 * time.Second

// backupMedia is the media type of a backup, which is a file of age.
const backupMedia = "application/octet-stream"

type backupBody struct {
	Passphrase *string `json:"passphrase" required:"true" doc:"encrypts the backup: 12 characters or more, and nobody can open it without"`
}

// restoreForm describes the form that restore reads.
type restoreForm struct {
	Passphrase *string `json:"passphrase" required:"true" doc:"that the backup was made with; the first part of the form"`
	Backup     *string `json:"backup" required:"true" format:"binary" doc:"the file; the second part"`
}

type restoredData struct {
	Records    int    `json:"records" doc:"read back after they were written, and those of the backup"`
	SHA256     string `json:"sha256" doc:"of the records, as the backup says it"`
	Format     int    `json:"format" doc:"of the backup"`
	Schema     int    `json:"schema" doc:"of the records in the backup; they were brought up to this panel's"`
	SchemaName string `json:"schema_name"`
	Program    string `json:"program" doc:"version of the panel that made the backup"`
	CreatedAt  string `json:"created_at" format:"date-time" doc:"when it was made"`
}

var (
	errNotPrivate = &requestError{status: http.StatusForbidden, message: "A backup's passphrase may come only over TLS, or from the panel's own host over loopback."}
	errBackupSize = &requestError{status: http.StatusRequestEntityTooLarge, message: "The backup is larger than 1 GiB."}
	errForm       = malformed("The body must be multipart/form-data with two parts: passphrase, then backup.")
	errUpload     = malformed("The backup could not be read to its end.")
)

// backupRetry is when who finds another one at work is told to come again.
const backupRetry = 10 * time.Second

func (s *Server) backupRoutes() []route {
	routes := []route{
		{method: http.MethodPost, path: "/api/backup", summary: "All that the panel keeps, secrets included, encrypted with the passphrase", role: roleAdmin, action: s.guarded(opFile(backupMedia, s.makeBackup))},
	}
	if s.restorer != nil {
		routes = append(routes, route{
			method: http.MethodPost, path: "/api/restore", summary: "Put what a backup holds in the place of an empty panel's records", role: roleAdmin, errors: conflicts,
			action: s.guarded(opForm[restoreForm](s.restore)),
		})
	}
	return routes
}

// guarded lets one at a time through, and no passphrase that others could read on its way: each costs 128 MiB for a
// moment, and lets its caller try a passphrase.
func (s *Server) guarded(a action) action {
	run := a.run
	a.run = func(c *gin.Context) error {
		if !s.private(c) {
			return errNotPrivate
		}
		if wait := s.limits.backups.take(c.GetString(ctxKeyName)); wait > 0 {
			return tooMany(wait)
		}
		select {
		case s.backups <- struct{}{}:
		default:
			return tooMany(backupRetry)
		}
		defer func() {
			// The passphrase took 128 MiB, by now the garbage that the next one would come on top of; and the process may
			// carry a node's traffic.
			debug.FreeOSMemory()
			<-s.backups
		}()
		return run(c)
	}
	return a
}

// makeBackup streams a backup. Where that fails after its first byte the connection is cut off, so that nobody takes
// what there is for the whole.
func (s *Server) makeBackup(c *gin.Context, b backupBody) error {
	if b.Passphrase == nil {
		return panel.Invalid("passphrase", "is needed")
	}
	ctx, stop := s.untilClosing(c)
	defer stop()
	out := &download{c: c, name: "wgfleet-" + s.now().UTC().Format("20060102T150405Z") + ".backup"}
	_, err := s.panel.Backup(ctx, out, panel.Passphrase(*b.Passphrase))
	if err != nil && out.begun {
		c.Set(ctxError, err)
		panic(http.ErrAbortHandler)
	}
	return errors.Join(err, out.end())
}

// untilClosing is the request's context, which ends with the server too: what streams must not keep it from stopping.
func (s *Server) untilClosing(c *gin.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(c.Request.Context())
	forget := context.AfterFunc(s.closing, func() { cancel(context.Cause(s.closing)) })
	return ctx, func() { forget(); cancel(nil) }
}

// download begins the answer with its first byte, and gives up a reader who takes none.
type download struct {
	c     *gin.Context
	name  string
	begun bool
}

// Write implements io.Writer.
func (d *download) Write(p []byte) (int, error) {
	if !d.begun {
		if err := readDeadline(d.c, time.Time{}); err != nil {
			return 0, err
		}
		d.c.Header("Content-Type", backupMedia)
		d.c.Header("Content-Disposition", `attachment; filename="`+d.name+`"`)
		d.c.Header("X-Accel-Buffering", "no")
		d.c.Status(http.StatusOK)
		d.begun = true
	}
	if err := untilWritten(d.c); err != nil {
		return 0, err
	}
	return d.c.Writer.Write(p)
}

// end leaves no deadline behind for the connection's next request.
func (d *download) end() error {
	if !d.begun {
		return nil
	}
	d.c.Writer.Flush()
	err := http.NewResponseController(d.c.Writer).SetWriteDeadline(time.Time{})
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

func readDeadline(c *gin.Context, at time.Time) error {
	err := http.NewResponseController(c.Writer).SetReadDeadline(at)
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// restore reads the form as it comes. A panel that is not empty says so before it reads anything.
func (s *Server) restore(c *gin.Context) (answer[restoredData], error) {
	ctx := c.Request.Context()
	if err := s.restorer.Restorable(ctx); err != nil {
		return answer[restoredData]{}, err
	}
	if c.Request.ContentLength > maxBackup {
		return answer[restoredData]{}, errBackupSize
	}
	body := &upload{c: c, from: http.MaxBytesReader(c.Writer, c.Request.Body, maxBackup)}
	c.Request.Body = body
	form, err := c.Request.MultipartReader()
	if err != nil {
		return answer[restoredData]{}, errForm
	}
	passphrase, err := passphraseOf(form)
	if err != nil {
		return answer[restoredData]{}, body.because(err)
	}
	file, err := form.NextPart()
	if err != nil || file.FormName() != "backup" {
		return answer[restoredData]{}, body.because(errForm)
	}
	sum, err := s.restorer.Restore(ctx, file, passphrase)
	if err != nil {
		return answer[restoredData]{}, body.because(err)
	}
	return answer[restoredData]{
		message: fmt.Sprintf("Restored %d records; read back, they are those of the backup", sum.Records),
		data: restoredData{
			Records: sum.Records, SHA256: sum.SHA256, Format: sum.Format, Schema: sum.Schema, SchemaName: sum.SchemaName,
			Program: sum.Program, CreatedAt: stamp(sum.CreatedAt),
		},
	}, nil
}

// passphraseOf reads the first part of a form.
func passphraseOf(form *multipart.Reader) (panel.Passphrase, error) {
	part, err := form.NextPart()
	if err != nil || part.FormName() != "passphrase" {
		return "", errForm
	}
	const most = 4 << 10
	text, err := io.ReadAll(io.LimitReader(part, most+1))
	switch {
	case err != nil:
		return "", errUpload
	case len(text) > most:
		return "", panel.Invalid("passphrase", "is longer than %d bytes", most)
	}
	if text = line(text); len(text) == 0 {
		return "", panel.Invalid("passphrase", "is needed")
	}
	return panel.Passphrase(text), nil
}

// line is a text without the end of its line, which curl's -F 'passphrase=<FILE' sends along.
func line(text []byte) []byte {
	if cut, ok := bytes.CutSuffix(text, []byte("\n")); ok {
		return bytes.TrimSuffix(cut, []byte("\r"))
	}
	return text
}

// upload is a body that may be long, if only it goes on, and remembers why it ended.
type upload struct {
	c      *gin.Context
	from   io.ReadCloser
	failed error
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	if err := readDeadline(u.c, time.Now().Add(uploadLimit)); err != nil {
		return 0, err
	}
	n, err := u.from.Read(p)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		u.failed = err
		return n, err
	}
	// The server watches the connection from here on; a deadline would look like a caller who went away.
	if derr := readDeadline(u.c, time.Time{}); derr != nil {
		return n, derr
	}
	return n, err
}

// Close implements io.Closer.
func (u *upload) Close() error { return u.from.Close() }

// because is what a failure comes from: the upload, where that is what failed.
func (u *upload) because(err error) error {
	tooLarge := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(u.failed, &tooLarge):
		return errBackupSize
	case u.failed != nil, errors.Is(err, io.ErrUnexpectedEOF):
		return errUpload
	}
	return err
}
