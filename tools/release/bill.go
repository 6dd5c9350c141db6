package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

const (
	noAssertion = "NOASSERTION"
	home        = "https://github.com/wgfleet/wgfleet"
)

// notInIdentifier is what an SPDX identifier may not have.
var notInIdentifier = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// bill writes what a binary is made of, as the binary says itself, in SPDX 2.3.
func (r *release) bill(_ context.Context, arch string) error {
	binary := r.dist(r.name(arch))
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	sum, err := fileSum(binary)
	if err != nil {
		return err
	}
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      r.name(arch),
		DocumentNamespace: home + "/spdx/" + r.name(arch) + "-" + sum,
		CreationInfo: &spdx.CreationInfo{
			Created:  r.time.Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Organization", Creator: "wgfleet"}, {CreatorType: "Tool", Creator: "wgfleet-release-" + r.version}},
		},
	}
	main := r.mainPackage(arch, sum)
	doc.Packages = []*spdx.Package{main}
	doc.Relationships = []*spdx.Relationship{relate("DOCUMENT", "DESCRIBES", main.PackageSPDXIdentifier)}
	for _, m := range append([]*debug.Module{{Path: standard, Version: strings.TrimPrefix(info.GoVersion, "go")}}, info.Deps...) {
		p, err := r.modulePackage(m)
		if err != nil {
			return err
		}
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relate(main.PackageSPDXIdentifier, "DEPENDS_ON", p.PackageSPDXIdentifier))
	}
	var out bytes.Buffer
	if err := spdxjson.Write(doc, &out, spdxjson.Indent("  "), spdxjson.EscapeHTML(false)); err != nil {
		return fmt.Errorf("SPDX: %w", err)
	}
	return os.WriteFile(binary+".spdx.json", out.Bytes(), 0o644)
}

// mainPackage is the binary itself.
func (r *release) mainPackage(arch, sum string) *spdx.Package {
	return &spdx.Package{
		PackageName: "wgfleet", PackageSPDXIdentifier: "Package-wgfleet", PackageVersion: r.version,
		PackageFileName:           r.name(arch),
		PackageChecksums:          []common.Checksum{{Algorithm: common.SHA256, Value: sum}},
		PackageDownloadLocation:   "git+" + home + "@" + r.commit,
		PackageHomePage:           home,
		PackageSupplier:           &common.Supplier{SupplierType: "Organization", Supplier: "wgfleet"},
		PackageLicenseConcluded:   noAssertion,
		PackageLicenseDeclared:    noAssertion,
		PackageCopyrightText:      noAssertion,
		PrimaryPackagePurpose:     "APPLICATION",
		PackageExternalReferences: []*spdx.PackageExternalReference{purl("github.com/wgfleet/wgfleet", r.version)},
	}
}

// modulePackage is one module that is linked in.
func (r *release) modulePackage(m *debug.Module) (*spdx.Package, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	p := &spdx.Package{
		PackageName: m.Path, PackageVersion: m.Version,
		PackageSPDXIdentifier:     common.ElementID("Package-" + notInIdentifier.ReplaceAllString(m.Path+"-"+m.Version, "-")),
		PackageDownloadLocation:   "https://proxy.golang.org/" + escaped(m.Path) + "/@v/" + escaped(m.Version) + ".zip",
		PackageLicenseConcluded:   noAssertion,
		PackageCopyrightText:      noAssertion,
		PrimaryPackagePurpose:     "LIBRARY",
		PackageExternalReferences: []*spdx.PackageExternalReference{purl(m.Path, m.Version)},
	}
	key := m.Path + "@" + m.Version
	if m.Path == standard {
		key = standard
		p.PackageDownloadLocation = "https://go.dev/dl/go" + m.Version + ".src.tar.gz"
	} else {
		p.PackageSourceInfo = "go.sum: " + m.Sum
	}
	terms, known := r.modules[key]
	if !known {
		return nil, fmt.Errorf("the binary has %s, but no package of it is linked in", key)
	}
	var err error
	p.PackageLicenseDeclared, err = terms.expression()
	return p, err
}

// escaped is a path or version as the module proxy has it: a capital is ! and the small letter.
func escaped(s string) string {
	return regexp.MustCompile("[A-Z]").ReplaceAllStringFunc(s, func(c string) string { return "!" + strings.ToLower(c) })
}

func purl(path, version string) *spdx.PackageExternalReference {
	return &spdx.PackageExternalReference{
		Category: common.CategoryPackageManager, RefType: "purl",
		Locator: "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B"),
	}
}

func relate(a common.ElementID, how string, b common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{RefA: common.DocElementID{ElementRefID: a}, Relationship: how, RefB: common.DocElementID{ElementRefID: b}}
}
