package agent

import "time"

// Header names of the API.
const (
	HeaderTimestamp         = "X-Timestamp"
	HeaderSignature         = "X-Signature"
	HeaderNonce             = "X-Nonce"
	HeaderNode              = "X-Node"
	HeaderResponseSignature = "X-Response-Signature"
	HeaderInterfaceDigest   = "X-Interface-Digest" // of a request that waits: the one last seen
)

// Hidden stands in raw_config for a secret that is not sent; no PUT accepts it.
const Hidden = "(hidden)"

// Health is the answer of GET /health.
type Health struct {
	Status    string `json:"status"` // "ok"
	Timestamp int64  `json:"timestamp"`
	Uptime    int64  `json:"uptime"` // seconds
	Version   string `json:"version"`
	AgentID   string `json:"agent_id"` // empty: the original agent
	// Capabilities name what this agent can do beyond the original: see the Cap constants.
	Capabilities []string `json:"capabilities"`
}

// Capabilities of an agent. A panel uses none that the agent does not name, and manages without: their versions may
// be neighbours. Without CapV2 it speaks to the agent as to the original.
const (
	CapV2    = "v2"    // nonces, node, signed answers; GET /v1/wg
	CapETag  = "etag"  // digests, 304
	CapWait  = "wait"  // Prefer: wait is held until either digest changes, for next to nothing
	CapApply = "apply" // POST apply
	CapFile  = "file"  // GET file
	CapFlows = "flows" // GET flows, GET and PUT access
)

// MaxWait is how long Prefer: wait holds an answer at most.
const MaxWait = 60 * time.Second

// Dump is the answer of GET /v1/wg/{if}/dump.
type Dump struct {
	Interface string     `json:"interface"`
	Peers     []DumpPeer `json:"peers"`
}

// DumpPeer is one peer of a Dump.
type DumpPeer struct {
	PublicKey    string  `json:"public_key"`
	PresharedKey *string `json:"preshared_key"` // null: none, or hidden
	// PresharedKeyMAC lets a hidden key be compared: see engine.MACKey. The original has none.
	PresharedKeyMAC     *string  `json:"preshared_key_mac"`
	Endpoint            *string  `json:"endpoint"`
	AllowedIPs          []string `json:"allowed_ips"`
	LatestHandshake     *int64   `json:"latest_handshake"` // Unix seconds; null: never
	TransferRx          int64    `json:"transfer_rx"`
	TransferTx          int64    `json:"transfer_tx"`
	PersistentKeepalive int      `json:"persistent_keepalive"`
}

// Interfaces is the answer of GET /v1/wg, sorted by name.
type Interfaces struct {
	Interfaces []InterfaceSummary `json:"interfaces"`
}

// InterfaceSummary is one entry of Interfaces.
type InterfaceSummary struct {
	Name            string   `json:"name"`
	Backend         string   `json:"backend"`
	Up              bool     `json:"up"`
	PublicKey       string   `json:"public_key"`
	ListenPort      int      `json:"listen_port"`
	FwMark          uint32   `json:"fwmark"`
	Addresses       []string `json:"addresses"`
	MTU             int      `json:"mtu"`
	PeerCount       int      `json:"peer_count"`
	Digest          string   `json:"digest"`
	InterfaceDigest string   `json:"interface_digest"`
}

// InterfaceConfig is the config member of GET /v1/wg/{if}/config: the host's file.
type InterfaceConfig struct {
	PrivateKey *string `json:"private_key"`
	ListenPort *int    `json:"listen_port"`
	Address    *string `json:"address"`
	PostUp     *string `json:"post_up"`
	PreDown    *string `json:"pre_down"`
	MTU        *int    `json:"mtu"`
	DNS        *string `json:"dns"`
	Table      *string `json:"table"`
	RawConfig  string  `json:"raw_config"`

	// Beyond the original:
	PublicKey *string  `json:"public_key"`
	FwMark    *uint32  `json:"fwmark"`
	Hooks     *Hooks   `json:"hooks"`
	Addresses []string `json:"addresses"`
	// Forward and Masquerade are "any" or names of links; null: the file asks for neither.
	Forward    *string `json:"forward"`
	Masquerade *string `json:"masquerade"`
}

