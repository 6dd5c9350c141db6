package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
)

// versionInfo is what `wgfleet version --json` prints.
type versionInfo struct {
	Version   string        `json:"version"`
	Commit    string        `json:"commit"`
	GoVersion string        `json:"go_version"`
	Platform  string        `json:"platform"`
	Backends  []backendInfo `json:"backends"`
}

type backendInfo struct {
	Name   string `json:"name"`
	Usable bool   `json:"usable"`
	Reason string `json:"reason,omitempty"` // why not
}

func newVersion(con *console) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version and which backends work here", Args: usage(0, 0),
		Example: "  wgfleet version\n  wgfleet version --json",
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		info := versionInfo{Version: version, Commit: commit, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
		for _, b := range app.ProbeBackends(c.Context()) {
			one := backendInfo{Name: string(b.Kind), Usable: b.Err == nil}
			if b.Err != nil {
				one.Reason = b.Err.Error()
			}
			info.Backends = append(info.Backends, one)
		}
		if asJSON {
			return con.json(info)
		}
		con.printf("wgfleet %s, commit %s, %s, %s\n", info.Version, info.Commit, info.GoVersion, info.Platform)
		for _, b := range info.Backends {
			if b.Usable {
				con.printf("  %-8s  %s\n", b.Name, con.paint(green, "usable"))
				continue
			}
			con.printf("  %-8s  not usable: %s\n", b.Name, b.Reason)
		}
		return nil
	}
	return c
}
