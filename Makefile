# Weft. `make` alone builds; the README's second command is `make test`.
GO ?= go
FUZZTIME ?= 10m
# Peers whose path the tests take from the environment.
export WEFT_ENVOY ?=
PROTOC ?= python3 -m grpc_tools.protoc

.PHONY: docs build images test test-istiod test-skew test-kube kube-node test-kube-node test-registries conformance race lint golden bench bench-control bench-ondemand soak-control fuzz generate presubmit upgrade-soak soak-abuse

build: ## the binaries, in bin/
	$(GO) build -o bin/ ./cmd/weft ./cmd/weft-proxy

# The same commit makes the same bytes.
images: ## OCI archives of weft and weft-proxy, in bin/images/
	mkdir -p bin/images
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/images/ ./cmd/weft ./cmd/weft-proxy
	bin/images/weft image --dir bin/images

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

test: ## all tests, below 15 minutes on 2 cores
	$(GO) vet ./...
	$(GO) test -timeout 14m ./...

# REF is a commit whose control plane has --xds.
REF ?= HEAD~20
test-skew: ## proxies of another version under this control plane, and the other way round (not part of test)
	rm -rf bin/other && git worktree prune && git worktree add --detach bin/other $(REF)
	cd bin/other && $(GO) build -o ../other-proxy ./cmd/weft-proxy && $(GO) build -o ../other-weft ./cmd/weft
	git worktree remove --force bin/other
	WEFT_OTHER_PROXY=$(CURDIR)/bin/other-proxy $(GO) test -count=1 -v -run TestControl ./test/peers/istiod
	WEFT_OTHER_CONTROL=$(CURDIR)/bin/other-weft $(GO) test -count=1 -v -run TestControl ./test/peers/istiod

# Where Kubernetes is built, once for all working copies.
KUBE ?= $(or $(WEFT_KUBE),$(HOME)/.cache/weft/kube)
test-kube: ## the control plane with a real API server of Kubernetes, which is built the first time (not part of test)
	test/peers/kube/build.sh $(KUBE)
	WEFT_KUBE=$(KUBE) $(GO) test -count=1 -v -timeout 20m ./test/peers/kube

# Building it takes 1,500 CPU-seconds the first time; then it is up within a minute. KUBE_PROXY_MODE=iptables is an option of it.
kube-node: ## a real Kubernetes of one node, in namespaces of its own; as root (test/peers/kube/node/down.sh ends it)
	WEFT_KUBE=$(KUBE) test/peers/kube/node/up.sh

test-kube-node: images ## install the mesh on such a node, as root (not part of test)
	test/peers/kube/build.sh $(KUBE) node
	WEFT_KUBE=$(KUBE) WEFT_KUBE_NODE=1 WEFT_IMAGES=$(CURDIR)/bin/images $(GO) test -count=1 -v -timeout 30m -run TestNode ./test/peers/kube

# REGISTRIES is where they are built.
REGISTRIES ?= $(CURDIR)/bin/registries
test-registries: ## a real Consul and a real Eureka, which are built the first time (ten minutes of CPU), below and in a mesh (not part of test)
	test/peers/registries/build.sh $(REGISTRIES)
	WEFT_REGISTRIES=$(REGISTRIES) $(GO) test -count=1 -v -timeout 20m -run 'Consul|Eureka' ./test/peers/registries ./test/mesh

conformance: ## only the tests against peers: cases beside Envoy, h2spec, gRPC interop
	$(GO) test -timeout 14m ./test/peers/...

# istiod is built from its Go module the first time: about half an hour of CPU.
# ISTIOD_TESTS names single tests, e.g. TestIstiod/mirror.
ISTIOD_TESTS ?= .
test-istiod: build ## istiod as the control plane of our proxies, and as the oracle of ours (not part of test)
	test/peers/istiod/peer/build.sh bin/peers
	WEFT_ISTIOD=$(CURDIR)/bin/peers/pilot-discovery WEFT_ISTIOCTL=$(CURDIR)/bin/peers/istioctl WEFT_PILOT_AGENT=$(CURDIR)/bin/peers/pilot-agent \
	  $(GO) test -count=1 -v -timeout 40m -run '$(ISTIOD_TESTS)' ./test/peers/istiod/...

race: ## the tests of everything but the end-to-end ones, under the race detector
	$(GO) test -race -timeout 30m $$($(GO) list ./... | grep -v /test/mesh)

lint: ## the linters that tools/go.mod pins
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...

docs: ## write the pages that come from the code
	$(GO) run ./cmd/weft proxy features > docs/ENVOY_API.md
	$(GO) run ./cmd/weft analyze --codes -o markdown > docs/FINDINGS.md
	$(GO) run ./api/reference > docs/REFERENCE.md

golden: ## rewrite the golden archives from what the code does now
	$(GO) test ./test/golden -update

upgrade-soak: ## 20 upgrades in a row under 5,000 exchanges per second: nothing may be cut
	WEFT_UPGRADES=20 WEFT_UPGRADE_RATE=5000 $(GO) test ./test/handover -run TestUpgradesCutNothing -count=1 -v -timeout 30m

soak-abuse: ## 9,000 idle connections, and crowds of slow and hostile ones
	WEFT_SOAK=1 $(GO) test ./test/abuse -count=1 -v -timeout 30m

bench: ## CPU per request and latency beside Envoy, in one run
	$(GO) run ./test/bench

# SHAPE: services, endpoints of each, proxies; with -use those are on demand and use so
# many services each.
SHAPE ?= -s 1000 -e 10 -n 100
bench-control: build ## what the control plane spends on a fleet: first push, changes, memory
	$(GO) build -o bin/adsload ./test/peers/adsload
	bin/adsload weft -bin bin/weft $(SHAPE)

bench-ondemand: ## what proxies hold in a mesh of 10,000 services, and how soon they answer, in both modes
	WEFT_LARGE=10000 $(GO) test ./test/mesh -run TestLargeMesh -count=1 -v -timeout 30m

SOAK ?= 10m
soak-control: build ## 5,000 proxies on demand in a mesh of 10,000 services, 100 changes a second
	$(GO) build -o bin/adsload ./test/peers/adsload
	bin/adsload weft -bin bin/weft -s 10000 -e 10 -n 5000 -use 10 -rounds 0 -- -reconnect -soak $(SOAK) -rate 100

fuzz: ## every fuzz target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; done; done

# Generated code is committed. This needs protoc, protoc-gen-go and
# protoc-gen-go-grpc in PATH: `pip install grpcio-tools` brings the first, `go
# install` the others.
generate: ## the Go code of the messages in wire and of the bookstore's catalogue
	$(PROTOC) -I wire --go_out=. --go_opt=module=github.com/weftmesh/weft --go-grpc_out=. --go-grpc_opt=module=github.com/weftmesh/weft weft.proto quota.proto metric.proto
	$(PROTOC) -I examples/bookstore/catalog/catalogpb --go_out=examples/bookstore/catalog/catalogpb --go_opt=paths=source_relative \
	  --go-grpc_out=examples/bookstore/catalog/catalogpb --go-grpc_opt=paths=source_relative catalog.proto

presubmit: build test race lint ## what a change has to pass
