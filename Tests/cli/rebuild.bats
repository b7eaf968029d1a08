#!/usr/bin/env bats
# A whole machine: its set of backups, and how it comes back on another disk.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod
load machine

# A machine, and two backups of it: of the notes "first" and "second".
setup_file() {
    ((EUID == 0)) || return 0
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/pod
    mkdir "$BATS_TEST_TMPDIR"
    here
    mkdir tmp store
    make_machine
    escapepod init ./pod.conf --system --volume "$PWD/m" --store "file://$PWD/store" --domain pod \
        --passphrase-command 'echo ten words' >/dev/null
    echo first | tee m/note m/home/note m/srv/data/note >/dev/null
    chmod 711 m/srv && touch -d 2001-02-03 m/srv
    ln m/home/y m/home/z && setfattr -n user.a -v b m/home/y && mkfifo m/home/pipe
    escapepod backup ./pod.conf
    echo second | tee m/note m/home/note m/srv/data/note >/dev/null
    escapepod backup ./pod.conf
    detach
    cd / && mv "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR/prepared"
}

here() {
    cd "$BATS_TEST_TMPDIR" || return
    export TMPDIR=$PWD/tmp ESCAPEPOD_STATE=$PWD/state
    mkdir -p m
}

setup() {
    needs_root
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/pod
    rm -rf --one-file-system "$BATS_TEST_TMPDIR"
    cp -a --sparse=always --reflink=auto "$BATS_FILE_TMPDIR/prepared" "$BATS_TEST_TMPDIR"
    here
}

# What a disk lies on may be gone by another name when it is detached by its path.
teardown() {
    swapoff "$PWD/m/swap/a file" 2>/dev/null || :
    [[ -z ${disk-} ]] || detach || :
    cleanup
}

# running: the machine's disk is attached and mounted; what a run before knew of others is forgotten.
running() {
    attach machine.img
    partx -a "$disk"
    mount_machine
}

rebuilds() { timeout 120 escapepod rebuild --store "file://$PWD/store" --domain pod --key pod.key --disk "$disk" --firmware uefi "$@"; }

# warned_of WARNING…: of just these, in the order of their letters; what it said is in $stderr.
warned_of() { sed -n 's/^ep-layout: warning: //p' <<<"$stderr" | sort | diff - <(printf '%s\n' "$@"); }

# back_up_capsule: once more, as it is now, and nothing else.
back_up_capsule() {
    sed 's/^system=.*//; s/^member=.*//; s|^volume=.*|volume='"$PWD"'/m/.escapepod-system|' pod.conf >capsule.conf
    escapepod backup ./capsule.conf
}

# is_machine NOTE: what is on the disk now is the machine with that note, and can be told from what it was by nothing but fstab.
is_machine() {
    local at
    mount_machine
    for at in m m/home m/srv/data; do [[ $(<"$at/note") = "$1" ]]; done
    tree m/home | grep -v note | diff home.tree -
    [[ $(btrfs subvolume get-default m) = *" path @" ]]
    btrfs subvolume list m | grep -v escapepod | sed 's/.* path //' | sort | diff - <(printf '%s\n' @ @home srv/data)
    [[ $(stat -c '%a %Y' m/srv) = "711 $(date -d 2001-02-03 +%s)" ]]
    grep -qF "/home btrfs defaults,subvol=/@home 0 0" m/etc/fstab
    [[ $(sfdisk --disk-id "$disk") = "$(<disk.id)" ]]
}

# original: what is_machine asks for.
original() {
    running
    tree m/home | grep -v note >home.tree
    sfdisk --disk-id "$disk" >disk.id
    detach
}

@test "a machine comes back on a larger disk, from the store and the key, and its next backup is an incremental one" {
    original
    rm -r state
    empty_disk 400M
    rebuilds --dry-run >out
    grep -qF "the disk is empty" out
    grep -qF "8 backups to read" out
    cmp -n $((300 << 20)) empty.img /dev/zero
    rebuilds
    is_machine second
    [[ ! -e m/.escapepod-restore && $(losetup -nO BACK-FILE | grep -c "$PWD") = 1 ]]
    escapepod backup ./pod.conf >out
    [[ $(grep -c 'incremental backup of' out) = 4 ]]
    jq -c '.subvolumes[] | [.label, .path, .mount]' m/.escapepod-system/machine.json |
        diff - <(printf '%s\n' '["root","@","/"]' '["srv-data","@/srv/data",null]' '["home","@home","/home"]')
    detach
}

