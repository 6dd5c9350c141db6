package migrate

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseUnit(t *testing.T) {
	lines := parseUnit("[Unit]\n# a comment\nDescription = x\n[Service]\nExecStart=/a \\\n# in between\n  b \\\n c\n;d=e\nnothing\n")
	require.Equal(t, []assignment{{"Unit", "Description", "x"}, {"Service", "ExecStart", "/a  b  c"}}, lines)
	s := service{lines: parseUnit("[Service]\nExecStart=/a\nExecStart=\nExecStart=/b\n[Other]\nExecStart=/c\n")}
	require.Equal(t, []string{"/b"}, s.values("Service", "ExecStart"))
}

func TestMentions(t *testing.T) {
	const folder = "/opt/agent"
	for text, want := range map[string]bool{
		"/opt/agent": true, "-/opt/agent": true, "/opt/agent/venv/bin/python main.py": true,
		"@/opt/agent/x": true, `/bin/sh -c "cd /opt/agent && exec python main.py"`: true, "uvicorn --app-dir=/opt/agent main:app": true,
		"/opt/agent2/x": false, "/opt/agent-old/x": false, "/srv/opt/agent": false, "/opt/agent.d": false, "/usr/bin/true": false,
		"/opt/agent2 /opt/agent/x": true, "": false,
	} {
		require.Equal(t, want, mentions(text, folder), text)
	}
}

func TestServices(t *testing.T) {
	h := newTree(t)
	require.NoError(t, os.Remove(h.root+"/etc/systemd/system/"+testUnit))
	h.write("/usr/lib/systemd/system/a.service", "[Service]\nExecStart=/vendor\n")
	h.write("/etc/systemd/system/a.service", "[Service]\nExecStart=/admin\n")
	h.write("/usr/lib/systemd/system/a.service.d/20.conf", "[Service]\nEnvironment=A=20\n")
	h.write("/usr/lib/systemd/system/a.service.d/10.conf", "[Service]\nEnvironment=A=vendor\n")
	h.write("/etc/systemd/system/a.service.d/10.conf", "[Service]\nEnvironment=A=10 B=10\n")
	h.write("/usr/lib/systemd/system/masked.service", "[Service]\nExecStart=/x\n")
	h.link("/etc/systemd/system/masked.service", "/dev/null")
	h.link("/etc/systemd/system/alias.service", "/etc/systemd/system/a.service")
	h.write("/etc/systemd/system/template@.service", "[Service]\nExecStart=/x\n")
	h.write("/etc/systemd/system/no.timer", "")
	h.write("/opt/agent/linked.service", "[Service]\nExecStart=/l\n")
	h.link("/etc/systemd/system/linked.service", "/opt/agent/linked.service")
	h.link("/etc/systemd/system/dangling.service", "/gone/dangling.service")

	all, err := h.options().services()
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "a.service", all[0].path)
	require.Equal(t, []string{"/admin"}, all[0].values("Service", "ExecStart"))
	require.Equal(t, []string{"A=10 B=10", "A=20"}, all[0].values("Service", "Environment"))
	require.Equal(t, "/opt/agent/linked.service", all[1].path, "enabling it by its name would not find it")
}

func TestEnviron(t *testing.T) {
	h := newTree(t)
	h.write("/etc/agent.env", "A=file\nC='c c'\n")
	s := service{name: "a.service", lines: parseUnit("[Service]\nEnvironment=A=1 \"B=x y\" D=100%%\nEnvironmentFile=/etc/agent.env\nEnvironmentFile=-/etc/gone.env\n")}
	env, problems := h.options().environ(s)
	require.ElementsMatch(t, []string{"A=file", "B=x y", "C=c c", "D=100%"}, env)
	require.Empty(t, problems)

	s.lines = parseUnit("[Service]\nEnvironment=WG_AGENT_SECRET=%H HOME=%h\nEnvironmentFile=/etc/gone.env\n")
	_, problems = h.options().environ(s)
	require.Equal(t, []string{
		"WG_AGENT_SECRET of a.service holds a % that systemd replaces: write its value out",
		"the EnvironmentFile /etc/gone.env of a.service can't be read: mend the unit",
	}, problems)
}
