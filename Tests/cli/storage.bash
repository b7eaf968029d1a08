# Sealed streams as a store sees them: right in front and at the end, noise in between. A store has no key.
# shellcheck shell=bash disable=SC2034

# sealed KIND LENGTH: a whole stream of LENGTH bytes in all, at least 152; KIND is blob or metadata.
sealed() {
    local kind length
    case $1 in blob) kind='\001' ;; metadata) kind='\002' ;; key) kind='\003' ;; pruning) kind='\004' ;; esac
    printf 'EPODSEAL\001\001%b\000\000\000\000\000' "$kind"
    printf 'key-id-of-tests!'
    head -c 32 /dev/zero
    head -c "$(($2 - 80))" /dev/urandom
    printf -v length '%016x' "$2"
    printf 'EPODDONE%b' "$(printf '%s' "$length" | sed 's/../\\x&/g')"
}

sha256() {
    sha256sum "$1" | cut -d' ' -f1
}

# make_store: the empty folder ./store, and where the files of the domain pod will lie in it.
make_store() {
    mkdir store
    store=file:$PWD/store
    blobs=store/escapepod/pod/blobs
    metadata=store/escapepod/pod/metadata
}

# store_blob FILE [URL]: stores it and prints its address.
store_blob() {
    ep-store blob "${2:-$store}" --domain pod <"$1" >"$BATS_TEST_TMPDIR/receipt"
    sha256 "$1"
}

# store_backup SHA256 FOLLOWS [URL]: the metadata of a blob, whose bytes are kept in meta.SHA256.
store_backup() {
    sealed metadata 400 >"$BATS_TEST_TMPDIR/meta.$1"
    ep-store metadata "${3:-$store}" --domain pod --blob "$1" --follows "$2" --parent none <"$BATS_TEST_TMPDIR/meta.$1"
}

# Starts to store a blob of 40 MB and stops in the middle, with the tool waiting for more; its process is $pid.
store_half() {
    sealed blob 40000000 >half
    mkfifo feed
    ep-store blob "$store" --domain pod <feed >half.receipt 2>err 3>&- &
    pid=$!
    exec 5>feed
    head -c 20000000 half >&5
    # It has read all of that.
    until [[ $(awk '$1 == "rchar:" { print $2 }' "/proc/$pid/io") -ge 20000000 ]]; do
        kill -0 "$pid" || return
        sleep 0.02
    done
}

# lacks PATTERN FILE: bash lets a plain `! grep` pass in the middle of a test.
lacks() {
    if grep -E -- "$1" "$2"; then return 1; fi
}
