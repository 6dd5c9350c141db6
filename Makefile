# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(shell go env GOPATH)/bin/golangci-lint

VERSION ?= $(shell git describe --tags --match 'v*' 2>/dev/null || echo v0.1.0-dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-19s %s\n", $$1, $$2}'

.PHONY: build
build: ## write the static binary to bin/wgfleet
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/wgfleet ./cmd/wgfleet

.PHONY: release
release: ## write what people download to dist/ (VERSION=v1.2.3; a clean tree, a section in CHANGELOG.md)
	@go build -C tools/release -o '$(CURDIR)/bin/release' .
	@bin/release -version '$(if $(filter command% environment%,$(origin VERSION)),$(VERSION))'

.PHONY: release-check
release-check: ## make a release of a test version twice, compare, install and read it (fetches Debian packages)
	.ci/release-check

.PHONY: demo
demo: build ## watch a whole fleet drift and be put right, in one process
	bin/wgfleet demo

.PHONY: test
test: ## all tests that need no privileges
	go test -timeout 15m ./...

.PHONY: race
race: ## the same tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -timeout 25m ./...

.PHONY: fuzz
fuzz: ## every fuzz target for some thousand executions (FUZZTIME=30s for longer)
	.ci/fuzz

.PHONY: nightly
nightly: soak bench-net ## what takes too long for every change

.PHONY: soak
soak: ## the gateway under everything at once, for 10 minutes under the race detector (WGFLEET_SOAK=1m for shorter)
	CGO_ENABLED=1 go test -race -tags soak -count 1 -v -run TestSoak -timeout 30m ./engine/gateway

.PHONY: bench
bench: ## all benchmarks, with allocations
	go test -run '^$$' -bench . -benchmem -timeout 30m $$(go list ./... | grep -v /bench/)

.PHONY: bench-net
bench-net: ## the data plane, every path side by side, into bench/RESULTS-net.md (root; 6 minutes)
	.ci/bench-net

.PHONY: bench-sizing
bench-sizing: ## memory, processor and disk by peers and nodes, for docs/sizing.md (5 minutes; SHORT=-short: the smallest sizes)
	go test -run '^$$' -bench Sizing $(SHORT) -timeout 30m ./bench/sizing

.PHONY: bench-tun
bench-tun: ## one peer added to a device of another process, in dumps (root)
	.ci/test-tun -run '^$$' -bench Foreign ./engine/kernel

.PHONY: test-tun
test-tun: ## the engine, agent and command tests on real TUN devices (root; own network namespaces)
	.ci/test-tun ./engine/... ./agent/... ./cmd/...

.PHONY: test-host
test-host: ## the binary on hosts of namespaces, beside wg-quick and other WireGuards (root; fetches Debian packages)
	.ci/test-host

.PHONY: test-kernel
test-kernel: ## the kernel backend on real kernel WireGuard (boots Debian's kernel under QEMU)
	.ci/test-kernel

.PHONY: test-migrate
test-migrate: ## a host of its own moved from the old agent to the new and back (root; boots systemd in a container)
	.ci/in-systemd ./test/migrate

.PHONY: test-migrate-kernel
test-migrate-kernel: ## the same move on real kernel WireGuard (boots systemd on Debian's kernel under QEMU)
	.ci/in-systemd --kernel ./test/migrate

.PHONY: test-systemd
test-systemd: ## the units as systemd runs them: installed, confined, upgraded under load (root; boots systemd in a container)
	.ci/in-systemd ./test/systemd

.PHONY: test-quickstart
test-quickstart: ## docs/quickstart.md and docs/migration.md followed as written, each on a host of its own (root; boots systemd in a container)
	.ci/in-systemd ./test/quickstart

.PHONY: test-image
test-image: build ## the Dockerfile built and run confined, deploy/compose followed as written (root; a Docker of its own, no registry)
	.ci/test-image

.PHONY: deploy-check
deploy-check: ## deploy/kubernetes built, judged and run (no cluster)
	cd deploy/kubernetes/check && go test -count 1 -timeout 5m ./...

.PHONY: lint
lint: lint-tool ## golangci-lint with .golangci.yml
	$(GOLANGCI) run ./...
	cd deploy/kubernetes/check && $(GOLANGCI) run ./...
	cd tools/release && $(GOLANGCI) run --config ../../.golangci.yml --build-tags check ./...

.PHONY: lint-tool
lint-tool: ## install the pinned golangci-lint where it is missing
	@$(GOLANGCI) version 2>/dev/null | grep -qF '$(GOLANGCI_VERSION:v%=%)' || \
		go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: tidy-check
tidy-check: ## go.mod and go.sum say what the code needs, no more
	go mod tidy -diff
	cd deploy/kubernetes/check && go mod tidy -diff
	cd tools/release && go mod tidy -diff

.PHONY: clean
clean: ## remove what build made
	rm -rf bin dist .dist-*
