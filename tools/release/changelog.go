package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	// versionForm is what dpkg and rpm sort as semver does, once - is ~.
	versionForm = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(alpha|beta|rc)\.[1-9]\d*)?$`)
	// linkLine is a definition of a link in Markdown, which Keep a Changelog has at the end.
	linkLine = regexp.MustCompile(`^\[[^\]]+\]: `)
)

func checkVersion(version string) error {
	switch {
	case version == "":
		return errors.New("no version: make release VERSION=v1.2.3")
	case !versionForm.MatchString(version):
		return fmt.Errorf("%q is no version: expected v1.2.3, or v1.2.3-rc.1 (alpha, beta or rc)", version)
	}
	return nil
}

// section returns what a changelog in the form of keepachangelog.com tells of a version.
func section(changelog, version string) (string, error) {
	heading := "## [" + strings.TrimPrefix(version, "v") + "]"
	dated := regexp.MustCompile("^" + regexp.QuoteMeta(heading) + ` - \d{4}-\d{2}-\d{2}$`)
	var lines []string
	var inside, found bool
	for line := range strings.Lines(changelog) {
		line = strings.TrimRight(line, " \r\n")
		switch {
		case strings.HasPrefix(line, "## "):
			inside = dated.MatchString(line)
			found = found || inside
		case inside && !linkLine.MatchString(line):
			lines = append(lines, line)
		}
	}
	text := strings.TrimSpace(strings.Join(lines, "\n"))
	switch {
	case !found:
		return "", fmt.Errorf("CHANGELOG.md has no section %q: write there what is new, and commit it", heading+" - YYYY-MM-DD")
	case text == "":
		return "", fmt.Errorf("the section %q of CHANGELOG.md is empty: write there what is new, and commit it", heading)
	}
	return text, nil
}
