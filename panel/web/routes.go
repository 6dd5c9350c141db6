package web

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

const healthPath = "/api/health"

type healthData struct {
	Version string `json:"version"`
}

// writes are the statuses of what changes a node's device, beside those of every route.
var writes = []int{http.StatusConflict, http.StatusBadGateway}

var conflicts = []int{http.StatusConflict}

// table is all that the server serves. A viewer reads what holds no secret, and may have drift looked
// at now; whatever changes something, tests an agent or shows a key is the administrator's.
func (s *Server) table(g prometheus.Gatherer) []route {
	routes := s.openRoutes()
	routes = append(routes, s.nodeRoutes()...)
	routes = append(routes, s.presetRoutes()...)
	routes = append(routes, s.peerRoutes()...)
	routes = append(routes, s.driftRoutes()...)
	routes = append(routes, s.rolloutRoutes()...)
	routes = append(routes, s.ruleRoutes()...)
	routes = append(routes, s.eventRoutes()...)
	routes = append(routes, s.revisionRoutes()...)
	routes = append(routes, s.keyRoutes()...)
	routes = append(routes, s.notificationRoutes()...)
	routes = append(routes, s.backupRoutes()...)
	if g != nil {
		routes = append(routes, route{
			method: http.MethodGet, path: "/metrics", summary: "Prometheus metrics of the panel",
			role: roleViewer, action: metricsAction(g),
		})
	}
	return routes
}

// openRoutes need no key: whether the process lives, and what the API looks like, which is the same
// for every installation of a version.
func (s *Server) openRoutes() []route {
	return []route{
		{method: http.MethodGet, path: healthPath, summary: "Whether the panel lives", role: roleOpen, action: op(s.health)},
		{method: http.MethodGet, path: "/api/openapi.json", summary: "This description", role: roleOpen, action: opRaw("application/json", s.serveOpenAPI)},
		{method: http.MethodGet, path: "/api/docs", summary: "This description as a page", role: roleOpen, action: opRaw("text/html", s.serveDocs)},
	}
}

func (s *Server) nodeRoutes() []route {
	const nodes, node, wish = "/api/nodes", "/api/nodes/{id}", "/api/nodes/{id}/interface"
	ofPeer := []queryParam{{"peer_id", "string", "of this peer, with what it and its template say"}}
	return []route{
		{method: http.MethodGet, path: nodes, summary: "List nodes", role: roleViewer, query: pageQuery, action: op(s.listNodes)},
		{method: http.MethodPost, path: nodes, summary: "Create a node; its agent is not contacted", role: roleAdmin, errors: conflicts, action: op(s.createNode)},
		{method: http.MethodGet, path: nodes + "/enabled", summary: "List enabled nodes", role: roleViewer, query: pageQuery, action: op(s.listEnabledNodes)},
		{method: http.MethodGet, path: node, summary: "Show a node", role: roleViewer, action: op(s.getNode)},
		{method: http.MethodPut, path: node, summary: "Change what the body names; null clears an override", role: roleAdmin, errors: conflicts, action: op(s.updateNode)},
		{method: http.MethodDelete, path: node, summary: "Forget a node; its device stays as it is", role: roleAdmin, errors: conflicts, action: op(s.deleteNode)},
		{method: http.MethodPost, path: node + "/preview", summary: "What the same body as PUT would do; nothing is kept", role: roleAdmin, errors: conflicts, action: op(s.previewNode)},
		{method: http.MethodGet, path: node + "/effective", summary: "Where each setting comes from", role: roleViewer, query: ofPeer, action: op(s.effectiveSettings)},
		{method: http.MethodPost, path: node + "/toggle", summary: "Enable or disable a node", role: roleAdmin, errors: conflicts, action: op(s.toggleNode)},
		{method: http.MethodPost, path: node + "/test", summary: "Contact the agent and say what was seen", role: roleAdmin, errors: writes, action: op(s.testNode)},
		{method: http.MethodGet, path: wish, summary: "Show what the panel wants of the interface", role: roleViewer, action: op(s.getInterface)},
		{method: http.MethodPut, path: wish, summary: "Change what the body names; null ends a wish", role: roleAdmin, errors: conflicts, action: op(s.putInterface)},
		{method: http.MethodPost, path: wish + "/sync", summary: "Write the wishes to the node", role: roleAdmin, errors: writes, action: op(s.syncInterface)},
		{method: http.MethodPost, path: wish + "/enable", summary: "Bring the interface up", role: roleAdmin, errors: writes, action: op(s.enableInterface)},
		{method: http.MethodPost, path: wish + "/disable", summary: "Take the interface down", role: roleAdmin, errors: writes, action: op(s.disableInterface)},
	}
}

