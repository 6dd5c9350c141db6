package app

// kind says how a setting's text is given.
type kind int

const (
	text   kind = iota
	toggle      // true or false; its flag needs no value
	secret      // text that is never repeated in an error
)

// setting is one row of the table that flags, environment, YAML keys and the sample file are made of.
type setting struct {
	key  string // in the YAML file, dotted
	env  string
	flag string
	def  string
	kind kind
	help string
}

// Keys of the settings, as in the YAML file.
const (
	keyPanel          = "panel.enabled"
	keyPanelHost      = "panel.host"
	keyPanelPort      = "panel.port"
	keyAdminKey       = "panel.admin_key"
	keyAdminKeyFile   = "panel.admin_key_file"
	keyStore          = "panel.store"
	keyMasterKeyFile  = "panel.master_key_file"
	keyTrustedProxies = "panel.trusted_proxies"
	keyPanelTLSCert   = "panel.tls_cert"
	keyPanelTLSKey    = "panel.tls_key"
	keyAgentCA        = "panel.agent_ca_file"
	keyClientCert     = "panel.agent_client_cert"
	keyClientKey      = "panel.agent_client_key"
	keyEventsKeep     = "panel.events_keep"
	keyEventsMax      = "panel.events_max"
	keyNotifyAllow    = "panel.notify_allow"

	keyNoAgent        = "agent.disabled"
	keyHost           = "agent.host"
	keyPort           = "agent.port"
	keySecret         = "agent.secret"
	keySecretFile     = "agent.secret_file"
	keySecretPrevious = "agent.secret_previous"
	keyPreviousFile   = "agent.secret_previous_file"
	keyMaxAge         = "agent.max_timestamp_age"
	keyRequireNonce   = "agent.require_nonce"
	keyHooks          = "agent.hooks"
	keyExpose         = "agent.expose_secrets"
	keyMetrics        = "agent.metrics"
	keyAgentTLSCert   = "agent.tls_cert"
	keyAgentTLSKey    = "agent.tls_key"
	keyAgentClientCA  = "agent.tls_client_ca"

	keyGateway         = "gateway.enabled"
	keyGatewayAllow    = "gateway.allow"
	keyGatewayDeny     = "gateway.deny"
	keyGatewayLimit    = "gateway.limit"
	keyGatewayMemory   = "gateway.memory"
	keyGatewayResolver = "gateway.resolver"

	keyBackend    = "backend"
	keyUp         = "up"
	keyDownOnExit = "down_on_exit"
	keyUAPIDir    = "uapi_dir"
	keyConfDir    = "conf_dir"
	keySeedDir    = "seed_dir"
	keyDataDir    = "data_dir"
	keyLogLevel   = "log_level"
	keyRateLimit  = "rate_limit"
)

