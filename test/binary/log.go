package binary

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// Log is what a process has written so far.
type Log struct {
	ready chan [2]string // where the agent and the panel answer
	ended chan struct{}  // closed with the output

	mu   sync.Mutex // protects text
	text bytes.Buffer
}

func newLog() *Log {
	return &Log{ready: make(chan [2]string, 1), ended: make(chan struct{})}
}

func (l *Log) follow(r io.Reader) {
	defer close(l.ended)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l.mu.Lock()
		l.text.Write(lines.Bytes())
		l.text.WriteByte('\n')
		l.mu.Unlock()
		if agent, panel, ok := readyLine(lines.Bytes()); ok {
			l.ready <- [2]string{agent, panel}
		}
	}
}

// String is all of it. Of nil it is nothing.
func (l *Log) String() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Ready finds, in what a process wrote, where its roles answer.
func Ready(text string) (agentURL, panelURL string, ok bool) {
	for line := range strings.Lines(text) {
		if agentURL, panelURL, ok = readyLine([]byte(line)); ok {
			return agentURL, panelURL, true
		}
	}
	return "", "", false
}

func readyLine(text []byte) (agentURL, panelURL string, ok bool) {
	var line struct {
		Msg   string
		Agent string `json:"agent_url"`
		Panel string `json:"panel_url"`
	}
	_ = json.Unmarshal(text, &line) // lines for people are no JSON
	return line.Agent, line.Panel, line.Msg == "wgfleet is ready"
}