func (s *Server) presetRoutes() []route {
	const groups, group, templates, template = "/api/groups", "/api/groups/{id}", "/api/templates", "/api/templates/{id}"
	return []route{
		{method: http.MethodGet, path: groups, summary: "List groups of nodes", role: roleViewer, query: pageQuery, action: op(s.listGroups)},
		{method: http.MethodPost, path: groups, summary: "Create a group", role: roleAdmin, errors: conflicts, action: op(s.createGroup)},
		{method: http.MethodGet, path: group, summary: "Show a group", role: roleViewer, action: op(s.getGroup)},
		{method: http.MethodPut, path: group, summary: "Change what the body names, for all of its nodes; null clears an override", role: roleAdmin, errors: conflicts, action: op(s.updateGroup)},
		{method: http.MethodDelete, path: group, summary: "Delete a group that no node is in and no notification channel names", role: roleAdmin, errors: conflicts, action: op(s.deleteGroup)},
		{method: http.MethodPost, path: group + "/preview", summary: "What the same body as PUT would do; nothing is kept", role: roleAdmin, errors: conflicts, action: op(s.previewGroup)},
		{method: http.MethodGet, path: templates, summary: "List templates for nodes and peers", role: roleViewer, query: pageQuery, action: op(s.listTemplates)},
		{method: http.MethodPost, path: templates, summary: "Create a template", role: roleAdmin, errors: conflicts, action: op(s.createTemplate)},
		{method: http.MethodGet, path: template, summary: "Show a template", role: roleViewer, action: op(s.getTemplate)},
		{method: http.MethodPut, path: template, summary: "Change what the body names, for all who refer to it; null clears a value", role: roleAdmin, errors: conflicts, action: op(s.updateTemplate)},
		{method: http.MethodDelete, path: template, summary: "Delete a template that nobody refers to", role: roleAdmin, errors: conflicts, action: op(s.deleteTemplate)},
		{method: http.MethodPost, path: template + "/preview", summary: "What the same body as PUT would do; nothing is kept", role: roleAdmin, errors: conflicts, action: op(s.previewTemplate)},
	}
}

func (s *Server) peerRoutes() []route {
	const peers, peer = "/api/nodes/{id}/peers", "/api/nodes/{id}/peers/{peer_id}"
	search := append([]queryParam{{"q", "string", "part of a name, a public key or an allowed IP"}}, pageQuery...)
	offline := []queryParam{{"allow_offline", "boolean", "delete though the node can't be reached"}}
	return []route{
		{method: http.MethodGet, path: peers, summary: "List the peers of a node", role: roleViewer, query: pageQuery, action: op(s.listPeers)},
		{method: http.MethodPost, path: peers, summary: "Create a peer on a node", role: roleAdmin, errors: writes, action: op(s.createPeer)},
		{method: http.MethodGet, path: peer, summary: "Show a peer", role: roleViewer, action: op(s.getPeer)},
		{method: http.MethodPut, path: peer, summary: "Change what the body names", role: roleAdmin, errors: writes, action: op(s.updatePeer)},
		{method: http.MethodDelete, path: peer, summary: "Delete a peer", role: roleAdmin, query: offline, errors: writes, action: opOptional(s.deletePeer)},
		{method: http.MethodGet, path: peer + "/config", summary: "The client's wg-quick file, private key included", role: roleAdmin, errors: conflicts, action: opRaw("text/plain", s.peerConfig)},
		{method: http.MethodGet, path: peer + "/qr", summary: "The same as a QR code", role: roleAdmin, errors: []int{http.StatusConflict, http.StatusUnprocessableEntity}, action: opRaw("image/png", s.peerQR)},
		{method: http.MethodGet, path: "/api/peers", summary: "Find peers of all nodes", role: roleViewer, query: search, action: op(s.searchPeers)},
		{method: http.MethodPost, path: "/api/peers", summary: "Create a peer on a chosen node, or the least loaded one", role: roleAdmin, errors: append([]int{http.StatusNotFound}, writes...), action: op(s.placePeer)},
	}
}

