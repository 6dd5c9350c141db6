package panel

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/store"
)

// tokenPrefix lets people and scanners know what they have found.
const tokenPrefix = "wgf_"

// adminKeyName is the name of the key from the settings.
const adminKeyName = "admin"

// hashToken is where a token's key stands, unsealed: looking for a hash tells nothing by its time. A
// plain hash is enough for the tokens made here, which are random; the one from the settings is as
// hard to guess as who chose it made it.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Keys lists the API keys in the order of their making.
func (s *Service) Keys(ctx context.Context, p Page) (keys []Key, next string, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		keys = []Key{}
		for row, err := range keyTable.All(tx, "") {
			if err != nil {
				return err
			}
			if k := row.Value.key(); k.ID > p.Cursor {
				keys = append(keys, k)
			}
		}
		return nil
	})
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
	if p.Limit > 0 && len(keys) > p.Limit {
		keys = keys[:p.Limit]
		next = keys[p.Limit-1].ID
	}
	return keys, next, err
}

// CreateKey makes an API key and returns it with its token.
func (s *Service) CreateKey(ctx context.Context, name, role string) (Key, string, error) {
	var p problems
	name = p.name("name", name)
	if role != RoleAdmin && role != RoleViewer {
		p.add("role", "%q is no role: expected %s or %s", clip(role), RoleAdmin, RoleViewer)
	}
	if err := p.err(); err != nil {
		return Key{}, "", err
	}
	var b [32]byte
	if _, err := io.ReadFull(s.o.Rand, b[:]); err != nil {
		return Key{}, "", fmt.Errorf("make a key: %w", err)
	}
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	k, err := s.putKey(ctx, token, name, role)
	return k, token, err
}

func (s *Service) putKey(ctx context.Context, token, name, role string) (Key, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return Key{}, err
	}
	r := keyRecord{ID: id, Name: name, Role: role, CreatedAt: now}
	err = s.o.Store.Update(ctx, func(tx store.Tx) error {
		if err := keyIDs.Claim(tx, id, hashToken(token)); err != nil {
			return err
		}
		return keyTable.Put(tx, hashToken(token), r)
	})
	return r.key(), err
}

// DeleteKey ends a key at once. The one from the settings is not ended here: without another
// administrator's key nobody could undo it.
func (s *Service) DeleteKey(ctx context.Context, id string) error {
	if id == adminKeyName {
		return conflictf("the key %s comes from the panel's settings: change it there, by WGFLEET_ADMIN_KEY or the file admin.key", id)
	}
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		hash, err := keyIDs.Owner(tx, id)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
			return notFoundf("there is no key %q", clip(id))
		}
		if err != nil {
			return err
		}
		return errors.Join(keyIDs.Release(tx, id, hash), keyTable.Delete(tx, hash))
	})
}

// Authenticate returns whose token this is, or ErrUnauthorized.
func (s *Service) Authenticate(ctx context.Context, token string) (Key, error) {
	var k Key
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		r, err := keyTable.Get(tx, hashToken(token))
		k = r.key()
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Key{}, ErrUnauthorized
	}
	if err != nil {
		return Key{}, err
	}
	return k, nil
}

// minAdminKey is how long a key from the settings must be, in bytes.
const minAdminKey = 16

// EnsureAdminKey makes the key from the settings an admin's, and ends the one that was there before.
func (s *Service) EnsureAdminKey(ctx context.Context, token string) error {
	if len(strings.TrimSpace(token)) < minAdminKey {
		return Invalid("admin_key", "is too short: expected %d characters or more", minAdminKey)
	}
	hash := hashToken(token)
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		r, err := keyTable.Get(tx, hash)
		switch {
		case err == nil && r.ID == adminKeyName:
			return nil
		case err == nil: // one that was made here: it is known under the one name from now on
			err = keyIDs.Release(tx, r.ID, hash)
		case errors.Is(err, store.ErrNotFound):
			err = nil
		}
		if err != nil {
			return err
		}
		old, err := keyIDs.Owner(tx, adminKeyName)
		if err == nil {
			err = errors.Join(keyIDs.Release(tx, adminKeyName, old), keyTable.Delete(tx, old))
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return errors.Join(keyIDs.Claim(tx, adminKeyName, hash),
			keyTable.Put(tx, hash, keyRecord{ID: adminKeyName, Name: adminKeyName, Role: RoleAdmin, CreatedAt: s.now()}))
	})
}