@test "what is immutable, append-only or without copy-on-write comes back so, and is no obstacle" {
    flags() { (cd m && find . -xdev -path '*/.escapepod*' -prune -o \( -type f -o -type d \) -print | sort | xargs lsattr -d); }
    running
    mkdir m/home/vm && chattr +C m/home/vm && head -c 2M /dev/urandom >m/home/vm/disk
    echo log >m/home/log && chattr +a m/home/log
    # A subvolume lies in one, and fstab, which is changed, in another.
    chattr +i m/srv m/etc/fstab m/etc m/home/y
    escapepod backup ./pod.conf
    flags >flags.was && (cd m/home && lsattr -d vm vm/disk log y) >>flags.was
    detach
    rm -r state
    original
    empty_disk 1G
    rebuilds
    is_machine second
    diff flags.was <(flags && cd m/home && lsattr -d vm vm/disk log y)
    escapepod backup ./pod.conf >out
    [[ $(grep -c 'incremental backup of' out) = 4 ]]
    detach
}

@test "an earlier set, and no older one than is known" {
    original
    empty_disk 300M
    rebuilds --generation 1
    is_machine first
    detach
    empty_disk 300M
    refuses 65 "but there was a generation 3" rebuilds --at-least-generation 3
    refuses 10 "generation 7" rebuilds --generation 7
    cmp -n $((300 << 20)) empty.img /dev/zero
    detach
}

