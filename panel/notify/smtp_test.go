package notify

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// postOffice is a mail server that we did not write, with what it was told.
type postOffice struct {
	mu       sync.Mutex
	logins   []string // MECHANISM NAME
	from     []string
	to       []string
	mails    []string
	sessions int

	mechanisms []string
	refuse     map[string]*smtp.SMTPError // recipients, and "" for the text

	addr string
	o    Options // Roots that know it
}

func newPostOffice(t *testing.T, mode string, edit func(*postOffice, *smtp.Server)) *postOffice {
	t.Helper()
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate, of 127.0.0.1
	defer web.Close()
	p := &postOffice{mechanisms: []string{sasl.Plain}, refuse: map[string]*smtp.SMTPError{}}
	p.o.Roots = web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sessions++
		return &session{p: p, c: c}, nil
	}))
	s.Domain = "mail.example"
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	conf := &tls.Config{Certificates: web.TLS.Certificates}
	if mode == StartTLS {
		s.TLSConfig = conf
	}
	if edit != nil {
		edit(p, s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.addr = l.Addr().String()
	if mode == TLS {
		l = tls.NewListener(l, conf)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return p
}

type session struct {
	p *postOffice
	c *smtp.Conn
}

func (s *session) AuthMechanisms() []string { return s.p.mechanisms }

func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(name, password string) error {
		s.p.mu.Lock()
		defer s.p.mu.Unlock()
		_, secure := s.c.TLSConnectionState()
		if !secure {
			name += " in the clear"
		}
		s.p.logins = append(s.p.logins, mech+" "+name)
		if password != mailPassword {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "who is " + name + " with " + password + "?"}
		}
		return nil
	}
	if mech == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, name, password string) error { return check(name, password) }), nil
}

// loginServer is the other side of LOGIN.
type loginServer struct {
	check func(name, password string) error
	name  string
	step  int
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.name = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.name, string(response))
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.from = append(s.p.from, from)
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if err := s.p.refuse[to]; err != nil {
		return err
	}
	s.p.to = append(s.p.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if e := s.p.refuse[""]; e != nil {
		return e
	}
	s.p.mails = append(s.p.mails, string(b))
	return err
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// channel sends to the post office in a mode.
func (w *world) mailChannel(p *postOffice, mode, username, password string) Channel {
	w.t.Helper()
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(w.t, err)
	n, err := net.LookupPort("tcp", port)
	require.NoError(w.t, err)
	in := &SMTPInput{Host: &host, Port: &n, TLS: &mode, From: new("Panel <panel@example.org>"), To: &[]string{"a@example.org", "B <b@example.org>"}}
	if username != "" {
		in.Username, in.Password = &username, new(Secret(password))
	}
	return w.create(Input{Kind: new(Email), SMTP: in})
}

func TestMailIsSent(t *testing.T) {
	for name, tt := range map[string]struct {
		mode, username string
		mechanisms     []string
		login          []string
	}{
		"starttls":           {StartTLS, "panel", []string{sasl.Plain}, []string{"PLAIN panel"}},
		"starttls, LOGIN":    {StartTLS, "panel", []string{sasl.Login}, []string{"LOGIN panel"}},
		"starttls, no login": {StartTLS, "", nil, nil},
		"tls":                {TLS, "panel", []string{sasl.Login, sasl.Plain}, []string{"PLAIN panel"}},
		"in the clear":       {NoTLS, "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPostOffice(t, tt.mode, func(p *postOffice, _ *smtp.Server) { p.mechanisms = tt.mechanisms })
			w := newWorld(t, func(o *Options) { o.Roots = p.o.Roots })
			c := w.mailChannel(p, tt.mode, tt.username, mailPassword)
			d, err := w.Test(t.Context(), c.ID)
			require.NoError(t, err)
			require.Equal(t, Delivered, d.Status, d.Error)
			require.Equal(t, tt.login, p.logins)
			require.Equal(t, []string{"panel@example.org"}, p.from)
			require.Equal(t, []string{"a@example.org", "b@example.org"}, p.to)
			require.Len(t, p.mails, 1)
			require.Contains(t, p.mails[0], "Message-ID: <"+d.ID+"@example.org>\r\n")
			require.Contains(t, p.mails[0], "Subject: [wgfleet] info: this is a test of the channel channel, asked for by panel\r\n")
			require.NotContains(t, p.mails[0], mailPassword)
		})
	}
}