func (s *Server) driftRoutes() []route {
	const drift = "/api/drift/nodes"
	return []route{
		{method: http.MethodGet, path: drift, summary: "Drift of all nodes, looked at now", role: roleViewer, action: op(s.fleetDrift)},
		{method: http.MethodGet, path: drift + "/{id}", summary: "Drift of a node, looked at now", role: roleViewer, action: op(s.nodeDrift)},
		{method: http.MethodPost, path: drift + "/{id}/plan", summary: "Plan what makes the node as it should be, and change nothing", role: roleAdmin, errors: writes, action: opOptional(s.plan)},
		{method: http.MethodPost, path: drift + "/{id}/reconcile", summary: "Make the node as it should be", role: roleAdmin, errors: writes, action: opOptional(s.reconcile)},
		{method: http.MethodPost, path: "/api/drift/plan", summary: "Plan for several nodes, side by side", role: roleAdmin, errors: writes, action: opOptional(s.planFleet)},
		{method: http.MethodGet, path: "/api/drift/policy", summary: "How all nodes are watched and healed", role: roleViewer, action: op(s.getPolicy)},
		{method: http.MethodPut, path: "/api/drift/policy", summary: "Change what the body names; null: the default holds again", role: roleAdmin, action: op(s.putPolicy)},
		{method: http.MethodPost, path: "/api/nodes/{id}/adopt", summary: "Take the peers that the panel does not know into it, untouched", role: roleAdmin, errors: writes, action: opOptional(s.adopt)},
		{method: http.MethodPost, path: "/api/nodes/{id}/accept", summary: "Take what differs on the node as the panel's wish", role: roleAdmin, errors: writes, action: opOptional(s.accept)},
	}
}

func (s *Server) rolloutRoutes() []route {
	const rollouts, rollout = "/api/drift/rollouts", "/api/drift/rollouts/{id}"
	started := append([]int{http.StatusNotFound}, conflicts...)
	return []route{
		{method: http.MethodPost, path: "/api/drift/reconcile", summary: "Make several nodes as they should be, wave after wave", role: roleAdmin, errors: started, action: opOptional(s.startRollout)},
		{method: http.MethodGet, path: rollouts, summary: "List the rollouts that run, and the last that ended", role: roleViewer, action: op(s.listRollouts)},
		{method: http.MethodGet, path: rollout, summary: "Show a rollout; with Accept: text/event-stream, as it goes", role: roleViewer, action: opStream(s.getRollout, s.streamRollout)},
		{method: http.MethodPost, path: rollout + "/cancel", summary: "Let a rollout begin with no other node", role: roleAdmin, errors: conflicts, action: op(s.cancelRollout)},
	}
}

