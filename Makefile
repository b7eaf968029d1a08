# make demo and make test are all that a new machine needs; both install what is missing from Debian.
# make demo STORE=dunesea shows the same on a server.

STORE ?= drive
PREFIX ?= /usr/local
DESTDIR ?=
BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib/escapepod
MAN := $(DESTDIR)$(PREFIX)/share/man

SWIFT := swift
TOOLS := ep-snap ep-seal ep-unseal ep-key ep-meta ep-plan ep-store ep-fetch
# The Swift libraries that the tools load; a machine without Swift gets copies.
RUNTIME := swiftCore swift_Concurrency swift_StringProcessing swift_RegexParser swift_Builtin_float swiftGlibc \
	swiftSynchronization FoundationEssentials dispatch BlocksRuntime

NEEDED_TO_BUILD := libssl-dev libblkid-dev libbtrfsutil-dev libcurl4-openssl-dev pkg-config
NEEDED_TO_RUN := btrfs-progs util-linux
NEEDED_TO_INSTALL := patchelf
NEEDED_TO_SHOW := attr e2fsprogs openssl
NEEDED_TO_TEST := acl age attr bats curl dosfstools e2fsprogs exfat-fuse exfatprogs fuse3 jq libnbd-bin mandoc nbdkit ntfs-3g \
	openssl python3 shellcheck strace time xxd
NEEDED_TO_BENCH := age borgbackup openssl restic time zstd

SCRIPTS := bin/escapepod Tests/run Tests/demo Tests/bench $(wildcard Tests/cli/*.bash)
SUITES := $(wildcard Tests/cli/*.bats)
FORMATTED := Sources Tests Package.swift dunesea/Sources/DuneSea dunesea/Sources/dunesea dunesea/Tests \
	dunesea/Package.swift

.PHONY: build demo test dunesea check bench format install clean needs-build needs-install needs-demo needs-test \
	needs-bench

build: needs-build
	$(SWIFT) build -c release

demo: build needs-demo $(filter dunesea,$(STORE))
	PATH="$(CURDIR)/.build/release:$(CURDIR)/dunesea/.build/release:$(CURDIR)/bin:$$PATH" STORE=$(STORE) Tests/demo

test: needs-test
	Tests/run

# The server is a package of its own: SwiftNIO takes minutes to build.
dunesea: needs-build
	$(SWIFT) build --package-path dunesea -c release

check: needs-test
	$(SWIFT) format lint --strict --recursive $(FORMATTED)
	$(SWIFT) build --explicit-target-dependency-import-check error
	$(SWIFT) build --package-path dunesea --build-tests --explicit-target-dependency-import-check error
	shellcheck $(SCRIPTS) $(SUITES)
	mandoc -T lint -W warning man/*.[1578]

bench: build needs-bench
	EP_BIN="$(CURDIR)/.build/release" Tests/bench

format:
	$(SWIFT) format --in-place --recursive $(FORMATTED)

install: build needs-install
	install -d "$(BIN)" "$(LIB)" $(foreach section,1 5 7,"$(MAN)/man$(section)")
	install -m 0755 bin/escapepod "$(BIN)"
	for tool in $(TOOLS); do \
		install -s -m 0755 ".build/release/$$tool" "$(BIN)" && \
		patchelf --set-rpath '$$ORIGIN/../lib/escapepod' "$(BIN)/$$tool" || exit; \
	done
	from=$$($(SWIFT) -print-target-info | sed -n 's/.*"runtimeResourcePath" *: *"\(.*\)".*/\1/p'); \
	for library in $(RUNTIME); do install -s -m 0644 "$$from/linux/lib$$library.so" "$(LIB)" || exit; done
	for page in man/*.[157]; do install -m 0644 "$$page" "$(MAN)/man$${page##*.}" || exit; done

clean:
	$(SWIFT) package clean

needs-build:
	@Tests/needs $(NEEDED_TO_BUILD) $(NEEDED_TO_RUN)

needs-install:
	@Tests/needs $(NEEDED_TO_INSTALL)

needs-demo:
	@Tests/needs $(NEEDED_TO_SHOW)

needs-test: needs-build needs-install
	@Tests/needs $(NEEDED_TO_TEST)

needs-bench:
	@Tests/needs $(NEEDED_TO_BENCH)