// What is not as safe as the channel demands gets neither the login nor the mail.
func TestMailIsNotSentUnsafely(t *testing.T) {
	for name, tt := range map[string]struct {
		mode, server string
		edit         func(*postOffice, *smtp.Server)
		roots        bool
		want         string
	}{
		"no STARTTLS":          {StartTLS, NoTLS, func(_ *postOffice, s *smtp.Server) { s.AllowInsecureAuth = true }, true, "the mail server offers no STARTTLS"},
		"unknown certificate":  {StartTLS, StartTLS, nil, false, "certificate"},
		"unknown, TLS":         {TLS, TLS, nil, false, "certificate"},
		"TLS where there none": {TLS, NoTLS, nil, true, "tls"},
		"no known login":       {StartTLS, StartTLS, func(p *postOffice, _ *smtp.Server) { p.mechanisms = []string{"XOAUTH2"} }, true, "offers no login that is known here"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPostOffice(t, tt.server, tt.edit)
			w := newWorld(t, func(o *Options) {
				if tt.roots {
					o.Roots = p.o.Roots
				}
			})
			c := w.mailChannel(p, tt.mode, "panel", mailPassword)
			o := w.deliver(t.Context(), c, due{id: "id", at: began, payload: payload{Subject: "s", Body: "b"}})
			require.ErrorContains(t, o.err, tt.want)
			require.False(t, o.done || o.final, "a person can put it right: it is tried again")
			require.Empty(t, p.logins)
			require.Empty(t, p.from)
		})
	}
	var s SMTP
	p := newPostOffice(t, NoTLS, func(_ *postOffice, s *smtp.Server) { s.AllowInsecureAuth = true })
	w := newWorld(t, nil)
	c := w.mailChannel(p, NoTLS, "", "")
	s = c.SMTP
	s.Username, s.Password = "panel", mailPassword // as no validated channel has it
	c.SMTP = s
	require.ErrorContains(t, w.deliver(t.Context(), c, due{}).err, "a login needs TLS")
	require.Empty(t, p.logins)
}

func TestMailRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		password string
		refuse   map[string]*smtp.SMTPError
		want     outcome
		err      string
		mails    int
	}{
		"wrong password": {"another-w0rd", nil, outcome{code: 535, reply: "who is panel with (hidden)?"}, "the mail server answered 535", 0},
		"no recipient, for good": {
			mailPassword,
			map[string]*smtp.SMTPError{"a@example.org": {Code: 550, Message: "unknown"}, "b@example.org": {Code: 550, Message: "unknown"}},
			outcome{code: 550, reply: "unknown", final: true},
			"the mail server answered 550", 0,
		},
		"one may come through": {
			mailPassword,
			map[string]*smtp.SMTPError{"a@example.org": {Code: 450, Message: "greylisted"}, "b@example.org": {Code: 550, Message: "unknown"}},
			outcome{code: 550, reply: "unknown"},
			"the mail server answered 550", 0,
		},
		"one later": {
			mailPassword,
			map[string]*smtp.SMTPError{"a@example.org": {Code: 450, Message: "greylisted"}},
			outcome{code: 450, reply: "greylisted", reached: []string{"b@example.org"}},
			"not every recipient was taken: the mail server answered 450", 1,
		},
		"the text": {mailPassword, map[string]*smtp.SMTPError{"": {Code: 554, Message: "spam, " + mailPassword}}, outcome{code: 554, reply: "spam, (hidden)", final: true}, "the mail server answered 554", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPostOffice(t, StartTLS, func(p *postOffice, _ *smtp.Server) { p.refuse = tt.refuse })
			w := newWorld(t, func(o *Options) { o.Roots = p.o.Roots })
			c := w.mailChannel(p, StartTLS, "panel", tt.password)
			d := due{id: "id", at: began, payload: payload{Subject: "s", Body: "b"}}
			o := w.deliver(t.Context(), c, d)
			err := o.err
			require.ErrorContains(t, err, tt.err)
			require.Contains(t, o.reply, tt.want.reply)
			require.Equal(t, tt.want.code, o.code)
			require.Equal(t, tt.want.final, o.final)
			require.Equal(t, tt.want.reached, o.reached)
			require.NotContains(t, o.reply+err.Error(), tt.password)
			require.Len(t, p.mails, tt.mails)
			if tt.want.reached == nil {
				return
			}
			p.mu.Lock()
			clear(p.refuse)
			p.to = nil
			p.mu.Unlock()
			d.reached = o.reached
			require.True(t, w.deliver(t.Context(), c, d).done)
			require.Equal(t, []string{"a@example.org"}, p.to, "who has it does not get it again")
		})
	}
}

// A mail server on loopback is refused like any other receiver.
func TestMailServersAreGuarded(t *testing.T) {
	p := newPostOffice(t, NoTLS, nil)
	w := newWorld(t, nil)
	c := w.mailChannel(p, NoTLS, "", "")
	w.again(func(o *Options) { o.Allow = Allow{} })
	require.ErrorContains(t, w.deliver(t.Context(), c, due{}).err, "127.0.0.1 is a loopback address")
	require.Zero(t, p.sessions)
	_, _, err := w.Create(t.Context(), Input{Name: new("x"), Kind: new(Email), SMTP: &SMTPInput{
		Host: new("127.0.0.1"), From: new("a@example.org"), To: &[]string{"a@example.org"},
	}})
	invalid, ok := errors.AsType[*InvalidError](err)
	require.True(t, ok)
	require.Equal(t, "smtp.host", invalid.Problems[0].Field)
}
