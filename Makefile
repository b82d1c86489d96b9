# Needs Go, make and a POSIX shell, nothing else. `make help` lists the targets.

GO ?= go

# Every binary, by the folder of its main package. bin/ gets them under the
# last part of that path.
MAINS = ./gateway ./workers/cmd/lookup ./workers/cmd/normalize ./workers/cmd/sweep ./workers/cmd/expect ./workers/cmd/console ./deploy/tools/simulator ./deploy/tools/local ./workers/cmd/arauto ./deploy/tools/bench

# Pinned, and built from source through the module proxy: a newer linter must
# not turn a green build red overnight.
LINTER = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Pinned for the same reason; its database is always today's.
VULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
SBOM = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# How long each fuzz target runs in `make fuzz`.
FUZZTIME ?= 20s

# How long `make soak`, `make cluster` and `make powercut` make trouble.
FOR ?= 30m

.DEFAULT_GOAL := help
.PHONY: help build run test race check docs screenshots vet format lint vuln sbom image schemas keda fuzz contract chart browser alarms soak upgrade cluster powercut bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build every binary into bin/
	@mkdir -p bin
	$(GO) build -o bin/ $(MAINS)

# make gets Ctrl-C too. It waits for the supervisor, which stops everything in
# order and exits with 0.
run: build ## run everything here; DEMO=off without demo traffic, ROLES=gateway,lookup only those
	@exec bin/local

# `make lint` has vetted the files of the first module, and debug information is a third of linking. The race
# detector makes a test take two to four times the processor time, most of it in the broker that
# runs in the test. So CI has it where goroutines share memory, and `make race` everywhere. Most
# tests wait for a broker, so four packages at a time use two processors better. What needs
# Prometheus is a module apart, and never from the cache, which does not see files outside of a
# module. What needs Helm, images or a browser, or takes minutes, has a target of its own.
RACE = ./deploy/runtime/... ./gateway/... ./workers/internal/... ./workers/lookup ./workers/normalize/... ./schemas/subscriber
TEST = test -p 4 -vet=off -ldflags=-w -timeout 15m
test: ## run all tests, with the race detector where goroutines share memory
	$(GO) $(TEST) -race $(RACE)
	$(GO) $(TEST) $$($(GO) list ./... | grep -vxF "$$($(GO) list $(RACE))")
	cd deploy/watch/tests && $(GO) test -count 1 -vet=all -ldflags=-w ./...

race: ## run all tests with the race detector
	$(GO) $(TEST) -race ./...

# Helm is a minute of compiling, which vet needs too, so its module is vetted here and not in `make vet`.
chart: ## render the Helm chart, start what it renders, and check the images
	cd deploy/chart/tests && $(GO) test -count 1 -vet=all -ldflags=-w ./...
	cd deploy/tools/image && $(GO) test -count 1 -vet=all -ldflags=-w ./...

browser: ## try the console in a browser (needs chromium)
	cd deploy/tests/browser && $(GO) test -count 1 -vet=all -ldflags=-w -timeout 15m ./...

alarms: ## break a running system, and see the alarms fire and end, but for three that deploy/watch/tests names
	cd deploy/watch/tests && ALARMS=1 $(GO) test -count 1 -timeout 20m -vet=off -ldflags=-w -v -run '^TestAlarmsFire' .

check: format lint vuln test ## what CI runs: formatting, vet, lint, vulnerabilities and all tests (drift among them)

docs: ## write the generated parts of the documents
	$(GO) test -count 1 ./deploy/tests/conformance -run '^(TestAlarmTableIsTheRuleFile|TestSettingsTableIsTheCode)$$' -write

screenshots: ## write the screenshots of the console into deploy/console (needs chromium)
	@mkdir -p deploy/console
	cd deploy/tests/browser && $(GO) test -count 1 ./... -run '^TestScreenshots$$' -write $(CURDIR)/deploy/console

vet:
	$(GO) vet -tags powercut ./...
	for module in deploy/watch/tests deploy/tools/image deploy/tests/browser; do (cd $$module && $(GO) vet ./...) || exit 1; done

format:
	@files=$$(gofmt -l gateway workers schemas deploy) || exit 1; \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w on:"; echo "$$files"; exit 1; fi

lint:
	$(GO) run $(LINTER) run ./...

