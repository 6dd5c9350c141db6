package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionForm(t *testing.T) {
	for _, good := range []string{"v0.1.0", "v1.2.3", "v10.20.30", "v1.2.3-rc.1", "v1.0.0-alpha.12", "v1.0.0-beta.2"} {
		require.NoError(t, checkVersion(good))
	}
	for _, bad := range []string{
		"", "1.2.3", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.3-", "v1.2.3-rc", "v1.2.3-rc.0", "v1.2.3-dev",
		"v1.2.3+x", "v1.2.3 ", " v1.2.3", "v1.2.3\n", "v1.2.3-4-gcb4dbb7", "v1.2.3/../x", "V1.2.3",
	} {
		require.Error(t, checkVersion(bad), "%q", bad)
	}
}

const changelog = `# Changelog

## [Unreleased]

## [1.2.0] - 2026-02-01

### Added

- Two.

## [1.1.0] - 2026-01-01

- One.

## [1.0.0] - 2025-12-01

## [0.9.0]

- No date.

[1.1.0]: https://example.com/v1.1.0
`

func TestSection(t *testing.T) {
	text, err := section(changelog, "v1.2.0")
	require.NoError(t, err)
	require.Equal(t, "### Added\n\n- Two.", text)
	text, err = section(changelog, "v1.1.0")
	require.NoError(t, err)
	require.Equal(t, "- One.", text)

	_, err = section(changelog, "v1.2.1")
	require.EqualError(t, err, `CHANGELOG.md has no section "## [1.2.1] - YYYY-MM-DD": write there what is new, and commit it`)
	_, err = section(changelog, "v1.0.0")
	require.EqualError(t, err, `the section "## [1.0.0]" of CHANGELOG.md is empty: write there what is new, and commit it`)
	_, err = section(changelog, "v0.9.0")
	require.ErrorContains(t, err, "has no section", "a section without a date is of no release")
	_, err = section("", "v1.2.0")
	require.ErrorContains(t, err, "has no section")
}
