package panelclient

// Values are the settings that groups and templates may give; nil: it says nothing.
type Values struct {
	DNS               *string `json:"dns"`
	MTU               *int    `json:"mtu"`
	Keepalive         *int    `json:"keepalive"`
	EndpointAllowedIP *string `json:"endpoint_allowed_ip"`
}

// Group is a group of nodes with what it overrides.
type Group struct {
	ID                string  `json:"id"`
	Name              string  `json:"name"`
	Description       string  `json:"description"`
	DNS               *string `json:"override_dns"`
	MTU               *int    `json:"override_mtu"`
	Keepalive         *int    `json:"override_keepalive"`
	EndpointAllowedIP *string `json:"override_endpoint_allowed_ip"`
	NodeCount         int     `json:"node_count"`
}

// Template holds settings for nodes or peers.
type Template struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"` // node or peer
	Values
	Hooks      *Hooks `json:"hooks"`
	IPPoolCIDR string `json:"ip_pool_cidr"`
	NodeCount  int    `json:"node_count"`
	PeerCount  int    `json:"peer_count"`
}

// Hooks are the commands that an interface runs.
type Hooks struct {
	PreUp    []string `json:"pre_up"`
	PostUp   []string `json:"post_up"`
	PreDown  []string `json:"pre_down"`
	PostDown []string `json:"post_down"`
}

// Preview is what a change would do.
type Preview struct {
	Drift []struct {
		NodeName string `json:"node_name"`
		Peers    []struct {
			Name   string   `json:"name"`
			Fields []string `json:"fields"`
		} `json:"peers"`
		Interface []string `json:"interface"`
	} `json:"drift"`
	Stale []struct {
		NodeName string `json:"node_name"`
		Name     string `json:"name"`
	} `json:"stale"`
	Totals struct {
		Nodes     int `json:"nodes"`
		Peers     int `json:"peers"`
		Interface int `json:"interface"`
		Stale     int `json:"stale"`
	} `json:"totals"`
}

// Setting is a value that holds, with where it comes from and what it was chosen over.
type Setting struct {
	Field string `json:"field"`
	Origin
	Overridden []Origin `json:"overridden"`
}

// Origin is a value with where it comes from.
type Origin struct {
	Value      any    `json:"value"`
	Source     string `json:"source"`
	SourceName string `json:"source_name"` // "" of those without a name
}