# go run prints the status of what it ran: 3 is that of findings. The modules are looked at first,
# because that takes a second, and half a minute less where the database cannot be reached.
# DB=file:///folder names another database.
VULN = $(GO) run $(VULNCHECK) $(if $(DB),-db $(DB))
vuln: ## look for known vulnerabilities; skipped, with a line, where the database cannot be reached
	@if found=$$(cd gateway && $(VULN) -scan module 2>&1) || echo "$$found" | grep -q '^exit status 3$$'; then $(VULN) ./...; \
	elif why=$$(echo "$$found" | grep 'fetching vulnerabilities'); then echo "vulnerabilities: SKIPPED, $$why"; \
	else echo "$$found"; exit 1; fi

sbom: build ## write a bill of materials (CycloneDX) of each binary into bin/
	@for name in $(notdir $(MAINS)); do \
		$(GO) run $(SBOM) bin -json -output bin/$$name.cdx.json bin/$$name || exit 1; \
	done

# What the images hold: the roles and the operator's command, linked statically.
SHIPPED = ./gateway ./workers/cmd/lookup ./workers/cmd/normalize ./workers/cmd/sweep ./workers/cmd/expect ./workers/cmd/console ./workers/cmd/arauto
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo unversioned)

image: ## write an image of each binary into bin/images, without a container engine; VERSION is its tag
	@mkdir -p bin/static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w -X arauto/deploy/runtime/version.revision=$(VERSION)" -o bin/static/ $(SHIPPED)
	cd deploy/tools/image && $(GO) run . -tag $(VERSION) -out ../../../bin/images $(addprefix ../../../bin/static/,$(notdir $(SHIPPED)))

# The versions are those that the tests of the chart name.
schemas: ## write the schemas of Kubernetes and KEDA for the tests of the chart
	cd deploy/chart/tests && $(GO) test -count 1 . -run '^TestSchemasNameTheirSource$$' \
		-kubernetes "$$($(GO) mod download -json k8s.io/kubernetes@v1.37.2 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" \
		-keda "$$($(GO) mod download -json github.com/kedacore/keda/v2@v2.21.0 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')"

# KEDA's package of scalers has all 70 of them, with every cloud's client: 3,000 packages to
# compile. So a copy without the other scalers takes its place, with what is used unchanged:
# 1,000 packages. That is still too long for CI, so `make check` leaves it out.
keda: ## run KEDA's own scaler on the chart's triggers and a real broker; it compiles for minutes
	cd deploy/chart/keda && ./without-others.sh "$(GO)" test -count 1 -vet=all -ldflags=-w -v ./...

# go test runs one fuzz target of one package at a time.
fuzz: ## run every fuzz target for FUZZTIME each (default 20s)
	@find gateway workers schemas deploy -name '*_test.go' -exec grep -l '^func Fuzz' {} + | sort | while read -r file; do \
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | while read -r target; do \
			echo "$$target in $$(dirname "$$file")"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" </dev/null || exit 1; \
		done || exit 1; \
	done

contract: ## write the AsyncAPI and OpenAPI documents and their pages into deploy/contract
	$(GO) run ./deploy/tools/contract

soak: ## run the ledger test for FOR (default 30m); SEED=n repeats a run's choices
	FOR=$(FOR) SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestEveryAcceptedNotificationEndsAsExactlyOneThing$$' ./deploy/tests/reconcile

upgrade: ## upgrade and roll back under traffic; PREVIOUS=commit names the earlier build
	UPGRADE=1 PREVIOUS=$(PREVIOUS) SEED=$(SEED) $(GO) test -count 1 -timeout 15m -v -run '^TestUpgradeAndRollbackLoseNothing$$' ./deploy/tests/reconcile

cluster: ## run the ledger test on three servers, whose leaders step down, freeze and die, for FOR
	FOR=$(FOR) SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestEvery200OutlivesItsLeader$$' ./deploy/tests/reconcile

powercut: ## take the power from the broker's disk for FOR (needs root on Linux, and ext4 on a loop device)
	FOR=$(FOR) SEED=$(SEED) $(GO) test -tags powercut -count 1 -timeout 0 -v -run '^TestEvery200OutlivesAPowerCut$$' ./deploy/tests/reconcile

# FLAGS changes what is measured, see bin/bench -help: FLAGS='-only memory -for 5m'.
bench: build ## measure, and write deploy/FIGURES.md; ALL=1 measures more
	bin/bench -write deploy/FIGURES.md $(FLAGS)
ifdef ALL
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./deploy/...
endif

clean: ## remove the binaries and all local data
	rm -rf bin .local
