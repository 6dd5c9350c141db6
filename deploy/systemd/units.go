// Package units holds the files that systemd runs wgfleet by, as they lie beside this one: the service, a socket for each role,
// and what makes the service another role, for wgfleet.service.d.
//
// It owns their text and nothing else: who installs them decides where they go, and puts another program in the place of
// /usr/bin/wgfleet. The service is as confined as its role allows. Files is constant and safe for concurrent use; a name that is
// not there is fs.ErrNotExist. Times in the units are seconds.
package units

import "embed"

// Files are by their names, such as wgfleet.service.
//
//go:embed *.service *.socket *.conf
var Files embed.FS
