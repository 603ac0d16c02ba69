# Everything a contributor types. `make` alone lists it.

GO        ?= go
FUZZTIME  ?= 20s
BENCH     ?= .
BENCHTIME ?= 500ms

# The Go modules here: the program, and the tests that need foreign clients.
MODULES := . integration

STATICCHECK_VERSION := v0.8.2
STATICCHECK         := bin/staticcheck-$(STATICCHECK_VERSION)

# A checkout that git refuses to read (another owner, an archive) still builds,
# without the commit in `acrfs version`.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 && echo yes),yes)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

.PHONY: help build demo test test-scale deps lint fuzz bench bench-quick clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/acrfs
	@$(GO) build -trimpath -o bin/acrfs ./cmd/acrfs

demo: build ## a registry with samples, mounted; Ctrl-C ends it
	@bin/acrfs demo

test: deps ## every test, race detector on, with real mounts
	$(GO) test -race -shuffle=on -timeout 25m ./...
	cd integration && $(GO) test -race -shuffle=on -timeout 50m ./...

test-scale: ## the local registry with 20 GiB in a blob and 100,000 tags; needs 25 GiB of disk
	LOCALACR_SCALE=1 $(GO) test -run Scale -v -timeout 60m ./registry/localacr

# What the tests call, and the Debian package that has it.
TOOLS := fusermount3:fuse3 getfattr:attr rsync:rsync jq:jq skopeo:skopeo podman:podman gcc:gcc findmnt:mount mountpoint:util-linux setpriv:util-linux

deps: ## install what the tests need, when root; name it otherwise
	@missing=; \
	for tool in $(TOOLS); do \
	  command -v $${tool%:*} >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing; \
	else \
	  echo "make: the tests need these packages:$$missing" >&2; exit 1; \
	fi

lint: $(STATICCHECK) ## gofmt, go vet, staticcheck, in all modules
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	[ -z "$$unformatted" ] || { echo "not gofmt-clean:" $$unformatted >&2; exit 1; }
	@for module in $(MODULES); do \
	  (cd $$module && $(GO) vet ./... && $(CURDIR)/$(STATICCHECK) ./...) || exit 1; \
	done

$(STATICCHECK):
	@GOBIN=$(CURDIR)/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@mv bin/staticcheck $@

fuzz: ## every fuzz target for FUZZTIME (20s)
	@for module in $(MODULES); do ( \
	  cd $$module && \
	  for package in $$($(GO) list ./...); do \
	    for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	      echo "$$package $$target"; \
	      $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	    done; \
	  done \
	) || exit 1; done

# What the benchmarks compare with, by the version that the tests link, or pinned.
CRANE_VERSION  := $(shell sed -n 's|.*google/go-containerregistry \(v[0-9.]*\).*|\1|p' integration/go.mod)
RCLONE_VERSION := v1.76.0
CRANE          := bin/crane-$(CRANE_VERSION)
RCLONE         := bin/rclone-$(RCLONE_VERSION)

$(CRANE):
	@$(call peer,crane,github.com/google/go-containerregistry/cmd/crane@$(CRANE_VERSION))

$(RCLONE):
	@$(call peer,rclone,github.com/rclone/rclone@$(RCLONE_VERSION))

# One that cannot be built leaves its rows of the table empty, and is tried again.
peer = echo "building $(@F)"; \
	if GOBIN=$(CURDIR)/bin $(GO) install $(2); then mv bin/$(1) $@ && ln -sf $(@F) bin/$(1); \
	else echo "make: no $(1): its rows stay empty" >&2; fi

bench: deps $(CRANE) $(RCLONE) ## every benchmark and a table of ratios to peers, in 15 minutes; one: BENCH=Tree
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -p 1 -timeout 20m ./...
	@cd integration && $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 40m .

bench-quick: deps $(CRANE) $(RCLONE) ## the same with small sizes, in two minutes: rough figures
	@$(GO) test -short -run '^$$' -bench '$(BENCH)' -benchmem -benchtime 100ms -p 1 -timeout 10m ./...
	@cd integration && $(GO) test -short -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 20m .

clean: ## remove what was built
	rm -rf bin
