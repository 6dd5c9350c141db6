package notify

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mail makes one attempt over SMTP (RFC 5321). Who has the mail already does not get it again.
func (n *Notifier) mail(ctx context.Context, c Channel, id string, at time.Time, p payload, reached []string) outcome {
	text, err := composeMail(c, id, at, p)
	if err != nil {
		return failed(err)
	}
	client, err := n.connect(ctx, c.SMTP)
	if err != nil {
		return c.SMTP.judge(err)
	}
	defer client.Close() //nolint:errcheck // after QUIT, or after what is told already
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	if err := c.SMTP.login(client); err != nil {
		o := c.SMTP.judge(err)
		o.final = false // a person can put the login right
		return o
	}
	from, err := mail.ParseAddress(c.SMTP.From)
	if err != nil {
		return failed(err)
	}
	if err := client.Mail(from.Address); err != nil {
		return c.SMTP.judge(err)
	}
	return c.SMTP.send(client, text, reached)
}

// send hands the text over for all who have it not yet, and tells who has it.
func (s SMTP) send(client *smtp.Client, text []byte, reached []string) outcome {
	var taken []string
	var refused outcome
	for _, to := range s.To {
		a, err := mail.ParseAddress(to)
		if err != nil || slices.Contains(reached, a.Address) {
			continue
		}
		if err := client.Rcpt(a.Address); err != nil {
			one := s.judge(err)
			one.final = one.final && (refused.err == nil || refused.final) // while one may come through
			refused = one
			continue
		}
		taken = append(taken, a.Address)
	}
	if len(taken) == 0 {
		refused.done = refused.err == nil // all have it
		return refused
	}
	w, err := client.Data()
	if err == nil {
		_, err = w.Write(text)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return s.judge(err)
	}
	_ = client.Quit() // the mail is taken already
	if refused.err != nil {
		refused.reached = taken
		refused.err = fmt.Errorf("not every recipient was taken: %w", refused.err)
		return refused
	}
	return outcome{done: true, code: 250, reached: taken}
}

// connect makes the connection as safe as the channel says, before anything else is said.
func (n *Notifier) connect(ctx context.Context, s SMTP) (*smtp.Client, error) {
	conn, err := n.dial(ctx, "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		return nil, err
	}
	if until, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(until); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	conf := &tls.Config{ServerName: s.Host, RootCAs: n.o.Roots, MinVersion: tls.VersionTLS12}
	if s.TLS == TLS {
		conn = tls.Client(conn, conf)
	}
	client, err := smtp.NewClient(conn, s.Host)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := greet(client, n.o.Hostname, s, conf); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

func greet(client *smtp.Client, hostname string, s SMTP, conf *tls.Config) error {
	if err := client.Hello(hostname); err != nil {
		return err
	}
	if s.TLS != StartTLS {
		return nil
	}
	if ok, _ := client.Extension("STARTTLS"); !ok {
		return errors.New("the mail server offers no STARTTLS, which the channel demands")
	}
	return client.StartTLS(conf)
}

// login says who sends, over TLS alone: validate has no login without it, and here it is looked at again.
func (s SMTP) login(client *smtp.Client) error {
	if s.Username == "" {
		return nil
	}
	if _, secure := client.TLSConnectionState(); !secure {
		return errors.New("a login needs TLS")
	}
	_, offered := client.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	switch {
	case slices.Contains(ways, "PLAIN"):
		return client.Auth(smtp.PlainAuth("", s.Username, string(s.Password), s.Host))
	case slices.Contains(ways, "LOGIN"):
		return client.Auth(&loginAuth{answers: []string{s.Username, string(s.Password)}})
	}
	return errors.New("the mail server offers no login that is known here: PLAIN or LOGIN")
}

// loginAuth is the mechanism LOGIN, which some servers have in place of PLAIN.
type loginAuth struct{ answers []string }

func (a *loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a *loginAuth) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	if len(a.answers) == 0 {
		return nil, errors.New("the mail server asks for more than a name and a password")
	}
	answer := a.answers[0]
	a.answers = a.answers[1:]
	return []byte(answer), nil
}

// maxReply is how much of a server's reply is kept, in bytes.
const maxReply = 200

// judge says what an error of the exchange means. A reply of the server is kept, without what it may repeat of the
// login.
func (s SMTP) judge(err error) outcome {
	e, ok := errors.AsType[*textproto.Error](err)
	if !ok {
		if ne, isNet := errors.AsType[net.Error](err); isNet && ne.Timeout() {
			return failed(fmt.Errorf("no answer within %s", attemptTimeout))
		}
		return failed(errors.New(s.withoutLogin(err.Error())))
	}
	return outcome{
		code: e.Code, reply: s.withoutLogin(e.Msg), final: e.Code/100 == 5,
		err: fmt.Errorf("the mail server answered %d", e.Code),
	}
}

func (s SMTP) withoutLogin(text string) string {
	for _, secret := range []string{string(s.Password), s.Username + "\x00" + string(s.Password), "\x00" + s.Username + "\x00" + string(s.Password)} {
		if s.Password != "" {
			text = strings.ReplaceAll(text, secret, "(hidden)")
			text = strings.ReplaceAll(text, base64.StdEncoding.EncodeToString([]byte(secret)), "(hidden)")
		}
	}
	return clip(clean(text), maxReply)
}