@test "killed at every step, the same command goes on" {
    local step
    original
    empty_disk 400M
    mkdir shim
    # Each program ends the run once, before or after its work.
    cat >shim/one <<'EOF'
#!/bin/bash
name=${0##*/} real=$(PATH=${PATH//"$SHIM:"/} command -v "${0##*/}")
if [[ $name = "$VICTIM" && ! -e $SHIM/done.$STEP ]]; then
    touch "$SHIM/done.$STEP"
    [[ $STEP != after-* ]] || "$real" "$@"
    kill -9 -- -"$(<"$SHIM/group")"
fi
exec "$real" "$@"
EOF
    chmod +x shim/one
    for step in sfdisk partx mkfs.vfat mkfs.btrfs mkswap mcopy; do ln -s one "shim/$step"; done
    export SHIM=$PWD/shim VICTIM STEP
    for step in before-sfdisk after-sfdisk before-partx before-mkfs.vfat after-mkfs.btrfs before-mcopy after-mkswap; do
        STEP=$step VICTIM=${step#*-}
        stopped
    done
    VICTIM=none
    # And of escapepod's own: the second snapshot that is received, before and after it has its place; the end.
    stand_in ep-snap <<'EOF'
[[ $1 != "$VICTIM" ]] || { echo >>"$SHIM/calls"; (($(wc -l <"$SHIM/calls") != CALL)) || { [[ $STEP != after ]] || "$real" "$@"; kill -9 -- -"$(<"$SHIM/group")"; }; }
exec "$real" "$@"
EOF
    export CALL
    # The capsule's own come first, each time.
    while read -r VICTIM STEP CALL; do
        rm -f shim/calls
        stopped
    done <<'EOF'
receive before 3
receive after 4
promote before 2
promote after 2
receive after 3
promote after 2
protect before 2
protect after 2
EOF
    no_stand_in
    stand_in ep-layout <<'EOF'
[[ $1 != finish ]] || { [[ $STEP != after ]] || "$real" "$@"; kill -9 -- -"$(<"$SHIM/group")"; }
exec "$real" "$@"
EOF
    STEP=before stopped
    no_stand_in
    rebuilds
    is_machine second
    [[ -z $(ls -d m/.escapepod-r* tmp/* 2>/dev/null) ]]
    detach
}

# stopped: a rebuild in a session of its own, which the shim ends.
stopped() {
    local status=0
    # shellcheck disable=SC2016 # it is for the other shell
    PATH=$PWD/shim:$PATH setsid --wait bash -c 'echo $$ >"$SHIM/group"; PATH="$0:$SHIM:$PATH" exec "$@"' "$(dirname "$(command -v escapepod)")" \
        escapepod rebuild --store "file://$PWD/store" --domain pod --key pod.key --disk "$disk" --firmware uefi </dev/null >log 2>&1 || status=$?
    ((status == 137)) || { echo "$VICTIM $STEP: status $status" && cat log && return 1; }
    # The kernel lets go of what the dead had mounted.
    eventually is_free "$disk"
}

@test "a run that fails when something is in place loses nothing of it" {
    original
    empty_disk 300M
    stand_in ep-snap <<'EOF'
[[ $1 != receive ]] || { echo >>"$here/calls"; (($(wc -l <"$here/calls") < 5)) || exit 74; }
exec "$real" "$@"
EOF
    run -74 rebuilds
    no_stand_in
    rebuilds
    is_machine second
    detach
}

@test "subvolumes that lie in folders and in subvolumes that are not mounted" {
    running
    umount m/home m
    mount -o subvolid=5 "${disk}p2" m
    # As some distributions have it: the root is a snapshot.
    btrfs -q subvolume create m/top && mkdir -p m/top/.snapshots/1 m/vols
    mv m/@ m/top/.snapshots/1/snapshot && mv m/@home m/vols/home && btrfs -q subvolume create m/else
    umount m
    mount -o subvol=top/.snapshots/1/snapshot "${disk}p2" m && mount -o subvol=vols/home "${disk}p2" m/home
    escapepod backup ./pod.conf
    jq -e '."left-out" == ["else: a subvolume that is not mounted"]' m/.escapepod-system/machine.json
    detach
    empty_disk 300M
    run -3 rebuilds
    grep -qF "/etc/fstab names the subvolume @, which has not come back" <<<"$output"
    mount -o subvolid=5 "${disk}p2" m
    btrfs subvolume list m | grep -v escapepod | sed 's/.* path //' | sort |
        diff - <(printf '%s\n' top top/.snapshots/1/snapshot top/.snapshots/1/snapshot/srv/data vols/home)
    [[ $(<m/vols/home/note) = second && $(<m/top/.snapshots/1/snapshot/srv/data/note) = second ]]
    detach
}

@test "a swapfile in use is made anew, and is refused where it lies beside other files" {
    local file="$PWD/m/swap/a file" identity
    running
    btrfs -q subvolume create m/swap
    btrfs filesystem mkswapfile --size 8m "$file" >/dev/null
    identity=$(blkid -p -s UUID -o value "$file")
    swapon "$file"
    echo "linux resume_offset=1" >>m/boot/grub/grub.cfg
    escapepod backup ./pod.conf
    jq -e '.swapfiles[0] | .subvolume == "@/swap" and .name == "a file" and .size == 8388608' m/.escapepod-system/machine.json
    touch m/swap/other
    run -65 ep-layout members --root "$PWD/m"
    [[ $output == *"a swapfile in use lies beside other files: /swap"* ]]
    swapoff "$file"
    detach
    empty_disk 300M
    run -3 rebuilds
    [[ $output == *"grub.cfg names the place of a swapfile"* ]]
    mount_machine
    [[ $(blkid -p -s UUID -o value "$file") = "$identity" && $(stat -c '%s %a' "$file") = "8388608 600" ]]
    btrfs subvolume list m | grep -q ' path swap$'
    swapon "$file" && swapoff "$file"
    detach
}

@test "what keeps a machine from starting is said" {
    running
    echo "search --fs-uuid 11111111-2222-3333-4444-555555555555" >>m/boot/grub/grub.cfg
    touch m/boot/vmlinuz-9
    echo "UUID=22222222-3333-4444-5555-666666666666 /gone ext4 defaults 0 2" >>m/etc/fstab
    echo "PARTUUID=$(blkid -p -s PART_ENTRY_UUID -o value "${disk}p3") none swap sw 0 0" >>m/etc/fstab
    echo "secret LABEL=secret none luks" >m/etc/crypttab
    escapepod backup ./pod.conf
    detach
    empty_disk 300M
    run -3 --separate-stderr rebuilds
    warned_of \
        "/boot/grub/grub.cfg names 11111111-2222-3333-4444-555555555555, which is not on this disk" \
        "/etc/crypttab names secret, which is not on this disk" \
        "/etc/fstab names 22222222-3333-4444-5555-666666666666, which is not on this disk" \
        "the kernel 9 has no modules"
    # The way in that is told works.
    way_in=$(sed -n 's/^ep-layout: hint: .*:  //p' <<<"$stderr" | head -n 1)
    eval "${way_in%/mnt} $PWD/m"
    [[ -e m/boot/vmlinuz-9 && ! -e m/etc/fstab.before-rebuild ]]
    detach
}

@test "what a /boot of its own or the ESP names, and a disk's own name" {
    running
    mkdir -p efi/loader/entries m/boot/efi
    echo "options root=UUID=33333333-4444-5555-6666-777777777777" >efi/loader/entries/one.conf
    mcopy -s -i "${disk}p1" efi/loader ::
    printf '%s\n' "/dev/disk/by-id/ata-GONE-part3 none swap sw 0 0" \
        "/dev/disk/by-uuid/$(blkid -p -s UUID -o value "${disk}p3") none swap sw 0 0" >>m/etc/fstab
    escapepod backup ./pod.conf
    detach
    empty_disk 300M
    run -3 --separate-stderr rebuilds
    warned_of \
        "/efi/loader/entries/one.conf names 33333333-4444-5555-6666-777777777777, which is not on this disk" \
        "/etc/fstab names /dev/disk/by-id/ata-GONE-part3, which is not on this disk"
    detach
}

@test "a machine that is encrypted, where nothing could open it: said before anything is written" {
    running
    jq -c '.disk.partitions[1].encryption = {kind: "luks2", uuid: "15b9dd33-5b24-4fe4-8b63-d1fd27d6bd3a", label: "",
        cipher: "aes-xts-plain64", "key-size": 512, sector: 512, offset: 16777216, derivation: "argon2id", hash: "sha256",
        flags: [], lost: ["systemd-tpm2"]}' m/.escapepod-system/machine.json >machine.json
    cp machine.json m/.escapepod-system/machine.json
    back_up_capsule
    detach
    empty_disk 400M
    run -0 rebuilds --dry-run
    [[ $output == *"LUKS2  btrfs"* && $output == *"one new passphrase opens it; lost: systemd-tpm2"* ]]
    # This kernel may have a device mapper.
    export -f rebuilds
    export disk
    run -69 unshare --mount --propagation slave bash -c '[[ ! -e /dev/mapper ]] || mount -t tmpfs none /dev/mapper; rebuilds --passphrase-command "echo words"'
    [[ $output == *"the machine has encrypted partitions, and this kernel has no device mapper"* ]]
    [[ -z $(blkid -p -o export "$disk" || :) ]]
    detach
}

@test "an initramfs for the disk that is gone is made anew, by the machine's own program, which sees nothing else" {
    local file
    running
    # What it needs to run.
    mkdir -p m/usr/{bin,sbin} m/etc/initramfs-tools m/var/tmp && ln -s usr/bin usr/sbin m
    for file in /bin/sh $(ldd /bin/sh | grep -o '/[^ ]*'); do install -D "$(readlink -f "$file")" "m$file"; done
    printf '# as it is\nMODULES=most\nCOMPRESS=zstd\n' >m/etc/initramfs-tools/initramfs.conf
    mkdir m/etc/initramfs-tools/conf.d && echo MODULES=dep >m/etc/initramfs-tools/conf.d/driver-policy
    cat >m/usr/sbin/update-initramfs <<'END'
#!/bin/sh
# What it finds, and what it can do.
cd / && echo "$*" && for it in initramfs.conf conf.d/driver-policy; do while read -r line; do echo "$line"; done </etc/initramfs-tools/"$it"; done
for it in /proc/[0-9]* /proc/net/dev /dev/* /sys* /home/* /work* /tmp/*; do [ -e "$it" ] && echo "$it"; done
while read -r name _; do echo "$name"; done </proc/net/dev
while read -r name value; do case $name in CapEff:) echo "$value" ;; esac; done </proc/self/status
(: >/boot/initrd.img-6) 2>/dev/null || echo "cannot write"
END
    sed -i 's|^cd /.*|{ &|; s|^(: .*|} >/boot/initrd.img-6|' m/usr/sbin/update-initramfs
    chmod +x m/usr/sbin/update-initramfs
    echo old >m/boot/initrd.img-6
    escapepod backup ./pod.conf
    # As on the machine that is gone.
    sed -i 's/"driver":""/"driver":"nvme"/' m/.escapepod-system/machine.json
    grep -q '"driver":"nvme"' m/.escapepod-system/machine.json
    back_up_capsule
    detach
    empty_disk 300M
    rebuilds >out
    grep -qFx "  a new initramfs, since the old one was made for the driver nvme" out
    mount_machine
    # Its own process and the one above it, no network but for the way to itself, and no device that leads anywhere.
    sed -n 1,5p m/boot/initrd.img-6 | diff - <(printf '%s\n' "-u -k all" "# as it is" MODULES=most COMPRESS=zstd MODULES=most)
    grep -qx /home/note m/boot/initrd.img-6
    [[ $(grep -c '^/proc/[0-9]' m/boot/initrd.img-6) -le 2 && $(grep -c ':$' m/boot/initrd.img-6) = 1 ]]
    run ! grep -qE '^/(dev/(loop|vd|sd|nvme|mapper|mem|kvm)|sys|work|tmp)' m/boot/initrd.img-6
    [[ $(tail -n 1 m/boot/initrd.img-6) = 000000000000001b ]]
    # Its configuration is as it was.
    grep -qx MODULES=dep m/etc/initramfs-tools/conf.d/driver-policy
    [[ -z $(find m/tmp m/run m/var/tmp -mindepth 1) ]]
    detach

    # Where it cannot be made, or is not, that is said.
    for file in "exit 3" ":"; do
        running
        printf '#!/bin/sh\n%s\n' "$file" >m/usr/sbin/update-initramfs
        escapepod backup ./pod.conf
        sed -i 's/"driver":""/"driver":"nvme"/' m/.escapepod-system/machine.json
        escapepod backup ./capsule.conf
        detach
        empty_disk 300M
        run -3 --separate-stderr rebuilds
        [[ $stderr = *"warning: the initramfs was made for the driver nvme"*"could not be made"*"update-initramfs -u -k all"* ]]
        mount_machine
        [[ $(<m/boot/initrd.img-6) = old ]]
        detach
    done
}

@test "a root that is hostile leads nowhere" {
    local folder
    running
    # The place of a member, in the root that comes back, is a link to a folder of the rescue system.
    mkdir outside
    umount m/home && mv m/srv m/moved && ln -s "$PWD/outside" m/srv && mount_home
    escapepod backup ./pod.conf --member root
    folder=$(jq -r .folder m/.escapepod-system/members.json | head -n 1)
    {
        grep -v '"label":"root"' m/.escapepod-system/members.json
        ep-fetch last "file://$PWD/store" --domain root.pod | ep-unseal --kind metadata --key pod.key |
            ep-meta member --label root --folder "$folder"
    } >list
    cp list m/.escapepod-system/members.json
    sed 's/^system=.*//; s/^member=.*//; s|^volume=.*|volume='"$PWD"'/m/.escapepod-system|' pod.conf >capsule.conf
    escapepod backup ./capsule.conf >/dev/null
    detach
    empty_disk 300M
    run -65 rebuilds
    grep -qF "something else is in the place of a subvolume" <<<"$output"
    [[ -z $(ls -A outside) ]]
    detach
}

mount_home() { mount -o subvol=@home "${disk}p2" m/home; }

@test "a set that was cut anywhere leaves the set before it, and the next backup goes on" {
    original
    running
    echo third | tee m/note m/home/note m/srv/data/note >/dev/null
    stand_in ep-store <<'EOF'
[[ $* != *"--domain srv-data.pod"* ]] || exit 74
exec "$real" "$@"
EOF
    refuses 74 "" escapepod backup ./pod.conf || [[ -s out ]]
    no_stand_in
    [[ $(newest) = "2 incremental" ]]
    # Nothing of the snapshots that were not sent stays.
    [[ -z $(find m -path '*current-state') ]]
    detach
    empty_disk 300M
    rebuilds
    is_machine second
    detach
    running
    escapepod backup ./pod.conf >out
    [[ $(newest) = "3 incremental" ]]
    detach
    empty_disk 300M
    rebuilds
    is_machine third
    detach
}

@test "whole sets are pruned, and of each member what no other one names; cut, gone on with, and undone" {
    local all=("1 2 3" "1 2 3" "1 2 3 4 5") left=("1 3 4" "1 3 4" "1 4 5 6")
    original
    running
    # Of no set: behind the second, and in front of the third.
    escapepod backup ./pod.conf --member home
    echo third | tee m/note m/home/note m/srv/data/note >/dev/null
    later 28 escapepod backup ./pod.conf --full-every 4w
    printf '%s\n' keep_last=1 minimum_age=0 prune=yes >>pod.conf
    # This is ahead of all, and prunes nothing.
    escapepod backup ./pod.conf --member home
    are_stored "${all[@]}"
    run -64 prune ./pod.conf --member home
    [[ $output = *"a member is not pruned alone: home.pod"*hint:* ]]
    run -65 prune ./pod.conf --domain home.pod
    [[ $output = *"no set of home.pod names the backups of its members"*hint:* ]]

    # Its own history does not say what a set needs of a member.
    listing store state >before
    run -0 prune ./pod.conf --keep-last 2 --dry-run
    [[ $output = "generation 1, full, "*"0 of 3 backups go"*"home.pod:"*"generation 2, incremental, "*": stays: generation 2 of the machine needs it"* ]]
    [[ $output = *"home.pod:"*"generation 3, incremental, "*": goes"*"1 of 5 backups go"*"root.pod:"*"0 of 3 backups go"* ]]
    listing store state | diff before -

    stand_in ep-store <<<'[[ "$* " = "pruning "*" --domain home.pod "* ]] || exec "$real" "$@"; kill -KILL "$PPID"'
    run -137 prune ./pod.conf
    no_stand_in
    are_stored "1 3" "1 2 3" "1 2 3 4 5"
    run -0 escapepod backup ./pod.conf
    [[ $output = *"0 of 3 backups go"*"home.pod:"*"2 of 6 backups go"*"root.pod:"*"1 of 4 backups go"* ]]
    are_stored "${left[@]}"
    escapepod verify ./pod.conf >out
    [[ $(grep -c 'all of it is whole' out) = 4 ]]
    detach
    empty_disk 300M
    rebuilds
    is_machine third
    detach
    # A set that has gone comes back when what it names has.
    stand_in ep-store <<<'[[ "$* " = "recover "*" --domain pod "* ]] || exec "$real" "$@"; kill -KILL "$PPID"'
    run -137 prune ./pod.conf --undo
    no_stand_in
    are_stored "1 3 4" "1 2 3 4" "1 2 3 4 5 6"
    empty_disk 300M
    refused 10 rebuilds --generation 2
    # For which no configuration is needed.
    prune --store "file://$PWD/store" --domain pod --key pod.key --undo
    are_stored "1 2 3 4" "1 2 3 4" "1 2 3 4 5 6"
    rebuilds --generation 2
    is_machine second
    detach
}

prune() { timeout 60 escapepod prune "$@"; }

# are_stored GENERATIONS…: those whose blobs are in the store, of the machine, its root and its home.
are_stored() {
    local domain name
    for domain in pod root.pod home.pod; do
        for name in "store/escapepod/$domain/metadata"/*; do
            [[ ! -e store/escapepod/$domain/blobs/${name##*-} ]] || basename "${name%-*}" | sed 's/^0*//'
        done | xargs
    done | diff <(printf '%s\n' "$@") -
}

@test "what is missing, damaged or mixed up is found, with --verify-first before the disk is touched" {
    local blob
    empty_disk 300M
    blob=$(find store/escapepod/home.pod/blobs -type f | head -n 1)
    flip "$blob" 200
    refused 65 rebuilds --verify-first
    # So is what would be overwritten, of itself.
    refused 65 rebuilds --size $((300 << 20))
    grep -q "  verifying home.pod" out
    flip "$blob" 200
    mv "$blob" away
    refused 10 rebuilds --verify-first
    mv away "$blob"
    # The history of another member.
    mv store/escapepod/home.pod store/escapepod/away && cp -a store/escapepod/root.pod store/escapepod/home.pod
    refused 65 rebuilds
    rm -r store/escapepod/home.pod
    refused 10 rebuilds
    mv store/escapepod/away store/escapepod/home.pod
    # Otherwise what is whole is in its place; when the rest is mended, the same command goes on.
    flip "$blob" 200
    run -65 rebuilds
    [[ $output = *"restoring home.pod"*"${blob##*/}"* ]]
    flip "$blob" 200
    # One that is ahead is no harm.
    rebuilds >out
    grep -q "  restoring home.pod" out && run ! grep -q "  restoring root.pod" out
    detach
}

# refused STATUS COMMAND: and the disk is as it was.
refused() {
    local status=0
    "${@:2}" >out 2>err || status=$?
    ((status == $1)) || { echo "status $status" && cat out err && return 1; }
    cmp -n $((300 << 20)) empty.img /dev/zero
}

@test "a capsule of another making: newer, hostile, without its list" {
    local edit
    running
    sed 's/^system=.*//; s/^member=.*//; s|^volume=.*|volume='"$PWD"'/m/.escapepod-system|' pod.conf >capsule.conf
    cp m/.escapepod-system/machine.json good
    for edit in 's/"version":1/"version":2/' 's/"path":"@home"/"path":"..\/..\/etc"/'; do
        sed "$edit" good >m/.escapepod-system/machine.json
        ! cmp -s good m/.escapepod-system/machine.json
        escapepod backup ./capsule.conf >/dev/null
        mv machine.img away.img && machine=$disk
        empty_disk 300M
        refused 65 rebuilds
        losetup -d "$disk"
        disk=$machine && mv away.img machine.img
    done
    cp good m/.escapepod-system/machine.json
    rm m/.escapepod-system/members.json
    escapepod backup ./capsule.conf >/dev/null
    detach
    empty_disk 300M
    refused 65 rebuilds
    grep -qF "names no backups" err
    detach
}

@test "a disk that fails in the middle: the run says so, and goes on when it is mended" {
    original
    # The device of the disk lies on a file system that is full before all is written.
    mkdir small && mount -t tmpfs -o size=4M none small
    truncate -s 300M small/empty.img
    attach small/empty.img
    run ! rebuilds
    ((status == 74 || status == 69)) || { echo "$status: $output" && false; }
    mount -o remount,size=400M small
    eventually is_free "$disk"
    rebuilds
    is_machine second
    detach
}

@test "status, verify, drill and sheet speak of all of it" {
    running
    escapepod verify ./pod.conf >out
    [[ $(grep -c 'all of it is whole' out) = 4 ]]
    escapepod drill ./pod.conf --scratch "$PWD/tmp" >out
    [[ $(grep -c 'all identical' out) = 4 ]]
    escapepod status ./pod.conf >out
    [[ $(grep -c 'last proven    restorable: yes\|last proven' out) = 4 ]]
    escapepod status ./pod.conf --json | jq -r .domain | sort | diff - <(printf '%s\n' home.pod pod root.pod srv-data.pod)
    escapepod sheet ./pod.conf | grep -A 5 'REBUILD THE MACHINE' | grep -qF 'escapepod rebuild --store'
    # One member's trouble is the status of all.
    flip "$(find store/escapepod/srv-data.pod/blobs -type f | head -n 1)" 100
    refused_by_verify
    escapepod list ./pod.conf --member home | tail -n 1 | grep -q '^ *2 '
    escapepod restore ./pod.conf --member home --to "$PWD/m/home/back"
    [[ $(<m/home/back/note) = second ]]
    refuses 64 "no such member: other" escapepod list ./pod.conf --member other
    detach
}

refused_by_verify() {
    local status=0
    escapepod verify ./pod.conf >out 2>err || status=$?
    ((status == 65))
}
