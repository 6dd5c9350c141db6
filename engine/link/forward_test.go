package link

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

func TestMasqueradeNeedsANewKernel(t *testing.T) {
	for release, can := range map[string]bool{
		"5.4.0-216-generic": false, "5.6.19": false, "5.7.1": true, "5.10.0-32-amd64": true, "5.15.0": true, "6.1.0-18-amd64": true,
		"4.18.0-553.el8.x86_64": true, // has what it needs, or refuses the rule
	} {
		require.Equal(t, can, masquerades(release), release)
	}
}

func TestForwardErrorsSayWhatToDo(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EINVAL, unix.ENOENT} {
		err := forwardError("wg0", fmt.Errorf("receive: %w", errno))
		require.ErrorContains(t, err, "set the nftables rules of wg0: the kernel needs nf_tables with nft_ct, nft_chain_nat and nft_masq")
		require.ErrorIs(t, err, errno)
	}
	for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES} {
		err := forwardError("wg0", errno)
		require.ErrorIs(t, err, engine.ErrNotPermitted)
		require.ErrorContains(t, err, "CAP_NET_ADMIN")
	}
	require.NoError(t, forwardError("wg0", nil))
}

func TestSysctlName(t *testing.T) {
	require.Equal(t, "net.ipv4.ip_forward", sysctlName(forwardIPv4))
	require.Equal(t, "net.ipv6.conf.eth0/100.accept_ra", sysctlName("net/ipv6/conf/eth0.100/accept_ra"))
}
