#!/usr/bin/env bats
# ep-fetch: what it gives, and that the tail of a damaged blob stays where it is.
# shellcheck disable=SC2016,SC2030,SC2031,SC2094,SC2154

load helper
load storage

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    make_store
}

# What comes of a blob that is damaged: 65, this text, and not its last 16 bytes.
keeps_the_tail() {
    local address=$1 text=$2 status=0
    shift 2
    timeout 30 ep-fetch blob "$store" --domain pod "$address" "$@" >out 2>err || status=$?
    [ "$status" -eq 65 ] || { cat err && return 1; }
    grep -qF "$text" err || { cat err && return 1; }
    lacks EPODDONE out
    [ "$(stat -c %s out)" -le "$(($(stat -c %s blob) - 16))" ]
}

@test "nothing there: 10, and the hint names the domains" {
    for order in last history list; do
        refuses 10 "no other domain" ep-fetch "$order" "$store" --domain pod
    done
    sealed blob 500 >blob && store_blob blob
    mkdir store/escapepod/other store/escapepod/lost+found store/escapepod/.Trash
    refuses 10 "hint: the store has other, pod" ep-fetch last "$store" --domain absent
    refuses 10 "no backup of pod" ep-fetch last "$store" --domain pod
    refuses 10 "no blob" ep-fetch blob "$store" --domain pod "$(printf '0%.0s' {1..64})"
    [ -z "$(find store/escapepod/absent 2>/dev/null)" ]
}

@test "a store that is not there is 69, never 10" {
    for order in last history list; do
        refuses 69 "the store is not available" ep-fetch "$order" "$store/absent" --domain pod
    done
    touch file
    refuses 69 "not a directory" ep-fetch last "file:$PWD/file" --domain pod
}

@test "reading changes nothing in the store" {
    refuses 10 "no backup" ep-fetch last "$store" --domain pod
    [ -z "$(ls -A store)" ]
}

