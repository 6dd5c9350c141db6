package server

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// hostFile is the wg-quick(8) file of an interface as it is on the disk right now. A person may edit
// it at any time, so it is read anew for every change.
type hostFile struct {
	path string
	file *wgquick.File
	raw  []byte
	hash string
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (s *Server) confPath(name string) string { return filepath.Join(s.o.ConfDir, name+".conf") }

// readHostFile returns nil where the interface has no file.
func (s *Server) readHostFile(name string) (*hostFile, error) {
	path := s.confPath(name)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the interface's file: %w", err)
	}
	f, err := wgquick.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	f.Name = path
	return &hostFile{path: path, file: f, raw: raw, hash: hashOf(raw)}, nil
}

// ownFile is readHostFile for the holder of the slot: what the file was to hold and does is done.
func (s *Server) ownFile(sl *slot) (*hostFile, error) {
	h, err := s.readHostFile(sl.name)
	if err == nil && h != nil {
		sl.journal.saw(h.hash)
	}
	return h, err
}

// hashOfFile returns "" for a file that is not there.
func hashOfFile(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the interface's file: %w", err)
	}
	return hashOf(raw), nil
}

// edit makes the file say what the changes say.
func (h *hostFile) edit(c engine.Changes) error {
	if c.Interface != nil {
		if err := editInterface(h.file, c.Interface.Before, c.Interface.After); err != nil {
			return err
		}
	}
	for _, p := range c.Peers {
		if p.After == nil {
			h.file.RemovePeer(p.Key())
			continue
		}
		if err := h.file.PutPeer(wgquick.NewPeer(*p.After)); err != nil {
			return err
		}
	}
	return nil
}

// editInterface writes the settings of the device that differ.
func editInterface(f *wgquick.File, before, after engine.Interface) error {
	if !before.PrivateKey.Equal(after.PrivateKey) {
		if err := f.SetInterface("PrivateKey", secretText(after.PrivateKey)); err != nil {
			return err
		}
	}
	if before.ListenPort != after.ListenPort {
		if err := f.SetInterface("ListenPort", number(int(after.ListenPort))); err != nil {
			return err
		}
	}
	if before.FwMark != after.FwMark {
		return f.SetInterface("FwMark", fwMarkText(after.FwMark))
	}
	return nil
}

// number is the text of a setting, "" where 0 means none.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func fwMarkText(mark uint32) string {
	if mark == 0 {
		return ""
	}
	return fmt.Sprintf("%#x", mark)
}

// state is what the file wants the device to be. Endpoints with a host name are left out.
func (h *hostFile) state(name string) (engine.State, wgquick.Interface, error) {
	i, err := h.file.Interface()
	if err != nil {
		return engine.State{}, i, err
	}
	peers, err := h.file.Peers()
	if err != nil {
		return engine.State{}, i, err
	}
	s := engine.State{Interface: i.Engine(name)}
	for _, p := range peers {
		s.Peers = append(s.Peers, p.Engine())
	}
	return engine.Normalize(s), i, nil
}
