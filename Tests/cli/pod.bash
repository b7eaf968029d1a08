# A small system to back up, for the suites of the whole pipeline: a btrfs volume, a store, a key, a configuration.
# shellcheck shell=bash disable=SC2016,SC2119,SC2120,SC2154

# make_pod [URL]: the volume ./vol with a file of 3 MiB, the folder ./store, and ./pod.conf that puts them together.
make_pod() {
    needs_root
    volume=$PWD/vol
    store=${1:-file://$PWD/store}
    mkdir -p store tmp
    export TMPDIR=$PWD/tmp ESCAPEPOD_STATE=$PWD/state
    make_btrfs vol 256M
    head -c 3M /dev/urandom >vol/big
    echo first >vol/note
    (umask 077 && pod_key >pod.key)
    configure
}

configure() {
    printf '%s\n' domain=pod "volume=$volume" "store=$store" "key=$PWD/pod.key" >pod.conf
}

# prepare COMMAND…: for setup_file, once for all tests of a file: a pod, and what COMMAND makes of it.
prepare() {
    ((EUID == 0)) || return 0
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/pod
    mkdir "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
    make_pod
    "$@"
    cleanup
    # Where another test's mount namespace holds them, they are written to for longer.
    eventually released "$BATS_TEST_TMPDIR"
    cd / && mv "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR/prepared"
}

# released DIR: no loop device has a file of that folder.
released() { ! losetup -nO BACK-FILE | grep -qF "$1/"; }

# prepared: for setup: a copy of that, with its images mounted, as the working folder. It lies where the pod was made, as the
# names of its slots and its records come of the store's path.
prepared() {
    local image
    needs_root
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/pod
    rm -rf --one-file-system "$BATS_TEST_TMPDIR"
    cp -a --sparse=always --reflink=auto "$BATS_FILE_TMPDIR/prepared" "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
    for image in *.img; do
        # Before Linux 6.3 a file system that was mounted once is not forgotten, and none that is older is mounted in its place.
        btrfstune -fm "$image"
        mount -o loop "$image" "${image%.img}"
    done
    volume=$PWD/vol
    store=file://$PWD/store
    export TMPDIR=$PWD/tmp ESCAPEPOD_STATE=$PWD/state
}

# Three backups, of the notes "first", "second" and "third"; the big file is new in the second.
three_backups() {
    escapepod backup ./pod.conf
    head -c 3M /dev/urandom >vol/big
    echo second >vol/note
    escapepod backup ./pod.conf
    echo third >vol/note
    escapepod backup ./pod.conf
}

# later DAYS COMMAND…: what it plans is planned as if so many days were gone.
later() {
    stand_in ep-plan <<<'exec "$real" "$@" --now "$((EPOCHSECONDS + '"$1"' * 86400))"'
    "${@:2}"
    no_stand_in
}

# Five backups by the suite's backs_up NOTE DAYS: 1 full, 2 and 3 behind it; 4 differential, 5 behind it.
a_long_chain() {
    local note
    for note in 1 2 3; do backs_up "$note" 0; done
    for note in 4 5; do backs_up "$note" 28; done
}

# nothing_yet: as if the volume had not been backed up to the store.
nothing_yet() {
    btrfs -q subvolume delete vol/.escapepod/*/*
    rm -r vol/.escapepod state store/escapepod
}

# pod_key, wrapped_key: on standard output; the passphrase is "correct horse". They are of the test vectors, among which the key
# is wrapped at a cost that takes no time.
pod_key() { echo EPOD-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SYZF8XJ; }
wrapped_key() { sed '1,/^$/d' "$EP_REPO/Tests/vectors/key-good"; }

# The store has the key, too: what escapepod status misses otherwise.
keep_key() { wrapped_key | ep-store key "$store" --domain pod "$@"; }

# The store's head, as one may compare it; "none" where there is none.
head_of_store() {
    local status=0
    ep-fetch last "$store" --domain pod >head.sealed 2>/dev/null || status=$?
    case $status in
    0) sha256sum <head.sealed ;;
    10) echo none ;;
    *) echo "status $status" ;;
    esac
}

# The folder with the slots of the only store that the volume has been backed up to.
slots() { echo "$volume"/.escapepod/*; }

# Names, types, lengths and times of everything in these folders, to see that nothing was touched.
listing() { find "$@" -printf '%p %y %m %s %T@\n' | sort; }

# The newest backup in `escapepod list`: its generation and type.
newest() { escapepod list ./pod.conf | tail -n 1 | awk '{ print $1, $2 }'; }

# tree DIR: all that a person would miss: content, modes, owners, times, extended attributes, links, holes.
tree() (
    cd "$1" || exit
    find . -path ./.escapepod -prune -o -printf '%P %y %m %U:%G %T@ %n %l\n' | sort
    find . -path ./.escapepod -prune -o -type f -printf '%P %s %b\n' | sort
    find . -path ./.escapepod -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
    find . -path ./.escapepod -prune -o -print0 | sort -z | xargs -0 getfattr -dhm - --
    # Which names are one file.
    find . -path ./.escapepod -prune -o -links +1 -type f -printf '%i %P\n' | sort |
        awk '{ printf "%s%s", ($1 == last ? " = " : "\n"), $2; last = $1 } END { print "" }' | sort
)

# new_machine: the volume and what the machine knew are gone for good, and ./new is an empty file system.
new_machine() {
    rm -rf state
    umount vol
    rm vol.img
    make_btrfs new "${1:-256M}"
}

# restores NOTE: a restore succeeds, with that note, and nothing is left of it but the subvolume.
restores() {
    timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(<new/pod/note) = "$1" ]]
    [[ $(ls -A new) = pod ]]
    [[ $(cd new/pod && echo .[!.]* *) = ".escapepod big note" ]]
}

# stand_in TOOL: from here on the text on standard input runs in place of TOOL, with `real` as the tool's own path.
# escapepod looks for the tools beside itself first, so it moves along, and ../lib with it.
stand_in() {
    mkdir -p stand-in
    [[ -e stand-in/escapepod ]] || { cp "$EP_REPO/bin/escapepod" stand-in/ && ln -s "$EP_REPO/lib" lib; }
    {
        echo '#!/bin/bash'
        printf 'real=%q here=%q\n' "$(PATH=${PATH//"$PWD/stand-in:"/} command -v "$1")" "$PWD"
        cat
    } >"stand-in/$1"
    chmod +x "stand-in/$1"
    PATH=$PWD/stand-in:${PATH//"$PWD/stand-in:"/}
    hash -r
}

# The tools themselves again.
no_stand_in() {
    PATH=${PATH//"$PWD/stand-in:"/}
    hash -r
}