// Hooks are wg-quick(8)'s, each in the order of the file.
type Hooks struct {
	PreUp    []string `json:"pre_up"`
	PostUp   []string `json:"post_up"`
	PreDown  []string `json:"pre_down"`
	PostDown []string `json:"post_down"`
}

// Config is the answer of GET /v1/wg/{if}/config.
type Config struct {
	Interface string          `json:"interface"`
	Config    InterfaceConfig `json:"config"`
}

// FileDrift is the answer of GET /v1/wg/{if}/file: the running device, and what is known to be set
// around it, against the host's file.
type FileDrift struct {
	Interface string `json:"interface"`
	Path      string `json:"path"`    // of the file, as the agent sees it
	Present   bool   `json:"present"` // there is a file
	// Speaks: the file says what the interface is at its next start. Where it does not, the last good
	// state comes back, and a restart loses nothing.
	Speaks bool           `json:"speaks"`
	Drift  []FileMismatch `json:"drift"` // the first MaxFileDrift
	Count  int            `json:"count"` // of all
}

// MaxFileDrift is how many differences a FileDrift lists.
const MaxFileDrift = 1000

// FileMismatch is one difference: a field of the interface or of a peer as elsewhere in the API, or one
// of those below. A preshared key is "set", "unset" or "different".
type FileMismatch struct {
	Peer   *string `json:"peer"` // public key; null: the interface
	Field  string  `json:"field"`
	File   any     `json:"file"`
	Device any     `json:"device"`
}

// Fields of a FileMismatch that stand for a whole.
const (
	FieldMissing = "missing" // the peer is not in the file; Device are its allowed IPs
	FieldUnknown = "unknown" // the peer is in the file alone; File are its allowed IPs
	FieldFile    = "file"    // the file is missing or can't be read, as File says: a restart would fail
)

// ConfigUpdate is the body of PUT /v1/wg/{if}/config. nil leaves a field as it is, "" clears it.
type ConfigUpdate struct {
	PrivateKey *string `json:"private_key,omitempty"`
	ListenPort *int    `json:"listen_port,omitempty"`
	Address    *string `json:"address,omitempty"`
	PostUp     *string `json:"post_up,omitempty"`
	PreDown    *string `json:"pre_down,omitempty"`
	MTU        *int    `json:"mtu,omitempty"`
	DNS        *string `json:"dns,omitempty"`
	Table      *string `json:"table,omitempty"`
	FwMark     *uint32 `json:"fwmark,omitempty"`
	// Forward and Masquerade are "any" or names of links with commas between them. They are no hooks:
	// the agent sets them up itself.
	Forward    *string     `json:"forward,omitempty"`
	Masquerade *string     `json:"masquerade,omitempty"`
	Hooks      *HookUpdate `json:"hooks,omitempty"`
}

// HookUpdate are whole lists of hooks: nil leaves one as it is, an empty one clears it.
type HookUpdate struct {
	PreUp    *[]string `json:"pre_up,omitempty"`
	PostUp   *[]string `json:"post_up,omitempty"`
	PreDown  *[]string `json:"pre_down,omitempty"`
	PostDown *[]string `json:"post_down,omitempty"`
}

// Success is the answer of a write of the original's API. Members that do not apply are left out.
type Success struct {
	Status   string     `json:"status"` // "success"
	Message  string     `json:"message"`
	Peer     *AddedPeer `json:"peer,omitempty"`
	Reloaded *bool      `json:"reloaded,omitempty"`
	WasDown  *bool      `json:"was_down,omitempty"`
	WasUp    *bool      `json:"was_up,omitempty"`
}

// AddedPeer echoes what POST peers was given.
type AddedPeer struct {
	PublicKey  string   `json:"public_key"`
	AllowedIPs []string `json:"allowed_ips"`
}

// PeerBody is the body of POST and PUT peers, and a peer of Apply. nil leaves a field as it is, but
// in Apply.Peers, where it means none; 0, "" and [] clear.
type PeerBody struct {
	PublicKey           string    `json:"public_key"`
	AllowedIPs          *[]string `json:"allowed_ips,omitempty"`
	PresharedKey        *string   `json:"preshared_key,omitempty"`
	PersistentKeepalive *int      `json:"persistent_keepalive,omitempty"`
	Endpoint            *string   `json:"endpoint,omitempty"`
}

