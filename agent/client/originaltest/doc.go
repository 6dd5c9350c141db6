// Package originaltest is a stand-in for the original Python agent, for tests: its routes, its
// signatures and those of its quirks that a client must live with. It drives no device: peers live
// in memory. It owns no listener; an Agent is safe for concurrent use. It answers errors as the
// original does and returns none.
package originaltest
