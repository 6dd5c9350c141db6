package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Types of a webhook's body.
const (
	typeEvents = "wgfleet.events"
	typeTest   = "wgfleet.test"
)

// maxBody keeps a payload below what the store takes in one record, where the body is a text within JSON. In bytes: of
// a webhook's body as it is sent, which is JSON and grows to twice of it at most; of plain text as it is stored, which
// may be six times as long.
const maxBody = 200 << 10

// stored is how many bytes a text takes within a record.
func stored(text string) int {
	b, err := json.Marshal(text)
	if err != nil {
		return 6 * len(text) // what it takes at most
	}
	return len(b)
}

// maxMessage is how much of an event's own sentence a webhook is told, in bytes.
const maxMessage = 4 << 10

// compose makes what a channel of a kind is sent.
func (m message) compose(k Kind) (payload, error) {
	switch k {
	case Webhook:
		return m.webhook()
	case Slack:
		return m.slack()
	default:
		return m.email(), nil
	}
}

// webhookBody is the body of a webhook.
type webhookBody struct {
	Type      string      `json:"type"`
	Timestamp string      `json:"timestamp"`
	Data      webhookData `json:"data"`
}

type webhookData struct {
	Events  []eventData `json:"events"`
	Omitted int         `json:"omitted"` // events that are only in the panel's log
}

// eventData is an event as the API has it, and how often what it tells has changed.
type eventData struct {
	ID             string       `json:"id"`
	At             string       `json:"at"`
	Kind           string       `json:"kind"`
	Severity       string       `json:"severity"`
	NodeID         string       `json:"node_id"`
	NodeName       string       `json:"node_name"`
	Subject        string       `json:"subject"`
	Actor          actorData    `json:"actor"`
	Message        string       `json:"message"`
	From           string       `json:"from"`
	To             string       `json:"to"`
	PlanID         string       `json:"plan_id"`
	Revision       uint64       `json:"revision"`
	Changes        []changeData `json:"changes"`
	ChangesOmitted int          `json:"changes_omitted"`
	Times          int          `json:"times"` // events that this one, the last of them, stands for
	Since          string       `json:"since"` // of the first of them
}

type actorData struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

type changeData struct {
	Op      string         `json:"op"`
	Peer    string         `json:"peer"`
	Name    string         `json:"name"`
	Before  map[string]any `json:"before"`
	After   map[string]any `json:"after"`
	Outcome string         `json:"outcome"`
	Error   string         `json:"error"`
}

func fromLine(l line) eventData {
	e := l.last
	d := eventData{
		ID: e.ID, At: stamp(e.At), Kind: string(e.Kind), Severity: string(l.worst), NodeID: e.NodeID, NodeName: e.NodeName, Subject: e.Subject,
		Actor: actorData(e.Actor), Message: clip(e.Message, maxMessage), From: e.From, To: e.To, PlanID: e.PlanID, Revision: e.Revision,
		Changes: []changeData{}, ChangesOmitted: l.cut, Times: l.times, Since: stamp(l.since),
	}
	for _, c := range e.Changes {
		d.Changes = append(d.Changes, changeData(c))
	}
	return d
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// webhook leaves out the changes of the oldest events, and then those events, where all would be too large.
func (m message) webhook() (payload, error) {
	body := webhookBody{Type: typeEvents, Timestamp: stamp(m.at), Data: webhookData{Events: []eventData{}, Omitted: m.omitted}}
	if m.test {
		body.Type = typeTest
	}
	left := maxBody
	for i, l := range slices.Backward(m.lines) {
		d, size, err := fitting(fromLine(l), left)
		if err != nil {
			return payload{}, err
		}
		if left -= size; left < 0 {
			for _, l := range m.lines[:i+1] {
				body.Data.Omitted += l.times
			}
			break
		}
		body.Data.Events = append([]eventData{d}, body.Data.Events...)
	}
	b, err := json.Marshal(body)
	return payload{Body: string(b)}, err
}

// fitting drops an event's changes where it would be larger than there is room, and tells its size.
func fitting(d eventData, room int) (eventData, int, error) {
	b, err := json.Marshal(d)
	if err == nil && len(b) > room && len(d.Changes) > 0 {
		d.ChangesOmitted += len(d.Changes)
		d.Changes = []changeData{}
		b, err = json.Marshal(d)
	}
	return d, len(b) + 1, err
}

// Bounds of a Slack message: 50 blocks of 3,000 characters; ours stay readable, and far below.
const (
	maxBlocks    = 10
	maxBlockText = 2900 // bytes, escaped
)

type slackBody struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
}

type slackText struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Verbatim bool   `json:"verbatim"` // no names in it become links
}

// slackEscape is all that Slack wants escaped; what is escaped can't mention anybody.
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slack fills blocks from the newest event on, and counts what finds no place.
func (m message) slack() (payload, error) {
	head := "*wgfleet* " + slackEscape.Replace(clip(m.headline(), maxSentence))
	var blocks []string
	block := ""
	left := m.omitted
	for _, l := range slices.Backward(m.lines) {
		text := slackEscape.Replace(fmt.Sprintf("• %s %s %s", clock(l.last.At), l.worst, clip(l.sentence(), maxSentence)))
		if len(block)+len(text) > maxBlockText {
			blocks, block = append(blocks, block), ""
		}
		if len(blocks) == maxBlocks {
			left += l.times
			continue
		}
		block += text + "\n"
	}
	if block != "" {
		blocks = append(blocks, block)
	}
	if left > 0 {
		blocks = append(blocks, message{omitted: left}.leftOut())
	}
	body := slackBody{Text: head, Blocks: []slackBlock{section(head)}}
	if len(m.lines) > 1 || left > 0 {
		for _, text := range blocks {
			body.Blocks = append(body.Blocks, section(text))
		}
	}
	b, err := json.Marshal(body)
	return payload{Body: string(b)}, err
}

func section(text string) slackBlock {
	return slackBlock{Type: "section", Text: slackText{Type: "mrkdwn", Text: strings.TrimSuffix(text, "\n"), Verbatim: true}}
}

// email is a subject and plain text, the oldest event first. Where all would be too large, the oldest are counted.
func (m message) email() payload {
	parts := make([]string, 0, len(m.lines))
	left := maxBody
	for i, l := range slices.Backward(m.lines) {
		part := l.paragraph()
		if left -= stored(part); left < 0 {
			for _, l := range m.lines[:i+1] {
				m.omitted += l.times
			}
			break
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	if text := m.leftOut(); text != "" {
		parts = append(parts, "\n", text, "\n")
	}
	return payload{Subject: clip("[wgfleet] "+m.headline(), 200), Body: strings.Join(parts, "")}
}

// paragraph is a line with its changes below.
func (l line) paragraph() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n", stamp(l.last.At), strings.ToUpper(string(l.worst)), l.sentence())
	for _, c := range l.changes() {
		fmt.Fprintf(&b, "    %s\n", c)
	}
	return b.String()
}

// testMessage is what the test button sends.
func testMessage(c Channel, id string, by event.Actor, at time.Time) message {
	e := event.Event{
		ID: id, At: at, Kind: typeTest, Severity: event.Info, Actor: by,
		Message: fmt.Sprintf("this is a test of the channel %s, asked for by %s", c.Name, by.Name),
	}
	l := lineOf(e)
	l.ids = nil // it is no event of the log
	return message{lines: []line{l}, test: true, at: at}
}
