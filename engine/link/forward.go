package link

import "context"

func (h *Host) setForwarding(context.Context, Config) error   { return nil }
func (h *Host) unsetForwarding(context.Context, Config) error { return nil }
