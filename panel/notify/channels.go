package notify

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/wgfleet/wgfleet/store"
)

// maxChannels bounds who follows the log at the same time.
const maxChannels = 100

// Channels lists the channels in the order of their making, after the one with the id after. limit 0: all.
func (n *Notifier) Channels(ctx context.Context, limit int, after string) (list []Channel, next string, err error) {
	err = n.o.Store.View(ctx, func(tx store.Tx) error {
		list, next = []Channel{}, ""
		for row, err := range channelTable.All(tx, after) {
			if err != nil {
				return err
			}
			if limit > 0 && len(list) == limit {
				next = list[limit-1].ID
				return nil
			}
			list = append(list, row.Value.channel(row.ID))
		}
		return nil
	})
	return list, next, err
}

func (n *Notifier) allChannels(ctx context.Context) ([]Channel, error) {
	list, _, err := n.Channels(ctx, 0, "")
	return list, err
}

// Channel returns one channel.
func (n *Notifier) Channel(ctx context.Context, id string) (Channel, error) {
	var c Channel
	err := n.o.Store.View(ctx, func(tx store.Tx) (err error) {
		c, err = getChannel(tx, id)
		return err
	})
	return c, err
}

func getChannel(tx store.Tx, id string) (Channel, error) {
	r, err := channelTable.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
		return Channel{}, refusef(ErrNotFound, "there is no notification channel %q", clip(id, 60))
	}
	return r.channel(id), err
}

// Create adds a channel, which is told of what happens from now on. The secret is returned where it was made here.
func (n *Notifier) Create(ctx context.Context, in Input) (Channel, Secret, error) {
	now := n.now()
	id, err := n.newID()
	if err != nil {
		return Channel{}, "", err
	}
	c := Channel{
		ID: id, Enabled: true, Debounce: DefaultDebounce, CreatedAt: now, UpdatedAt: now,
		SMTP: SMTP{TLS: StartTLS}, Rules: Rules{Nodes: []string{}, Groups: []string{}, Kinds: nil, MinSeverity: "info"},
	}
	if in.Kind != nil {
		c.Kind = *in.Kind
	}
	if c.Kind == Webhook && in.Secret == nil {
		in.Secret = new(Secret)
	}
	if c.Kind == Email && in.SMTP == nil {
		in.SMTP = &SMTPInput{}
	}
	made, err := n.makeSecret(&in)
	if err != nil {
		return Channel{}, "", err
	}
	found, err := n.literalAgents(ctx)
	if err != nil {
		return Channel{}, "", err
	}
	if err := n.edit(&c, in, found); err != nil {
		return Channel{}, "", err
	}
	cursor, err := n.o.Log.Last(ctx)
	if err != nil {
		return Channel{}, "", err
	}
	err = n.o.Store.Update(ctx, func(tx store.Tx) error {
		if err := notTooMany(tx); err != nil {
			return err
		}
		return errors.Join(claim(tx, c), channelTable.Put(tx, id, recordOf(c)), progressTable.Put(tx, id, progressRecord{Cursor: cursor}))
	})
	if err != nil {
		return Channel{}, "", err
	}
	n.touch(ctx, id)
	return c, made, nil
}

func notTooMany(tx store.Tx) error {
	count := 0
	for _, err := range channelTable.IDs(tx, "") {
		if err != nil {
			return err
		}
		count++
	}
	if count >= maxChannels {
		return refusef(ErrConflict, "there are %d notification channels already, which is the most: delete one, or widen the rules of another", count)
	}
	return nil
}

// makeSecret makes the secret of a webhook where the input asks for one.
func (n *Notifier) makeSecret(in *Input) (Secret, error) {
	if in.Secret == nil || *in.Secret != "" {
		return "", nil
	}
	var b [32]byte
	if _, err := io.ReadFull(n.o.Rand, b[:]); err != nil {
		return "", fmt.Errorf("make a secret: %w", err)
	}
	made := Secret(secretPrefix + base64.StdEncoding.EncodeToString(b[:]))
	in.Secret = &made
	return made, nil
}

// edit applies the input and judges the receiver as far as it can be without looking its name up.
func (n *Notifier) edit(c *Channel, in Input, found agents) error {
	if err := in.apply(c); err != nil {
		return err
	}
	if in.URL == nil && in.SMTP == nil {
		return nil
	}
	err := guard{allow: n.o.Allow, agents: found}.checkHost(c.hostOf())
	if err == nil {
		return nil
	}
	field := "url"
	if c.Kind == Email {
		field = "smtp.host"
	}
	return &InvalidError{Problems: []Problem{{Field: field, Error: err.Error()}}}
}

func claim(tx store.Tx, c Channel) error {
	err := channelNames.Claim(tx, nameKey(c.Name), c.ID)
	if t, ok := errors.AsType[*store.TakenError](err); ok {
		return refusef(ErrConflict, "the name %q belongs to the notification channel %s", c.Name, t.Owner)
	}
	return err
}

// nameKey fits any name into an index.
func nameKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// Update changes what the input names. A channel that is enabled again is told of what happens from then on; one
// that is disabled gives up what it has not delivered.
func (n *Notifier) Update(ctx context.Context, id string, in Input) (Channel, Secret, error) {
	made, err := n.makeSecret(&in)
	if err != nil {
		return Channel{}, "", err
	}
	last, err := n.o.Log.Last(ctx)
	if err != nil {
		return Channel{}, "", err
	}
	found, err := n.literalAgents(ctx)
	if err != nil {
		return Channel{}, "", err
	}
	var c Channel
	err = n.o.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		if c, err = getChannel(tx, id); err != nil {
			return err
		}
		old := c
		if err := n.edit(&c, in, found); err != nil {
			return err
		}
		c.UpdatedAt = n.now()
		if old.Name != c.Name {
			if err := errors.Join(channelNames.Release(tx, nameKey(old.Name), id), claim(tx, c)); err != nil {
				return err
			}
		}
		switch {
		case c.Enabled && !old.Enabled:
			err = progressTable.Put(tx, id, progressRecord{Cursor: last})
		case !c.Enabled && old.Enabled:
			_, err = giveUp(tx, id, c.UpdatedAt, "the channel was disabled before the receiver took it")
		}
		return errors.Join(err, channelTable.Put(tx, id, recordOf(c)))
	})
	if err != nil {
		return Channel{}, "", err
	}
	n.touch(ctx, id)
	return c, made, nil
}

// Delete ends a channel at once; its log goes with it.
func (n *Notifier) Delete(ctx context.Context, id string) error {
	err := n.o.Store.Update(ctx, func(tx store.Tx) error {
		c, err := getChannel(tx, id)
		if err != nil {
			return err
		}
		for delivery, err := range deliveryTable.In(id).IDs(tx, "") {
			if err != nil {
				return err
			}
			if err := errors.Join(deliveryTable.In(id).Delete(tx, delivery), payloadTable.In(id).Delete(tx, delivery)); err != nil {
				return err
			}
		}
		return errors.Join(channelNames.Release(tx, nameKey(c.Name), id), progressTable.Delete(tx, id), channelTable.Delete(tx, id))
	})
	if err != nil {
		return err
	}
	n.touch(ctx, id)
	return nil
}
