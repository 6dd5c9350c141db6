package notify

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

func messageOf(events ...event.Event) message {
	m := message{at: began}
	for i, e := range events {
		e.ID, e.At = fmt.Sprintf("%04d", i), began
		m.lines = append(m.lines, lineOf(e))
	}
	return m
}

func TestWebhookBody(t *testing.T) {
	e := reachable("n1", "True", "False")
	e.Actor = event.Actor{Kind: event.ActorSystem, Name: "panel"}
	e.Revision = 7
	e.Changes = []event.Change{{Op: "missing", Peer: "KEY", Name: "ada", After: map[string]any{"allowed_ips": []string{"10.0.0.2/32"}}, Outcome: event.Appeared}}
	p, err := messageOf(e).compose(Webhook)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"wgfleet.events","timestamp":"2026-11-26T12:00:00Z","data":{"omitted":0,"events":[{
		"id":"0000","at":"2026-11-26T12:00:00Z","kind":"condition.changed","severity":"warning","node_id":"n1","node_name":"n1",
		"subject":"Reachable","actor":{"kind":"system","id":"","name":"panel"},"message":"Reachable is False","from":"True","to":"False",
		"plan_id":"","revision":7,"changes":[{"op":"missing","peer":"KEY","name":"ada","before":null,
		"after":{"allowed_ips":["10.0.0.2/32"]},"outcome":"appeared","error":""}],"changes_omitted":0,
		"times":1,"since":"2026-11-26T12:00:00Z"}]}}`, p.Body)
}

// Whatever is collected fits into a record, and says what it leaves out.
func TestBodiesAreBounded(t *testing.T) {
	big := planned(strings.Repeat("ä", 100_000))
	for range maxChanges {
		big.Changes = append(big.Changes, event.Change{Op: "add", Peer: "KEY", Name: strings.Repeat("n", 1000), Before: map[string]any{"x": strings.Repeat("y", 50_000)}})
	}
	events := make([]event.Event, maxLines)
	for i := range events {
		events[i] = big
	}
	m := messageOf(events...)
	for _, k := range Kinds() {
		p, err := m.compose(k)
		require.NoError(t, err)
		require.LessOrEqual(t, len(p.Body), maxBody+maxSentence, k)
		if k != Webhook {
			require.Contains(t, p.Body, "earlier events are not in this message", k)
			continue
		}
		var body webhookBody
		require.NoError(t, json.Unmarshal([]byte(p.Body), &body))
		require.Equal(t, maxLines, len(body.Data.Events)+body.Data.Omitted)
		last := body.Data.Events[len(body.Data.Events)-1]
		require.Equal(t, "0099", last.ID, "the newest are told")
		require.Equal(t, maxChanges, last.ChangesOmitted)
	}
}

// The store keeps a body as a text within JSON, where some characters take six bytes.
func TestBodiesFitTheStore(t *testing.T) {
	w := newWorld(t, nil)
	e := planned(strings.Repeat("<", 600))
	for range maxChanges {
		e.Changes = append(e.Changes, event.Change{Op: "add", Peer: "KEY", Outcome: event.Failed, Error: strings.Repeat("<&>", 300)})
	}
	m := messageOf(slices.Repeat([]event.Event{e}, maxLines)...)
	for _, k := range Kinds() {
		p, err := m.compose(k)
		require.NoError(t, err)
		require.NoError(t, w.store.Update(t.Context(), func(tx store.Tx) error { return payloadTable.In("c").Put(tx, string(k), p) }), k)
	}
}

func TestSlackBodyIsEscaped(t *testing.T) {
	e := planned("<!channel> & <https://evil.example|click>\n\x1b[31m\u202egpj.exe")
	p, err := messageOf(e, planned("second")).compose(Slack)
	require.NoError(t, err)
	var body struct {
		Text   string
		Blocks []struct {
			Type string
			Text struct {
				Type, Text string
				Verbatim   bool
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(p.Body), &body))
	require.Equal(t, "*wgfleet* info: 2 events", body.Text)
	require.Len(t, body.Blocks, 2)
	require.Equal(t, "mrkdwn", body.Blocks[1].Text.Type)
	require.True(t, body.Blocks[1].Text.Verbatim)
	require.Equal(t, "• 12:00:00 info n1: second\n• 12:00:00 info n1: &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt; [31mgpj.exe", body.Blocks[1].Text.Text)

	many := make([]event.Event, maxLines)
	for i := range many {
		many[i] = planned(strings.Repeat("&", 600))
	}
	p, err = messageOf(many...).compose(Slack)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(p.Body), &body))
	require.LessOrEqual(t, len(body.Blocks), maxBlocks+2)
	for _, b := range body.Blocks {
		require.LessOrEqual(t, len(b.Text.Text), 3000)
	}
	require.Contains(t, body.Blocks[len(body.Blocks)-1].Text.Text, "earlier events are not in this message")
}

// No text of an event, a node or a channel becomes a header.
func TestMailHasNoForeignHeaders(t *testing.T) {
	evil := "x\r\nBcc: evil@example.com\r\n\r\nbody\x00"
	e := planned(evil)
	e.NodeName = evil
	e.Changes = []event.Change{{Op: "add", Peer: "KEY", Name: evil, Outcome: event.Done}}
	p := messageOf(e).email()
	p.Subject += evil
	c := Channel{SMTP: SMTP{From: "Panel of ä <panel@example.org>", To: []string{"a@example.org", `"B, C" <b@example.org>`}}}
	text, err := composeMail(c, "0199-id", began, p)
	require.NoError(t, err)
	m, err := mail.ReadMessage(strings.NewReader(string(text)))
	require.NoError(t, err)
	names := map[string]bool{}
	for name := range m.Header {
		names[name] = true
	}
	require.Equal(t, map[string]bool{
		"From": true, "To": true, "Subject": true, "Date": true, "Message-Id": true, "Auto-Submitted": true,
		"Mime-Version": true, "Content-Type": true, "Content-Transfer-Encoding": true,
	}, names)
	require.Equal(t, "<0199-id@example.org>", m.Header.Get("Message-Id"))
	to, err := m.Header.AddressList("To")
	require.NoError(t, err)
	require.Equal(t, []string{"a@example.org", "b@example.org"}, []string{to[0].Address, to[1].Address})
	at, err := m.Header.Date()
	require.NoError(t, err)
	require.True(t, at.Equal(began))
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	require.Contains(t, subject, "[wgfleet] info: x Bcc: evil@example.com body: x Bcc: evil@example.com body")
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	require.NoError(t, err)
	require.Equal(t, "2026-11-26T12:00:00Z INFO x Bcc: evil@example.com body: x Bcc: evil@example.com body\r\n"+
		"    add KEY (x Bcc: evil@example.com body): done\r\n", string(body))
}
