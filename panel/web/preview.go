package web

import (
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// previewed is the message of every preview.
const previewed = "Nothing was changed"

// previewData is what a change would do.
type previewData struct {
	Drift  []previewNodeData `json:"drift" doc:"nodes that would not be as wanted any more, as far as they are now"`
	Stale  []previewFileData `json:"stale" doc:"clients' files that would be others than those that were fetched"`
	Totals previewTotals     `json:"totals"`
}

type previewNodeData struct {
	NodeID    string            `json:"node_id"`
	NodeName  string            `json:"node_name"`
	Peers     []previewPeerData `json:"peers"`
	Interface []string          `json:"interface" doc:"settings that are wished for with another value, or were not wished for before"`
}

type previewPeerData struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Fields []string `json:"fields"`
}

type previewFileData struct {
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	PeerID   string `json:"peer_id"`
	Name     string `json:"name" doc:"of the peer"`
}

type previewTotals struct {
	Nodes     int `json:"nodes" doc:"that drift"`
	Peers     int `json:"peers" doc:"that differ from what is on their nodes"`
	Interface int `json:"interface" doc:"settings of interfaces"`
	Stale     int `json:"stale"`
}

func fromPreview(p panel.Preview) previewData {
	d := previewData{
		Drift:  each(p.Drift, fromPreviewNode),
		Stale:  each(p.Stale, func(f panel.PreviewFile) previewFileData { return previewFileData(f) }),
		Totals: previewTotals{Nodes: len(p.Drift), Stale: len(p.Stale)},
	}
	for _, n := range p.Drift {
		d.Totals.Peers += len(n.Peers)
		d.Totals.Interface += len(n.Interface)
	}
	return d
}

func fromPreviewNode(n panel.PreviewNode) previewNodeData {
	return previewNodeData{
		NodeID: n.ID, NodeName: n.Name, Interface: notNil(n.Interface),
		Peers: each(n.Peers, func(p panel.PreviewPeer) previewPeerData { return previewPeerData{p.ID, p.Name, notNil(p.Fields)} }),
	}
}

func (s *Server) previewNode(c *gin.Context, b nodeBody) (answer[previewData], error) {
	p, err := s.panel.PreviewNode(c.Request.Context(), c.Param("id"), toNodeInput(b))
	return answer[previewData]{message: previewed, data: fromPreview(p)}, err
}
