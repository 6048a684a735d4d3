# Everything is built with the Go that is installed. The tools are pinned in the modules under tools/ and built into
# .bin/ when they are first needed.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# What `make bench` hands to the benchmark, for example: make bench BENCH_FLAGS="-h"
BENCH_FLAGS ?=
# How long `make chaos` runs, and the seed of its faults: any, unless one is named.
CHAOS_FOR ?= 2m
CHAOS_SEED ?= 0
# How many quiet sessions it compares with ten.
CHAOS_QUIET ?= 100000
# How long `make fuzz` runs each target.
FUZZ_TIME ?= 60s
# What `make test` hands to go test, for example: make test TEST_FLAGS="-run TestCreate -v"
TEST_FLAGS ?=

generators := .bin/protoc-gen-go .bin/protoc-gen-go-grpc .bin/protoc-gen-openapi

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run the server, with its data in ./parley-data
	go run ./cmd/parley serve

.PHONY: build
build: ## Build the static binary bin/parley
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/parley ./cmd/parley

.PHONY: test
test: ## Run all tests with the race detector
test: .bin/nats
	@scripts/postgres
	go test -race -timeout 10m $(TEST_FLAGS) ./...

.PHONY: check
check: ## Run everything that must pass before a commit: all linters and checks, then the tests
check: check-code check-contract check-vulnerabilities test

.PHONY: generate
generate: ## Generate gen/ from proto/
generate: .bin/buf $(generators)
	.bin/buf generate

.PHONY: fmt
fmt: ## Format the Go and the proto files
fmt: .bin/buf .bin/golangci-lint
	.bin/golangci-lint fmt
	.bin/buf format --write

.PHONY: bench
bench: ## Run the benchmark against the built server (BENCH_FLAGS)
bench: build
	go run ./bench $(BENCH_FLAGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for a minute (FUZZ_TIME)
# Minimizing is bounded by tries: by time, its default of a minute is all that a target has.
	GOFLAGS='$(strip $(GOFLAGS) -fuzzminimizetime=20x)' scripts/fuzz $(FUZZ_TIME)

.PHONY: chaos
chaos: ## Let faults loose on three nodes under load for as long as asked (CHAOS_FOR, CHAOS_SEED, CHAOS_QUIET)
	@scripts/postgres
	go test -race -count 1 -timeout 0 -v ./test/chaos -chaos.for $(CHAOS_FOR) -chaos.seed $(CHAOS_SEED) -chaos.quiet $(CHAOS_QUIET)

.PHONY: check-code
check-code: .bin/golangci-lint
	go mod tidy -diff
	go vet ./...
	.bin/golangci-lint fmt --diff
	.bin/golangci-lint run
	cd tools/protoc && ../../.bin/golangci-lint run --config ../../.golangci.yml

.PHONY: check-contract
check-contract: .bin/buf $(generators)
	.bin/buf format --diff --exit-code proto
	.bin/buf lint
	scripts/breaking
	rm -rf .bin/generated
	.bin/buf generate --output .bin/generated
	@git diff --no-index --exit-code gen .bin/generated/gen || \
		{ echo 'gen/ is not what proto/ generates: run make generate'; exit 1; }

.PHONY: check-vulnerabilities
check-vulnerabilities: .bin/govulncheck
	scripts/vulnerabilities

.bin/buf: tools/buf/go.mod tools/buf/go.sum
	cd tools/buf && go build -o ../../$@ github.com/bufbuild/buf/cmd/buf

.bin/golangci-lint: tools/golangci-lint/go.mod tools/golangci-lint/go.sum
	cd tools/golangci-lint && go build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.bin/govulncheck: tools/govulncheck/go.mod tools/govulncheck/go.sum
	cd tools/govulncheck && go build -o ../../$@ golang.org/x/vuln/cmd/govulncheck

.bin/nats: tools/natscli/go.mod tools/natscli/go.sum
	cd tools/natscli && go build -o ../../$@ github.com/nats-io/natscli/nats

.bin/protoc-gen-go: tools/protoc/go.mod tools/protoc/go.sum
	cd tools/protoc && go build -o ../../$@ google.golang.org/protobuf/cmd/protoc-gen-go

.bin/protoc-gen-go-grpc: tools/protoc/go.mod tools/protoc/go.sum
	cd tools/protoc && go build -o ../../$@ google.golang.org/grpc/cmd/protoc-gen-go-grpc

.bin/protoc-gen-openapi: tools/protoc/go.mod tools/protoc/go.sum tools/protoc/openapi/main.go
	cd tools/protoc && go build -o ../../$@ ./openapi