// Ops of a Change.
const (
	OpPut    = "put"
	OpRemove = "remove"
)

// Change is one entry of Apply.Changes.
type Change struct {
	Op string `json:"op"` // OpPut or OpRemove
	PeerBody
	// TakeFrom names the peer that holds one of the allowed IPs: the prefix moves in the same step.
	TakeFrom *string `json:"take_from,omitempty"`
}

// Apply is the body of POST /v1/wg/{if}/apply. Exactly one of Peers (the whole desired state) and
// Changes is given.
type Apply struct {
	Peers            *[]PeerBody `json:"peers,omitempty"`
	Changes          *[]Change   `json:"changes,omitempty"`
	RemoveUnknown    bool        `json:"remove_unknown,omitempty"`
	AllowEmpty       bool        `json:"allow_empty,omitempty"`
	AllowMassRemoval bool        `json:"allow_mass_removal,omitempty"`
	Expect           string      `json:"expect,omitempty"` // digest; another one is 412
	DryRun           bool        `json:"dry_run,omitempty"`
}

// Applied is the answer of Apply; public keys, sorted.
type Applied struct {
	Added      []string     `json:"added"`
	Updated    []string     `json:"updated"`
	Removed    []string     `json:"removed"`
	Unchanged  []string     `json:"unchanged"`
	Failed     []FailedPeer `json:"failed"`
	RolledBack bool         `json:"rolled_back"`
	Before     string       `json:"before"` // digest
	After      string       `json:"after"`
}

// FailedPeer says why a change of Apply could not be done.
type FailedPeer struct {
	PublicKey string `json:"public_key"`
	Error     string `json:"error"`
}

// SyncConf is the body of POST /v1/wg/{if}/syncconf.
type SyncConf struct {
	Config     string `json:"config"` // base64 of what wg(8) setconf takes
	AllowEmpty bool   `json:"allow_empty,omitempty"`
}

// Synced is the answer of SyncConf.
type Synced struct {
	Status    string   `json:"status"`
	Message   string   `json:"message"`
	Added     []string `json:"added"`
	Updated   []string `json:"updated"`
	Removed   []string `json:"removed"`
	Unchanged []string `json:"unchanged"`
	Digest    string   `json:"digest"`
}

// NodeStatus is the answer of GET /v1/status.
type NodeStatus struct {
	Status    string          `json:"status"` // "ok"
	Timestamp int64           `json:"timestamp"`
	Uptime    int64           `json:"uptime"` // seconds
	Version   string          `json:"version"`
	System    System          `json:"system"`
	WireGuard WireGuardStatus `json:"wireguard"`
}

// System are figures of the host.
type System struct {
	CPUPercent float64 `json:"cpu_percent"`
	Memory     Memory  `json:"memory"`
	Disk       Disk    `json:"disk"`
	Network    Traffic `json:"network"`
}

// Memory is in bytes.
type Memory struct {
	Total     uint64  `json:"total"`
	Available uint64  `json:"available"`
	Percent   float64 `json:"percent"`
	Used      uint64  `json:"used"`
}

// Disk is the root file system, in bytes.
type Disk struct {
	Total   uint64  `json:"total"`
	Used    uint64  `json:"used"`
	Free    uint64  `json:"free"`
	Percent float64 `json:"percent"`
}

// Traffic is that of all network interfaces since the host started.
type Traffic struct {
	BytesSent   uint64 `json:"bytes_sent"`
	BytesRecv   uint64 `json:"bytes_recv"`
	PacketsSent uint64 `json:"packets_sent"`
	PacketsRecv uint64 `json:"packets_recv"`
}

// WireGuardStatus are the interfaces that are up.
type WireGuardStatus struct {
	Interfaces     map[string]InterfaceStatus `json:"interfaces"`
	InterfaceCount int                        `json:"interface_count"`
}

// InterfaceStatus sums an interface up.
type InterfaceStatus struct {
	Status       string `json:"status"` // "up"
	PeerCount    int    `json:"peer_count"`
	ActivePeers  int    `json:"active_peers"` // handshake within 3 minutes
	TotalRxBytes int64  `json:"total_rx_bytes"`
	TotalTxBytes int64  `json:"total_tx_bytes"`
}
