package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/wgfleet/wgfleet/agent"
)

// identity is who this agent is, and whether anybody called it by name yet.
type identity struct {
	path string
	id   string

	mu      sync.Mutex // protects what follows and the file
	named   bool
	unsaved bool // the file does not say yet that named is true
}

type identityRecord struct {
	ID    string `json:"id"`
	Named bool   `json:"named"`
}

var agentID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// openIdentity reads the agent's id, or makes one at the first start.
func openIdentity(dir string) (*identity, error) {
	i := &identity{path: filepath.Join(dir, "agent.json")}
	data, err := os.ReadFile(i.path)
	if errors.Is(err, fs.ErrNotExist) {
		i.id = agent.NewID()
		return i, i.saveLocked()
	}
	if err != nil {
		return nil, fmt.Errorf("read the agent's id: %w", err)
	}
	var r identityRecord
	if err := json.Unmarshal(data, &r); err != nil || !agentID.MatchString(r.ID) {
		return nil, fmt.Errorf("%s is damaged: remove it to give this agent a new id, which the panel must then accept", i.path)
	}
	i.id, i.named = r.ID, r.Named
	return i, nil
}

func (i *identity) saveLocked() error {
	data, err := json.Marshal(identityRecord{ID: i.id, Named: i.named})
	if err != nil {
		return err
	}
	return writeFile(i.path, append(data, '\n'))
}

// check accepts this agent's id, and an empty one until the first request that named it.
func (i *identity) check(node string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case node == "" && !i.named:
		return nil
	case node == "":
		return agent.Errorf(agent.CodeWrongNode, "X-Node is missing: this agent was called by its id before")
	case node != i.id:
		return agent.Errorf(agent.CodeWrongNode, "this is not the agent that X-Node names")
	case i.named && !i.unsaved:
		return nil
	}
	// A full disk must not keep the panel out: the next request that names us tries to save again.
	i.named = true
	i.unsaved = i.saveLocked() != nil
	return nil
}