// settings is the whole table, in the order of the sample file.
var settings = []setting{
	{keyBackend, "WGFLEET_BACKEND", "backend", "auto", text, "how WireGuard is driven: auto, kernel, tun or netstack"},
	{keyUp, "WGFLEET_UP", "up", "auto", text, "interfaces to bring up at the start: auto, all, none or a comma list of names"},
	{keyDownOnExit, "WGFLEET_DOWN_ON_EXIT", "down-on-exit", "false", toggle, "take the kernel interfaces made here down, hooks included, when wgfleet stops; with tun and netstack interfaces always go down with it"},
	{keyConfDir, "WGFLEET_CONF_DIR", "conf-dir", "", text, "folder of the wg-quick files (default /etc/wireguard; without privileges, wireguard in the data folder)"},
	{keySeedDir, "WGFLEET_SEED_DIR", "seed-dir", "", text, "folder of wg-quick files to begin with: each is copied once into the folder of the wg-quick files, with a new private key where it has none, unless one of its name is there"},
	{keyDataDir, "WGFLEET_DATA_DIR", "data-dir", "", text, "data folder (default $STATE_DIRECTORY, else /var/lib/wgfleet as root, else ~/.local/state/wgfleet)"},
	{keyUAPIDir, "WGFLEET_UAPI_DIR", "uapi-dir", "", text, "folder of the UAPI sockets with the netstack backend (default none)"},
	{keyLogLevel, "WG_AGENT_LOG_LEVEL", "log-level", "INFO", text, "DEBUG, INFO, WARNING or ERROR"},
	{keyRateLimit, "WGFLEET_RATE_LIMIT", "rate-limit", "", text, "requests a second for a key and address on the panel, failed signatures a second for an address on the agent; off for none"},

	{keyNoAgent, "WGFLEET_NO_AGENT", "no-agent", "false", toggle, "do not run the agent role"},
	{keyHost, "WG_AGENT_HOST", "agent-host", "0.0.0.0", text, "address that the agent listens on"},
	{keyPort, "WG_AGENT_PORT", "agent-port", "8080", text, "port that the agent listens on; 0 takes a free one"},
	{keySecret, "WG_AGENT_SECRET", "secret", "", secret, "shared secret of agent and panel (others can see flags: better a file or the environment)"},
	{keySecretFile, "WG_AGENT_SECRET_FILE", "secret-file", "", text, "file that holds the shared secret"},
	{keySecretPrevious, "WG_AGENT_SECRET_PREVIOUS", "secret-previous", "", secret, "former shared secret, still accepted, for rotation"},
	{keyPreviousFile, "WG_AGENT_SECRET_PREVIOUS_FILE", "secret-previous-file", "", text, "file that holds the former shared secret"},
	{keyMaxAge, "MAX_TIMESTAMP_AGE", "max-timestamp-age", "300", text, "seconds that a signed request stays valid"},
	{keyRequireNonce, "WG_AGENT_REQUIRE_NONCE", "require-nonce", "false", toggle, "refuse v1 signatures, which have no nonce"},
	{keyHooks, "WG_AGENT_HOOKS", "hooks", "local", text, "hooks in a configuration sent here: local (only those already in the host's file), allow or deny"},
	{keyExpose, "WG_AGENT_EXPOSE_SECRETS", "expose-secrets", "secure", text, "send private and preshared keys: secure (over TLS or loopback only), always or never"},
	{keyMetrics, "WG_AGENT_METRICS", "metrics", "open", text, "/v1/metrics: open (keys hashed), full, signed or off"},
	{keyAgentTLSCert, "WG_AGENT_TLS_CERT", "agent-tls-cert", "", text, "certificate file of the agent (PEM)"},
	{keyAgentTLSKey, "WG_AGENT_TLS_KEY", "agent-tls-key", "", text, "key file of that certificate (PEM)"},
	{keyAgentClientCA, "WG_AGENT_TLS_CLIENT_CA", "agent-tls-client-ca", "", text, "CA file that clients' certificates must come from"},

	{keyGateway, "WGFLEET_GATEWAY", "gateway", "true", toggle, "with the netstack backend, carry peers' packets to what this host reaches"},
	{keyGatewayAllow, "WGFLEET_GATEWAY_ALLOW", "gateway-allow", "", text, "where peers may go beside what their interface's file allows: rules such as 10.0.0.0/8 tcp 80,443, separated by semicolons (default: all but this host's loopback, link-local and metadata addresses and wgfleet's own ports)"},
	{keyGatewayDeny, "WGFLEET_GATEWAY_DENY", "gateway-deny", "", text, "where peers may not go, whatever is allowed: rules separated by semicolons"},
	{keyGatewayLimit, "WGFLEET_GATEWAY_LIMIT", "gateway-limit", "connections=4096 rate=500", text, "what one peer may ask of the gateway: connections=, rate= (new ones a second) and bandwidth= (bytes a second, such as 10M), each a number or none"},
	{keyGatewayMemory, "WGFLEET_GATEWAY_MEMORY", "gateway-memory", "none", text, "memory of this process above which the gateway begins no flow, such as 512M"},
	{keyGatewayResolver, "WGFLEET_GATEWAY_RESOLVER", "gateway-resolver", "false", toggle, "answer DNS on the node's addresses inside the tunnel, by asking this host's resolvers"},

	{keyPanel, "WGFLEET_PANEL", "panel", "false", toggle, "run the panel role as well"},
	{keyPanelHost, "WGFLEET_PANEL_HOST", "panel-host", "127.0.0.1", text, "address that the panel listens on"},
	{keyPanelPort, "WGFLEET_PANEL_PORT", "panel-port", "10086", text, "port that the panel listens on; 0 takes a free one"},
	{keyAdminKey, "WGFLEET_ADMIN_KEY", "admin-key", "", secret, "the administrator's API key (default: made at the first start, kept as admin.key)"},
	{keyAdminKeyFile, "WGFLEET_ADMIN_KEY_FILE", "admin-key-file", "", text, "file that holds the administrator's API key"},
	{keyStore, "WGFLEET_STORE", "store", "badger", text, "where the panel keeps its state: badger"},
	{keyMasterKeyFile, "WGFLEET_MASTER_KEY_FILE", "master-key-file", "", text, "key that seals secrets at rest (default: made in the data folder)"},
	{keyTrustedProxies, "WGFLEET_TRUSTED_PROXIES", "trusted-proxies", "", text, "comma list of addresses and prefixes whose forwarding headers are believed"},
	{keyPanelTLSCert, "WGFLEET_PANEL_TLS_CERT", "panel-tls-cert", "", text, "certificate file of the panel (PEM)"},
	{keyPanelTLSKey, "WGFLEET_PANEL_TLS_KEY", "panel-tls-key", "", text, "key file of that certificate (PEM)"},
	{keyAgentCA, "WGFLEET_AGENT_CA_FILE", "agent-ca-file", "", text, "CA file that agents' certificates must come from (default: the system's)"},
	{keyClientCert, "WGFLEET_AGENT_CLIENT_CERT", "agent-client-cert", "", text, "certificate file that the panel shows to agents (PEM)"},
	{keyClientKey, "WGFLEET_AGENT_CLIENT_KEY", "agent-client-key", "", text, "key file of that certificate (PEM)"},
	{keyEventsKeep, "WGFLEET_EVENTS_KEEP", "events-keep", "90d", text, "how long the panel keeps what happened, for example 90d or 36h"},
	{keyEventsMax, "WGFLEET_EVENTS_MAX", "events-max", "100000", text, "how many events the panel keeps, the newest"},
	{keyNotifyAllow, "WGFLEET_NOTIFY_ALLOW", "notify-allow", "", text, "comma list of addresses, prefixes and host names that notifications may go to though they are loopback, link-local or an agent's"},
}

func settingOf(key string) setting {
	for _, s := range settings {
		if s.key == key {
			return s
		}
	}
	panic("app: no setting " + key) // a typing error in this package
}
