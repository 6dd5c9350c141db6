package notify

import (
	"context"
	"fmt"
	"slices"

	"github.com/wgfleet/wgfleet/store"
)

// NamesGroup returns a channel whose rules name a group; not ok: none does.
func NamesGroup(tx store.Tx, group string) (c Channel, ok bool, err error) {
	for row, err := range channelTable.All(tx, "") {
		if err != nil {
			return Channel{}, false, err
		}
		if slices.Contains(row.Value.Rules.Groups, group) {
			return row.Value.channel(row.ID), true, nil
		}
	}
	return Channel{}, false, nil
}

// Ended is a channel that was disabled because nothing is left that its rules name.
type Ended struct {
	channel string
	owed    string // id of what is to be said of it
	message string
}

// ForgetNode takes a node out of all rules, within the transaction that deletes it. Rules without a name would choose
// all, so that a channel keeps the last one, and is disabled; TellEnded is to be called for it after the transaction.
// Runners go on with the rules that they have, to tell that the node was deleted: its id is nobody else's.
func (n *Notifier) ForgetNode(tx store.Tx, node string) (ended []Ended, err error) {
	now := n.now()
	for row, err := range channelTable.All(tx, "") {
		if err != nil {
			return nil, err
		}
		c := row.Value.channel(row.ID)
		if !slices.Contains(c.Rules.Nodes, node) {
			continue
		}
		last := len(c.Rules.Nodes) == 1 && len(c.Rules.Groups) == 0
		switch {
		case !last:
			c.Rules.Nodes = slices.DeleteFunc(c.Rules.Nodes, func(id string) bool { return id == node })
		case c.Enabled:
			c.Enabled, c.DisabledReason = false, "the last node that its rules name was deleted"
			e, err := n.end(tx, c)
			if err != nil {
				return nil, err
			}
			ended = append(ended, e)
		}
		c.UpdatedAt = now
		if err := channelTable.Put(tx, c.ID, recordOf(c)); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// end gives up what a channel has not delivered that is disabled now.
func (n *Notifier) end(tx store.Tx, c Channel) (Ended, error) {
	lost, err := giveUp(tx, c.ID, n.now(), c.DisabledReason)
	if err != nil {
		return Ended{}, err
	}
	id, err := n.newID()
	if err != nil {
		return Ended{}, err
	}
	message := fmt.Sprintf("the channel %s is disabled, and was not told of %d events: %s", c.Name, lost, c.DisabledReason)
	return Ended{channel: c.ID, owed: id, message: message}, owe(tx, id, message)
}

// TellEnded says to the log, and so to other channels, that channels were disabled.
func (n *Notifier) TellEnded(ctx context.Context, ended []Ended) {
	for _, e := range ended {
		n.pay(ctx, e.owed, e.message)
		n.touch(ctx, e.channel)
	}
}

// With is the input that names all that the rules would name after it.
func (r Rules) With(in *RulesInput) *RulesInput {
	if in != nil {
		in.apply(&r)
	}
	return &RulesInput{Nodes: &r.Nodes, Groups: &r.Groups}
}