func (s *Server) ruleRoutes() []route {
	const rules, rule = "/api/drift/rules", "/api/drift/rules/{id}"
	return []route{
		{method: http.MethodGet, path: rules, summary: "List the rules on unknown peers", role: roleViewer, query: pageQuery, action: op(s.listRules)},
		{method: http.MethodPost, path: rules, summary: "Leave some unknown peers alone, for a time or for good", role: roleAdmin, errors: conflicts, action: op(s.createRule)},
		{method: http.MethodGet, path: rule, summary: "Show a rule", role: roleViewer, action: op(s.getRule)},
		{method: http.MethodPut, path: rule, summary: "Change what the body names", role: roleAdmin, action: op(s.updateRule)},
		{method: http.MethodDelete, path: rule, summary: "Delete a rule", role: roleAdmin, action: op(s.deleteRule)},
	}
}

func (s *Server) eventRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/api/events", role: roleViewer, query: eventsQuery,
			summary: "What happened, the newest first; with Accept: text/event-stream, what happens", action: opStream(s.listEvents, s.streamEvents),
		},
		{method: http.MethodGet, path: "/api/drift/nodes/{id}/history", summary: "What happened to a node, the newest first", role: roleViewer, query: historyQuery, action: op(s.nodeHistory)},
	}
}

func (s *Server) revisionRoutes() []route {
	const list, one = "/api/nodes/{id}/revisions", "/api/nodes/{id}/revisions/{revision}"
	to := []queryParam{{"to", "integer", "the other revision; without it, the present one"}}
	return []route{
		{method: http.MethodGet, path: list, summary: "List the changes of what the panel wants of a node, the newest first", role: roleViewer, query: pageQuery, action: op(s.listRevisions)},
		{method: http.MethodGet, path: one, summary: "Show what the panel wanted of a node then", role: roleViewer, action: op(s.getRevision)},
		{method: http.MethodGet, path: one + "/diff", summary: "Compare two revisions", role: roleViewer, query: to, action: op(s.diffRevision)},
		{method: http.MethodPost, path: one + "/rollback", summary: "Plan to make a revision the wish again, or carry that plan out; the node is not written to", role: roleAdmin, errors: conflicts, action: opOptional(s.rollback)},
	}
}

func (s *Server) keyRoutes() []route {
	const keys = "/api/keys"
	return []route{
		{method: http.MethodGet, path: keys, summary: "List API keys, without the keys", role: roleViewer, query: pageQuery, action: op(s.listKeys)},
		{method: http.MethodPost, path: keys, summary: "Create an API key; it is shown this once", role: roleAdmin, errors: conflicts, action: op(s.createKey)},
		{method: http.MethodDelete, path: keys + "/{id}", summary: "Delete an API key", role: roleAdmin, errors: conflicts, action: op(s.deleteKey)},
	}
}

func (s *Server) notificationRoutes() []route {
	const channels, channel = "/api/notifications", "/api/notifications/{id}"
	return []route{
		{method: http.MethodGet, path: channels, summary: "List notification channels, without what is secret in them", role: roleViewer, query: pageQuery, action: op(s.listChannels)},
		{method: http.MethodPost, path: channels, summary: "Create a channel; it is told of what happens from now on", role: roleAdmin, errors: conflicts, action: op(s.createChannel)},
		{method: http.MethodGet, path: channel, summary: "Show a channel", role: roleViewer, action: op(s.getChannel)},
		{method: http.MethodPut, path: channel, summary: "Change what the body names", role: roleAdmin, errors: conflicts, action: op(s.updateChannel)},
		{method: http.MethodDelete, path: channel, summary: "Delete a channel with its log", role: roleAdmin, action: op(s.deleteChannel)},
		{method: http.MethodPost, path: channel + "/test", summary: "Send a test now and say what came of it", role: roleAdmin, action: op(s.testChannel)},
		{method: http.MethodGet, path: channel + "/deliveries", summary: "What a channel was sent, the newest first", role: roleViewer, query: pageQuery, action: op(s.listDeliveries)},
	}
}

func (s *Server) health(_ *gin.Context, _ none) (answer[healthData], error) {
	return answer[healthData]{message: "ok", data: healthData{Version: s.version}}, nil
}
