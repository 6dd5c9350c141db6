package link

import "context"

func (h *Host) setDNS(context.Context, Config) error   { return nil }
func (h *Host) unsetDNS(context.Context, Config) error { return nil }
