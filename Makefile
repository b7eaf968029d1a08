# make demo and make test are all that a new machine needs; both install what is missing from Debian.
# make demo STORE=dunesea shows the same on a server, STORE=ssh by ssh; make demo SYSTEM=yes, with FIRMWARE=uefi or bios, a whole machine.

STORE ?= drive
SYSTEM ?= no
FIRMWARE ?= uefi
SECONDS ?=
SEED ?=
PREFIX ?= /usr/local
DESTDIR ?=
BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib/escapepod
SHARE := $(DESTDIR)$(PREFIX)/share/escapepod
MAN := $(DESTDIR)$(PREFIX)/share/man
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
RULES := $(DESTDIR)$(PREFIX)/lib/udev/rules.d

SWIFT := swift
# What is imported has to be declared.
DECLARED := --explicit-target-dependency-import-check error
# What a test build takes less time with: whole modules, each in one go, and no index of what is not ours.
WHOLE := -Xswiftc -whole-module-optimization -Xswiftc -num-threads -Xswiftc 2 -Xswiftc -no-emit-module-separately-wmo \
	-Xswiftc -index-ignore-system-modules -Xswiftc -index-ignore-clang-modules
TOOLS := ep-config ep-snap ep-layout ep-seal ep-unseal ep-key ep-meta ep-plan ep-store ep-fetch
# What `make install` puts in place, and `make install-dunesea`.
BUILT := .build/release
DUNESEA := dunesea/.build/release/dunesea
# Its pages go where it goes.
PAGES := $(filter-out man/dunesea%,$(wildcard man/*.[157]))

NEEDED_TO_BUILD := libssl-dev libblkid-dev libbtrfsutil-dev libcurl4-openssl-dev liblzo2-dev libzstd-dev pkg-config zlib1g-dev
NEEDED_TO_RUN := btrfs-progs bubblewrap cryptsetup-bin dosfstools e2fsprogs fdisk mtools util-linux
NEEDED_TO_INSTALL := patchelf
NEEDED_TO_SHOW := attr e2fsprogs openssh-client openssh-server openssl qrencode
NEEDED_TO_TEST := acl age attr bats curl dosfstools e2fsprogs exfat-fuse exfatprogs fuse3 groff jq libcap2-bin libnbd-bin mandoc nbdkit \
	nginx ntfs-3g openssh-client openssh-server openssl perl poppler-utils pyflakes3 python3 python3-cryptography qrencode shellcheck shfmt strace systemd time xxd \
	zbar-tools zstd
NEEDED_TO_START := dosfstools fdisk grub-common grub-efi-amd64-bin grub-pc-bin mtools ovmf qemu-system-x86 xxd
NEEDED_TO_BOOT := debootstrap
NEEDED_TO_SOAK := e2fsprogs fuse3 libnbd-bin python3 strace
NEEDED_TO_BENCH := age borgbackup curl nginx openssl pv restic time zstd

# The commands of the script are part of it, and checked with it.
PARTS := $(wildcard lib/escapepod/*.bash)
SCRIPTS := bin/escapepod $(addprefix Tests/,run needs demo bench/run) .ci/run Fuzz/run \
	$(wildcard Tests/cli/*.bash Tests/bench/*.bash) $(wildcard Tests/boot/*.bash) Tests/boot/report Tests/boot/list-tree Tests/boot/locked-script
SUITES := $(wildcard Tests/cli/*.bats Tests/boot/*.bats)
PYTHON := contrib/escapepod-open Tests/graph Tests/make-vectors Tests/bench/make-history $(addprefix Tests/cli/,hostile jumble liar on-terminal proxy reword) \
	$(wildcard Tests/soak/*.py)
FORMATTED := Sources Tests Package.swift dunesea/Sources/DuneSea dunesea/Sources/dunesea dunesea/Tests \
	dunesea/Package.swift Fuzz/Sources/Fuzzing Fuzz/Sources/fuzz Fuzz/Sources/fuzz-server Fuzz/Package.swift

.PHONY: build demo test test-boot dunesea dunesea-tests library-tests check bench fuzz soak format install install-dunesea clean needs-build \
	needs-install needs-demo needs-test needs-boot needs-bench needs-soak

build: needs-build
	$(SWIFT) build -c release -debug-info-format none $(DECLARED)

demo: build needs-demo $(if $(filter dunesea ssh,$(STORE)),dunesea) $(if $(filter yes,$(SYSTEM)),needs-boot)
	PATH="$(CURDIR)/.build/release:$(CURDIR)/dunesea/.build/release:$(CURDIR)/bin:$$PATH" STORE=$(STORE) SYSTEM=$(SYSTEM) FIRMWARE=$(FIRMWARE) Tests/demo

test: needs-test
	Tests/run

# Machines that boot in qemu: minutes, and the first time those of a debootstrap.
test-boot: build needs-boot
	EP_BIN="$(CURDIR)/$(BUILT)" bats Tests/boot

# The server is a package of its own: SwiftNIO takes minutes to build.
dunesea: needs-build
	$(SWIFT) build --package-path dunesea -c release --product dunesea

# The server as the suites need it, and its tests. These options take less time than the usual ones; with any others,
# all of SwiftNIO is built anew.
dunesea-tests: needs-build dunesea/.build/standard.pch
	$(SWIFT) build --package-path dunesea --build-tests -debug-info-format none $(DECLARED) $(WHOLE) \
		-Xcxx -include-pch -Xcxx "$(CURDIR)/dunesea/.build/standard.pch"

# The libraries' tests, under AddressSanitizer.
library-tests: needs-build
	$(SWIFT) build --sanitize=address --scratch-path .build-asan --product escapepodPackageTests $(DECLARED) $(WHOLE)

# BoringSSL is 283 files of C++ that all read these headers, which takes longer than all else in them.
dunesea/.build/standard.pch:
	@mkdir -p $(@D)
	printf '#include <%s>\n' algorithm array atomic functional initializer_list iterator limits memory mutex new optional string \
		string_view type_traits utility vector | \
		"$$(dirname "$$(command -v $(SWIFT))")/clang" -x c++-header -std=c++17 -O0 -fPIC -fblocks -w -o $@ -

check: build dunesea-tests needs-test
	$(SWIFT) format lint --strict --recursive $(FORMATTED)
	shellcheck -ax -P SCRIPTDIR -P lib/escapepod -P Tests/boot $(SCRIPTS) $(SUITES)
	shfmt -d $(SCRIPTS) $(PARTS) $(SUITES)
	pyflakes3 $(PYTHON)
	mandoc -T lint -W warning man/*.[1578]
	Tests/graph --check HACKING.md

bench: build dunesea needs-bench
	EP_BIN="$(CURDIR)/.build/release" Tests/bench/run

# Years of backups and prunings, then faults for so many seconds; the same SEED draws the same ones.
soak: build dunesea needs-soak
	PATH="$(CURDIR)/.build/release:$(CURDIR)/bin:$$PATH" EP_DUNESEA="$(CURDIR)/$(DUNESEA)" \
		sh -c 'python3 Tests/soak/history.py $(if $(SEED),--seed $(SEED)) && \
			exec python3 Tests/soak --seconds $(or $(SECONDS),3600) $(if $(SEED),--seed $(SEED))'

# Each target for so many seconds; see Fuzz/run.
fuzz: needs-build
	Fuzz/run $(or $(SECONDS),60)

format:
	$(SWIFT) format --in-place --recursive $(FORMATTED)

install: build needs-install
	$(call put,$(TOOLS:%="$(BUILT)"/%),$(PAGES))
	install -m 0755 bin/escapepod "$(BIN)"
	install -m 0644 lib/escapepod/*.bash "$(LIB)"
	install -d "$(SHARE)"
	install -m 0755 contrib/escapepod-open "$(SHARE)"
	install -m 0644 contrib/RECOVERY.txt "$(SHARE)"
	install -d "$(UNITS)" "$(RULES)"
	install -m 0644 contrib/59-escapepod.rules "$(RULES)"
	for unit in contrib/escapepod-*@.*; do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|' "$$unit" >"$(UNITS)/$${unit##*/}" || exit; \
	done

install-dunesea: dunesea needs-install
	$(call put,"$(DUNESEA)",man/dunesea-protocol.7 man/dunesea.8)
	install -d "$(UNITS)"
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' contrib/dunesea.service >"$(UNITS)/dunesea.service"

# $(call put,BINARIES,PAGES): a machine without Swift gets copies of the Swift libraries that they load, and those of each other.
define put
	install -d "$(BIN)" "$(LIB)"
	from=$$($(SWIFT) -print-target-info | sed -n 's/.*"runtimeResourcePath" *: *"\(.*\)".*/\1/p')/linux; \
	libraries() { \
		for needed in $$(patchelf --print-needed "$$1"); do \
			[ -e "$$from/$$needed" ] && [ ! -e "$(LIB)/$$needed" ] || continue; \
			install -s -m 0644 "$$from/$$needed" "$(LIB)" && libraries "$$from/$$needed" || exit; \
		done; \
	}; \
	for binary in $(1); do \
		install -s -m 0755 "$$binary" "$(BIN)" && \
		patchelf --set-rpath '$$ORIGIN/../lib/escapepod' "$(BIN)/$${binary##*/}" && \
		libraries "$$binary" || exit; \
	done
	for page in $(2); do install -D -m 0644 -t "$(MAN)/man$${page##*.}" "$$page" || exit; done
endef

clean:
	$(SWIFT) package clean
	$(SWIFT) package --package-path dunesea clean

needs-build:
	@Tests/needs $(NEEDED_TO_BUILD) $(NEEDED_TO_RUN)

needs-install:
	@Tests/needs $(NEEDED_TO_INSTALL)

needs-demo:
	@Tests/needs $(NEEDED_TO_SHOW)

needs-test: needs-build needs-install
	@Tests/needs $(NEEDED_TO_TEST) $(NEEDED_TO_START)

needs-boot: needs-test
	@Tests/needs $(NEEDED_TO_BOOT)

needs-soak:
	@Tests/needs $(NEEDED_TO_SOAK)

needs-bench:
	@Tests/needs $(NEEDED_TO_BENCH)