@test "last, document, history and list give what is there" {
    previous=none
    for name in one two three; do
        sealed blob 500 >$name && store_blob $name
        store_backup "$(sha256 $name)" "$previous"
        previous=$(sha256 $name)
    done
    touch "$metadata/.partial-0000000000000000" "$metadata/Thumbs.db"
    mkdir "$metadata/lost+found"
    ep-fetch last "$store" --domain pod | cmp - "meta.$(sha256 three)"
    for name in one two; do ep-fetch document "$store" --domain pod "$(sha256 $name)" | cmp - "meta.$(sha256 $name)"; done
    refuses 10 "no backup with the blob" ep-fetch document "$store" --domain pod "$(printf '0%.0s' {1..64})"
    # A series: heads of 48 bytes, the documents, the end.
    series() {
        local name
        for name; do printf 'EPODITEM%016x%s' 400 "$(sha256 "$name")" | sed 's/^EPODITEM//' | xxd -r -p | cat <(printf EPODITEM) - "meta.$(sha256 "$name")"; done
        printf EPODENDS && printf '%016x%064d' $# 0 | xxd -r -p
    }
    ep-fetch history "$store" --domain pod | cmp - <(series one two three)
    ep-fetch history "$store" --domain pod --newest-first | cmp - <(series three two one)
    # One that is damaged is said, and the others follow.
    cp "$metadata/0000000002-$(sha256 two)" kept
    truncate -s -1 "$metadata/0000000002-$(sha256 two)"
    status=0
    ep-fetch history "$store" --domain pod >series 2>err || status=$?
    [[ $status -eq 3 ]]
    [[ $(grep -c "the stored metadata is damaged.*$(sha256 two)" err) -eq 1 && $(stat -c %s series) -eq $((4 * 48 + 2 * 400)) ]]
    [[ $(grep -ac EPODMISS series) -eq 1 ]]
    # It is listed, too: the names alone are read.
    strace -f -o trace -e trace=openat ep-fetch list "$store" --domain pod >listed
    cmp listed <(sha256 one && sha256 two && sha256 three)
    grep -q '"metadata"' trace
    lacks '"[0-9]{10}-' trace
    cp kept "$metadata/0000000002-$(sha256 two)"
    refuses 10 "no backup of other" ep-fetch history "$store" --domain other
    ep-fetch history "$store" --domain other --or-none >series
    [[ $(stat -c %s series) -eq 48 && $(head -c 8 series) = EPODENDS ]]
    [ "$(ep-fetch list "$store" --domain pod)" = "$(sha256 one)
$(sha256 two)
$(sha256 three)" ]
    [ "$(ep-fetch list "$store" --domain pod --json)" = \
        "[{\"sha256\":\"$(sha256 one)\"},{\"sha256\":\"$(sha256 two)\"},{\"sha256\":\"$(sha256 three)\"}]" ]
    mv "$metadata/0000000002-$(sha256 two)" "$metadata/0000000003-$(sha256 two)"
    refuses 65 "two backups have the number 3" ep-fetch last "$store" --domain pod
}

@test "a series of which nothing opens is complained of ten times, and has all its lines" {
    ep-key generate key >/dev/null
    previous=none
    for _ in {1..12}; do
        sealed blob 152 >blob
        store_blob blob >address
        store_backup "$(<address)" "$previous" >record
        previous=$(<address)
    done
    status=0
    ep-fetch history "$store" --domain pod >series
    ep-unseal --key key --kind metadata <series >lines 2>err || status=$?
    [[ $status -eq 3 && $(wc -l <lines) -eq 13 && $(grep -c ' damaged$' lines) -eq 12 ]]
    [[ $(grep -c "^ep-unseal: sealed with another key" err) -eq 10 && $(tail -n 1 err) == "ep-unseal: and 2 more" ]]
}

@test "a blob comes back as it went, and is checked on the way" {
    for length in 152 1048576 2097153 7345678; do
        sealed blob $length >blob && store_blob blob
        ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
        ep-fetch blob "$store" --domain pod "$(sha256 blob)" --size $length --sha512 "$(sha512sum blob | cut -d' ' -f1)" | cmp - blob
    done
    keeps_the_tail "$(sha256 blob)" "7345678 bytes, not the expected 9000000" --size 9000000
    keeps_the_tail "$(sha256 blob)" "longer than the expected 1000000 bytes" --size 1000000
    keeps_the_tail "$(sha256 blob)" "its SHA-512 does not match" --sha512 "$(printf '0%.0s' {1..128})"
}

@test "a flipped byte: 65, and no trailer on standard output" {
    sealed blob 5000000 >blob && store_blob blob
    file=$blobs/$(sha256 blob)
    for offset in 0 8 20 100 1048576 3000000 4999980 4999984 4999999; do
        cp blob "$file"
        flip "$file" "$offset"
        keeps_the_tail "$(sha256 blob)" "the stored blob is damaged"
    done
}

@test "a cut or grown blob: 65, and no trailer" {
    sealed blob 3000000 >blob && store_blob blob
    file=$blobs/$(sha256 blob)
    for length in 0 10 64 152 1048576 2999984 2999999; do
        head -c $length blob >"$file"
        keeps_the_tail "$(sha256 blob)" "the stored blob is damaged"
    done
    cp blob "$file" && echo >>"$file"
    keeps_the_tail "$(sha256 blob)" "the stored blob is damaged"
}

@test "a part that is missing: 65, and no trailer" {
    sealed blob 5000000 >blob
    (ulimit -f 2100 && store_blob blob)
    mv "$blobs/$(sha256 blob).001" aside
    keeps_the_tail "$(sha256 blob)" "the stored blob is damaged"
    mv aside "$blobs/$(sha256 blob).001"
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
}

@test "a read error: 74 with path and offset, and no trailer" {
    sealed blob 5000000 >blob && store_blob blob
    status=0
    timeout 30 strace -f -o trace -e inject=pread64:error=EIO:when=5+ \
        ep-fetch blob "$store" --domain pod "$(sha256 blob)" >out 2>err || status=$?
    [ $status -eq 74 ]
    grep -qE "cannot read: input/output error: .*/$(sha256 blob), byte [0-9]+" err
    lacks EPODDONE out
}

@test "a reader that goes away: 74, and it ends" {
    # Longer than all the buffers, and shorter.
    for length in 9000000 4000000; do
        sealed blob $length >blob && store_blob blob
        (timeout 30 ep-fetch blob "$store" --domain pod "$(sha256 blob)" 2>err || echo $? >status) | head -c 1000 >/dev/null
        [ "$(cat status)" -eq 74 ]
        grep -q "the reader closed the pipe" err
    done
}

@test "usage" {
    refuses 64 "not a valid domain" ep-fetch last "$store" --domain ../x
    refuses 64 "unknown kind of store" ep-fetch last ftp://x --domain pod
    refuses 64 "not an address of a blob" ep-fetch blob "$store" --domain pod ../../etc/passwd
    refuses 64 "not a SHA-512" ep-fetch blob "$store" --domain pod "$(printf '0%.0s' {1..64})" --sha512 12
    refuses 64 "hint: see ep-fetch --help" ep-fetch blob "$store" --domain pod "$(printf '0%.0s' {1..64})" --size -1
}

@test "files that claim more than a drive can hold: 65 at once, and the blob stored again heals them" {
    # In memory: few file systems let a file be as long as the kernel does.
    shm=$(mktemp -d /dev/shm/escapepod-test-XXXXXX)
    local store=file:$shm blobs=$shm/escapepod/pod/blobs address
    sealed blob 500 >blob && address=$(sha256 blob)
    mkdir -p "$blobs"
    for name in "$address".{000,001,002} "$address"; do
        sealed blob 200 >"$blobs/$name"
        truncate -s 9223372036854775807 "$blobs/$name"
        [[ $name != *.000 && $name != *.001 ]] || continue
        refuses 65 "too long for a blob" timeout 20 ep-fetch blob "$store" --domain pod "$address"
        sealed metadata 400 |
            refuses 65 "too long for a blob" timeout 20 ep-store metadata "$store" --domain pod --blob "$address" --follows none --parent none
    done
    rm "$blobs/$address"
    timeout 20 ep-store blob "$store" --domain pod <blob
    timeout 20 ep-fetch blob "$store" --domain pod "$address" | cmp - blob
}

teardown() {
    cleanup
    [[ ! -e ${shm-} ]] || rm -r "$shm"
}

@test "symbolic links in a store are refused" {
    sealed blob 500 >blob && store_blob blob
    store_backup "$(sha256 blob)" none
    mv "$blobs/$(sha256 blob)" aside && ln -s "$PWD/aside" "$blobs/$(sha256 blob)"
    refuses 65 "not a regular file" ep-fetch blob "$store" --domain pod "$(sha256 blob)"
    mv store/escapepod/pod elsewhere && ln -s "$PWD/elsewhere" store/escapepod/pod
    refuses 65 "symbolic link" ep-fetch last "$store" --domain pod
}

@test "a file of the top folder, and nothing else" {
    echo "how to open this" >store/RECOVERY.txt
    ep-fetch file "$store" --domain pod RECOVERY.txt | cmp - store/RECOVERY.txt
    refuses 10 "no file absent" ep-fetch file "$store" --domain pod absent
    mkdir store/folder && ln -s /etc/passwd store/link
    truncate -s 2M store/large
    echo other >absent
    cp store/RECOVERY.txt .
    [[ -z $(ep-fetch differing "$store" --domain pod RECOVERY.txt absent) ]]
    echo more >>RECOVERY.txt
    echo other >"link"
    [[ $(ep-fetch differing "$store" --domain pod RECOVERY.txt absent link) = RECOVERY.txt$'\n'link ]]
    [[ -z $(DUNESEA_TOKEN=token ep-fetch differing dunesea+http://127.0.0.1:1 --domain pod RECOVERY.txt) ]]
    for name in folder link; do refuses 65 "not a regular file" ep-fetch file "$store" --domain pod $name; done
    refuses 65 "larger than" ep-fetch file "$store" --domain pod large
    for name in "" . .. .hidden ../x a/b; do refuses 64 "top folder" ep-fetch file "$store" --domain pod "$name"; done
    DUNESEA_TOKEN=token refuses 10 "has no folder" ep-fetch file dunesea+http://127.0.0.1:1 --domain pod x
}

@test "a copy of a store by the page's own lines is one" {
    sealed blob 5000000 >blob
    (ulimit -f 2100 && store_blob blob)
    store_backup "$(sha256 blob)" none
    sealed key 184 >key
    echo "how to open this" >RECOVERY.txt
    ep-store key "$store" --domain pod --with RECOVERY.txt <key
    mkdir other
    # What a person types from the page, in the store.
    sed -n '/^Copy a store/,/^\.Ed/p' "$EP_REPO/man/escapepod-storage.7" |
        sed '1,/^\.Bd/d;/^\.Ed/d;s|/media/other|../other|' >lines
    grep -q cp lines
    (cd store && bash -eu ../lines)
    diff -r -x .lock -x .reserve store other
    ep-fetch key "file:$PWD/other" --domain pod | cmp - key
    ep-fetch last "file:$PWD/other" --domain pod | cmp - "meta.$(sha256 blob)"
    ep-fetch blob "file:$PWD/other" --domain pod "$(sha256 blob)" | cmp - blob
    # It is a store that one can go on with.
    sealed blob 500 >two && store_blob two "file:$PWD/other"
    store_backup "$(sha256 two)" "$(sha256 blob)" "file:$PWD/other"
}
