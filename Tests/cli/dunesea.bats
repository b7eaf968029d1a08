#!/usr/bin/env bats
# The real server over loopback, driven with curl.
# shellcheck disable=SC2030,SC2031,SC2059,SC2094,SC2153,SC2154

load helper
load dunesea

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export DUNESEA_DIR=$BATS_TEST_TMPDIR/store
    authorize pod.example.org --append --read > auth
}

# authorize DOMAIN FLAG…: a new token, as curl sends it.
authorize() { echo "Authorization: Bearer $(dunesea_token "$@")"; }

# serve OPTION…: starts a server; sets store too.
serve() {
    start_dunesea "$@"
    store=$DUNESEA_URL/v1/pod.example.org
}

# sealed KIND BYTES: what has the outer form of a sealed stream, 1 a blob, 2 a document, 3 a key.
sealed() {
    local length=$((120 + $2 + 16)) hex i
    hex=$(printf %016x "$length")
    printf "EPODSEAL\x01\x01\x0$1\x00"
    head -c 52 /dev/zero
    head -c $((56 + $2)) /dev/urandom
    printf EPODDONE
    for i in 0 2 4 6 8 10 12 14; do printf "\x${hex:i:2}"; done
}

address() { sha256sum < "$1" | cut -c 1-64; }

# as FILE CURL-ARGUMENT…: a request with that token; its status on standard output, its answer in body and headers.
as() {
    local auth=$1
    shift
    curl -sS --max-time 60 -D headers -o body -w '%{http_code}\n' -H "@$auth" "$@"
}

# ask STATUS CURL-ARGUMENT…: has to get that status.
ask() {
    local wanted=$1 got
    shift
    got=$(as auth "$@")
    [[ $got == "$wanted" ]] || { echo "$got, not $wanted: $*" && cat body && return 1; }
}

# field NAME: of the last answer.
field() { sed -n "s/^$1: \(.*\)\r$/\1/Ip" headers; }

begin() {
    ask 201 -X POST "$store/uploads"
    id=$(< body)
    upload=$store/uploads/$id
}

append() { ask "$1" -H "Upload-Offset: $2" -X PATCH -T "$3" "$upload"; }

# finish STATUS FILE
finish() { ask "$1" -X PUT "$store/blobs/$(address "$2")?upload=$id&length=$(stat -c %s "$2")"; }

# put FILE: the three steps.
put() { begin && append 204 0 "$1" && finish 201 "$1"; }

# inject CALL PATH FAULT: the server's next such call there ends so.
inject() {
    trace "$1" -e "inject=$1:$3" -P "$(realpath -m "$2")"
}

# trace CALLS OPTION…: the server's calls go to the file trace from now on.
trace() {
    strace -f -qq -o trace -e "trace=$1" "${@:2}" -p "$DUNESEA_PID" 2> strace.err 3>&- &
    tracer=$!
    eventually tracing
}

# tracing: whether strace has taken hold of the server.
tracing() { [[ $(awk '/TracerPid/ { print $2 }' "/proc/$DUNESEA_PID/status") == "$tracer" ]]; }

untrace() {
    kill "$tracer"
    wait "$tracer" || true
}

nothing_stays() {
    [[ -z $(find store/escapepod/pod.example.org/blobs store/dunesea/uploads/pod.example.org -type f) ]]
}

# not COMMAND…: bash lets a test go on after "! COMMAND".
not() { ! "$@"; }

# eventually COMMAND…: within ten seconds.
eventually() {
    for _ in {1..100}; do
        ! "$@" || return 0
        sleep 0.1
    done
    return 1
}

@test "the protocol page's own lines work" {
    serve
    sealed 1 5000 > blob
    sealed 2 300 > document
    sealed 3 48 > key
    awk '/^\.Bd -literal/ { on = 1; next } /^\.Ed/ { on = 0 } on' "$EP_REPO/man/dunesea-protocol.7" > session
    [[ $(grep -c curl session) -ge 14 ]]
    store=$store bash -euo pipefail session > out
    grep -qi '^Upload-Offset: 100' out
    cmp document last
    cmp document next
    cmp blob copy
    cmp key wrapped
    grep -qi "^Backup-Blob: $(address blob)" headers
    [[ $(tail -1 out) == "no backup after that one" ]]
    [[ $(dunesea check --dir store) == "1 blobs, 5136 bytes, 1 backups, 1 keys, 0 faults" ]]
}

@test "killed in mid-upload, it goes on from what it had acknowledged" {
    serve
    sealed 1 3000000 > blob
    begin
    head -c 1000000 blob > piece
    append 204 0 piece
    (curl -sS --limit-rate 500k -H @auth -H "Upload-Offset: 1000000" -X PATCH -T <(tail -c +1000001 blob) \
        "$upload" 2> curl.err 3>&- || true) &
    client=$!
    part=store/dunesea/uploads/pod.example.org/$id
    growing() { [[ $(stat -c %s "$part") -gt 1400000 ]]; }
    eventually growing
    kill_dunesea
    wait "$client"
    serve
    upload=$store/uploads/$id
    ask 204 -I "$upload"
    offset=$(field Upload-Offset)
    [[ $offset -gt 1000000 && $offset -lt 3000000 ]]
    tail -c +$((offset + 1)) blob > rest
    append 204 "$offset" rest
    finish 201 blob
    curl -sS -H @auth "$store/blobs/$(address blob)" | cmp - blob
    dunesea check --dir store
}

@test "killed again and again, it has all that it acknowledged and no half" {
    local round file known=0
    grown() { [[ $(wc -l < heads) -gt $((known + 1)) ]]; }
    touch heads
    for round in {1..8}; do
        serve
        (
            head=$(curl -fsS -H @auth -o previous -w '%header{backup-blob}' "$store/metadata/last") || head=none
            for file in {1..500}; do
                sealed 1 $((round * 1000 + file)) > "blob-$round"
                sealed 2 300 > "document-$round"
                put "blob-$round" || break
                address "blob-$round" >> acknowledged
                [[ $(as auth -T "document-$round" "$store/metadata/$(address "blob-$round")?follows=$head") == 201 ]] || break
                head=$(address "blob-$round")
                echo "$head" >> heads
            done
        ) > client.log 2>&1 3>&- &
        client=$!
        eventually grown
        # At another step each time.
        sleep "0.0$round"
        kill_dunesea
        wait "$client" || true
        known=$(wc -l < heads)
    done
    serve
    dunesea check --dir store
    while read -r blob; do ask 200 -I "$store/blobs/$blob"; done < acknowledged
    # The history has every acknowledged head, in order; one that was not acknowledged may be there too.
    after=
    while [[ $(as auth "$store/metadata/next$after") == 200 ]]; do
        field Backup-Blob | tee -a walked
        after="?after=$(tail -1 walked)"
    done
    grep -xFf heads walked | cmp - heads
    for file in store/dunesea/uploads/pod.example.org/*; do [[ ${file##*/} =~ ^([0-9a-f]{32}|\*)$ ]]; done
}

@test "SIGTERM lets running requests end, and waits for nobody else" {
    serve
    sealed 1 40000000 > large
    put large
    sealed 1 600000 > blob
    begin
    curl -sS --limit-rate 25M -o copy -H @auth "$store/blobs/$(address large)" 3>&- &
    reader=$!
    exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    curl -sS --limit-rate 300k -o body -w '%{http_code}' -H @auth -H "Upload-Offset: 0" -X PATCH -T blob "$upload" > code 3>&- &
    client=$!
    sleep 0.5
    stop_dunesea
    exec 9>&-
    wait "$client" "$reader"
    [[ $(< code) == 204 ]]
    cmp large copy
    grep -q 'stopped$' "$DUNESEA_LOG"
    serve
    finish 201 blob
}

@test "quota of a domain, of an upload, and a full disk: 507 that says so" {
    serve --domain-bytes 1M --upload-bytes 600K
    sealed 1 700000 > large
    sealed 1 500000 > blob
    begin
    append 507 0 large
    grep -q 'an upload here may have 614400 bytes at most' body
    ask 404 -I "$upload"
    begin
    # Chunked, so that it is noticed on the way only.
    ask 507 -H "Upload-Offset: 0" -X PATCH -T - "$upload" < large
    put blob
    sealed 1 580000 > blob2
    begin
    append 507 0 blob2
    grep -q "quota of 1048576 bytes is used up: 500136 are taken" body
    grep -q '^hint: ' body
    sealed 1 500001 > blob3
    put blob3
}

@test "an upload is acknowledged in the middle of a request, to a client that asks for it" {
    serve
    sealed 1 3000000 > blob
    ask 201 -H "Upload-Progress: ?1" -X POST "$store/uploads"
    [[ $(field Upload-Progress) == "?1" ]]
    upload=$store/uploads/$(< body)
    ask 204 -H "Upload-Progress: ?1" -H "Upload-Offset: 0" -X PATCH -T blob "$upload"
    [[ $(grep -c "^HTTP/1.1 104" headers) -ge 4 ]]
    # They rise, and the last one is the answer.
    field Upload-Offset > offsets
    [[ $(tail -n 1 offsets) -eq $(stat -c %s blob) ]]
    sort -nuc offsets
    begin
    [[ -z $(field Upload-Progress) ]]
    append 204 0 blob
    not grep -q "^HTTP/1.1 104" headers
}

@test "a full disk is a 507, and leaves nothing" {
    needs_root
    mount -t tmpfs -o size=2m none store
    authorize pod.example.org --append --read > auth
    serve
    sealed 1 3000000 > blob
    begin
    append 507 0 blob
    grep -q "the store's disk is full" body
    [[ -z $(ls store/dunesea/uploads/pod.example.org) ]]
    sealed 1 1000000 > blob
    put blob
    kill_dunesea
}

@test "a sync that fails is said, never repeated, and leaves nothing" {
    for what in file directory; do
        serve
        sealed 1 5000 > blob
        begin
        append 204 0 blob
        place=store/escapepod/pod.example.org/blobs
        [[ $what == directory ]] || place=store/dunesea/uploads/pod.example.org/$id
        inject fsync "$place" error=EIO
        finish 500 blob
        grep -q "the store's disk failed" body
        grep -q 'error: cannot bring to stable storage' "$DUNESEA_LOG"
        untrace
        [[ $(wc -l < trace) -eq 1 ]]
        nothing_stays
        put blob
        kill_dunesea
        rm store/escapepod/pod.example.org/blobs/*
    done
}

@test "a disk that cannot be read ends the body early, and the log says why" {
    for tls in "" --tls; do
        serve ${tls:+"$tls"}
        sealed 1 20000000 > blob
        curl() { command curl ${DUNESEA_CA:+--cacert "$DUNESEA_CA"} "$@"; }
        put blob
        inject pread64 "store/escapepod/pod.example.org/blobs/$(address blob)" error=EIO:when=3+
        run -18 curl -sS --max-time 20 -o copy -H @auth "$store/blobs/$(address blob)"
        grep -q "error: cannot read: input/output error: .*$(address blob)" "$DUNESEA_LOG"
        untrace
        curl -sS --max-time 20 -C - -o copy -H @auth "$store/blobs/$(address blob)"
        cmp blob copy
        rm copy
        kill_dunesea
    done
}

@test "killed at each step of storing, it has the whole or nothing" {
    for what in blob document key; do
        for step in file rename directory; do
            serve
            sealed 1 5000 > blob
            sealed 2 300 > document
            sealed 3 48 > key
            begin
            append 204 0 blob
            [[ $what == blob ]] || finish 201 blob
            head=$(curl -fsS -H @auth -o previous -w '%header{backup-blob}' "$store/metadata/last") || head=none
            new=store/escapepod/pod.example.org/blobs
            old=store/dunesea/uploads/pod.example.org/$id
            case $what in
                document) new=${new%blobs}metadata old=${old%/*}/document ;;
                key) new=${new%blobs}keys old=${old%/*}/document ;;
            esac
            case $step in
                file) inject fsync "$old" signal=KILL ;;
                rename) inject rename,renameat2 "$old" signal=KILL ;;
                directory) inject fsync "$new" signal=KILL ;;
            esac
            case $what in
                blob) url="$store/blobs/$(address blob)?upload=$id&length=5136" ;;
                document) url="$store/metadata/$(address blob)?follows=$head" ;;
                key) url=$store/keys/$(address key) ;;
            esac
            run curl -sS --max-time 20 -H @auth -T "${what/blob/document}" "$url"
            [[ $status -ne 0 ]]
            wait "$DUNESEA_PID" "$tracer" || true
            serve
            dunesea check --dir store
            # The client asks again.
            code=$(as auth -X PUT "$store/blobs/$(address blob)?upload=$id&length=5136")
            [[ $code == 20[01] ]]
            code=$(as auth -T document "$store/metadata/$(address blob)?follows=$head")
            [[ $code == 20[01] ]]
            curl -sS -H @auth "$store/metadata/last" | cmp - document
            code=$(as auth -T key "$store/keys/$(address key)")
            [[ $code == 20[01] ]]
            curl -sS -H @auth "$store/keys/last" | cmp - key
            kill_dunesea
        done
    done
}

@test "keys: the newest is got, each one stays, and only what is one gets in" {
    serve
    ask 404 "$store/keys/last"
    local one two
    sealed 3 48 > first
    sealed 3 48 > second
    one=$(address first) two=$(address second)
    ask 201 -T first "$store/keys/$one"
    ask 200 -T first "$store/keys/$one"
    ask 201 -T second "$store/keys/$two"
    ask 200 "$store/keys/last"
    cmp second body
    [[ $(field ETag) == "\"$two\"" ]]
    ask 200 -I "$store/keys/last"
    [[ $(field Content-Length) == 184 ]]
    kill_dunesea
    serve
    ask 200 "$store/keys/last"
    cmp second body
    # An older one is brought back as the newest.
    ask 201 -T first "$store/keys/$one"
    ask 200 "$store/keys/last"
    cmp first body
    (cd store/escapepod/pod.example.org/keys && ls) > names
    printf '%s\n' "0000000001-$one" "0000000002-$two" "0000000003-$one" | cmp - names
    dunesea check --dir store

    ask 422 -T first "$store/keys/$two"
    for wrong in "sealed 2 48" "head -c 183 second" "head -c 184 /dev/urandom" true; do
        $wrong > wrong
        ask 422 -T wrong "$store/keys/$(address wrong)"
    done
    sealed 3 4000 > wrong
    ask 413 -T wrong "$store/keys/$(address wrong)"
    ask 413 -T - "$store/keys/$(address wrong)" < wrong
    ask 404 "$store/keys/$one"
    (cd store/escapepod/pod.example.org/keys && ls) | cmp - names
}

@test "tokens: none, wrong, of another domain, for reading or storing only" {
    authorize other --append --read > other
    authorize pod.example.org --read > reader
    echo "Authorization: Bearer dunesea-$(printf '0%.0s' {1..64})" > wrong
    echo "X-Nothing: 1" > none
    serve
    # Added while it runs.
    authorize pod.example.org --append > writer
    sealed 1 5000 > blob
    sealed 2 300 > document
    put blob
    sha=$(address blob)
    ask 201 -T document "$store/metadata/$sha?follows=none"
    begin

    for who in none wrong other; do
        # The same for a domain that is there and one that is not.
        for domain in pod.example.org nowhere; do
            base=$DUNESEA_URL/v1/$domain
            for request in "-X POST $base/uploads" "-I $base/uploads/$id" "-X PATCH $base/uploads/$id" \
                "-X PUT $base/blobs/$sha" "$base/blobs/$sha" "-X PUT $base/metadata/$sha?follows=none" \
                "$base/metadata/last" "$base/metadata/next" "-X DELETE $base/uploads/$id" "-X PUT $base/keys/$sha" \
                "$base/keys/last" "$base/nothing"; do
                # shellcheck disable=SC2086
                [[ $(as "$who" $request) == 401 ]]
                grep -vi '^date:' headers >> "answers-$who-$domain"
            done
        done
        cmp "answers-$who-pod.example.org" "answers-$who-nowhere"
    done
    [[ ! -e store/escapepod/nowhere && ! -e store/escapepod/other ]]

    [[ $(as reader "$store/metadata/last") == 200 ]]
    [[ $(as reader "$store/blobs/$sha") == 200 ]]
    for request in "-X POST $store/uploads" "-I $upload" "-X PATCH $upload" "-X DELETE $upload" \
        "-X PUT $store/blobs/$sha" "-X PUT $store/metadata/$sha?follows=none" "-X PUT $store/keys/$sha"; do
        # shellcheck disable=SC2086
        [[ $(as reader $request) == 403 ]]
    done
    [[ $(as writer -X POST "$store/uploads") == 201 ]]
    for path in metadata/last metadata/next keys/last "blobs/$sha"; do [[ $(as writer "$store/$path") == 403 ]]; done
    sed s/Bearer/Basic/ writer > basic
    [[ $(as basic -X POST "$store/uploads") == 401 ]]

    # Taken away while it runs.
    entry=$(dunesea token list --dir store | awk '$2 == "pod.example.org" && $3 == "append" { print $1 }')
    dunesea token remove "$entry" --dir store
    [[ $(as writer -X POST "$store/uploads") == 401 ]]
    run -10 dunesea token remove "$entry" --dir store

    [[ $(stat -c %a store/dunesea/tokens) == 600 ]]
    for file in auth other reader writer wrong; do
        secret=$(grep -oE '[0-9a-f]{64}' "$file")
        not grep -rqF "$secret" "$DUNESEA_LOG" store
    done
}

@test "tricks in domain, address and upload touch nothing" {
    serve
    sealed 1 5000 > blob
    put blob
    begin
    echo secret > store/secret
    find store | sort > before
    local sha status
    sha=$(address blob)
    for path in /v1/../secret /v1/pod.example.org/../../secret /v1/pod.example.org/blobs/../../../../secret \
        /v1/pod.example.org/blobs/..%2f..%2f..%2fsecret "/v1/pod.example.org/blobs/../metadata" \
        "/v1/pod.example.org/blobs/$sha/" "/v1/pod.example.org//blobs/$sha" "/v1/pod.example.org/blobs/${sha^^}" \
        "/v1/pod.example.org/blobs/${sha}0" "/v1/pod.example.org/blobs/" "/v1/./pod.example.org/blobs/$sha" \
        "/v1/POD.example.org/blobs/$sha" "/v1/.hidden/blobs/$sha" "/v1/a%2fb/blobs/$sha" "/v1//blobs/$sha" \
        "/v1/pod.example.org/metadata/../blobs/$sha" "/v1/pod.example.org/uploads/../../../tokens" \
        "/v1/pod.example.org/metadata/next?after=../../../../secret" "/v1/$(printf 'a%.0s' {1..254})/blobs/$sha"; do
        for method in GET HEAD PUT POST PATCH DELETE; do
            option=(-X "$method")
            [[ $method != HEAD ]] || option=(-I)
            status=$(as auth --path-as-is "${option[@]}" -H "Upload-Offset: 0" "$DUNESEA_URL$path")
            [[ $status == 40[0145] ]] || { echo "$method $path: $status" && return 1; }
            not grep -q secret body
        done
    done
    for id in .. ../x "$id/../$id" tokens; do
        ask 404 --path-as-is -X PUT "$store/blobs/$(printf 'a%.0s' {1..64})?upload=$id&length=5"
    done
    find store | sort | cmp - before
    ask 200 "$store/blobs/$sha"
}

@test "malformed requests get a 400 and the server lives" {
    serve
    begin
    sealed 1 5000 > blob
    for offset in "" -1 1.0 0x0 18446744073709551616 abc; do append 400 "$offset" blob; done
    append 409 18446744073709551615 blob
    [[ $(field Upload-Offset) == 0 ]]
    sha=$(address blob)
    for query in "" "?upload=$id" "?length=5136" "?upload=$id&length=-1" "?upload=$id&length=1e3"; do
        ask 400 -X PUT "$store/blobs/$sha$query"
    done
    for query in "" "?follows=" "?follows=None" "?follows=$sha%20"; do ask 400 -T blob "$store/metadata/$sha$query"; done
    ask 422 -T blob "$store/metadata/$sha?follows=none"
    head -c 1200000 /dev/zero > huge
    ask 413 -T huge "$store/metadata/$sha?follows=none"
    ask 413 -T - "$store/metadata/$sha?follows=none" < huge
    for raw in 'GARBAGE\r\n\r\n' 'GET / HTTP/9.9\r\n\r\n' 'GET /healthz HTTP/1.1\r\nContent-Length: -5\r\n\r\n'; do
        exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
        printf "$raw" >&9
        timeout 10 head -1 <&9 | grep -q '^HTTP/1.1 400'
        exec 9>&-
    done
    put blob
}

@test "a body shorter or longer than announced" {
    serve
    sealed 1 5000 > blob
    begin
    request() {
        printf 'PATCH /v1/pod.example.org/uploads/%s HTTP/1.1\r\nHost: x\r\n%s\r\nUpload-Offset: %s\r\nContent-Length: %s\r\n\r\n' \
            "$id" "$(< auth)" "$1" "$2"
    }
    exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    { request 0 5136 && head -c 2000 blob; } >&9
    exec 9>&-
    arrived() { ask 204 -I "$upload" && [[ $(field Upload-Offset) == 2000 ]]; }
    eventually arrived
    # What goes on behind the announced end is no part of it.
    exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    { request 2000 1000 && tail -c +2001 blob; } >&9
    timeout 10 head -1 <&9 | grep -q '^HTTP/1.1 204'
    exec 9>&-
    ask 204 -I "$upload"
    [[ $(field Upload-Offset) == 3000 ]]
    finish 409 blob
    [[ $(field Upload-Offset) == 3000 ]]
    tail -c +3001 blob > rest
    append 204 3000 rest
    finish 201 blob
    finish 200 blob
    ask 409 -X PUT "$store/blobs/$(address blob)?upload=$id&length=5137"
}

@test "a client with a new connection does not wait for its dead one" {
    serve
    sealed 1 5000 > blob
    begin
    exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    printf 'PATCH /v1/pod.example.org/uploads/%s HTTP/1.1\r\nHost: x\r\n%s\r\nUpload-Offset: 0\r\nContent-Length: 5136\r\n\r\n' \
        "$id" "$(< auth)" >&9
    head -c 2000 blob >&9
    sleep 0.2
    ask 204 -I "$upload"
    offset=$(field Upload-Offset)
    tail -c +$((offset + 1)) blob > rest
    append 204 "$offset" rest
    # The old one wakes up.
    tail -c +2001 blob >&9
    timeout 10 head -1 <&9 | grep -q '^HTTP/1.1 409'
    exec 9>&-
    finish 201 blob
}

@test "only sealed streams, of the right kind, with the right digest" {
    serve
    sealed 2 5000 > document
    sealed 1 5000 > blob
    head -c 5000 /dev/urandom > plain
    for file in document plain; do
        begin
        append 422 0 "$file"
        ask 404 -I "$upload"
    done
    head -c 5000 blob > half
    begin
    append 204 0 half
    finish 422 half
    begin
    append 204 0 blob
    ask 422 -X PUT "$store/blobs/$(address plain)?upload=$id&length=5136"
    grep -q "the bytes have the SHA-256 $(address blob)" body
    nothing_stays
}

@test "of two that race for one head, one wins and no blob is lost" {
    serve
    sealed 1 100 > base
    sealed 2 300 > document
    put base
    ask 201 -T document "$store/metadata/$(address base)?follows=none"
    head=$(address base)
    for round in {1..10}; do
        for one in a b; do
            sealed 1 $((round * 100)) > "$one"
            put "$one"
        done
        clients=()
        for one in a b; do
            curl -sS --max-time 20 -o "body-$one" -w '%{http_code}\n' -H @auth -T document \
                "$store/metadata/$(address "$one")?follows=$head" > "code-$one" 3>&- &
            clients+=($!)
        done
        wait "${clients[@]}"
        [[ $(sort code-a code-b | xargs) == "201 409" ]]
        winner=a
        [[ $(< code-a) == 201 ]] || winner=b
        head=$(address "$winner")
        ask 200 "$store/metadata/last"
        [[ $(field Backup-Blob) == "$head" ]]
        for one in a b; do ask 200 "$store/blobs/$(address "$one")"; done
    done
    # A lost answer.
    ask 200 -T document "$store/metadata/$head?follows=$(address base)"
    ask 424 -T document "$store/metadata/$(printf 'a%.0s' {1..64})?follows=$head"
    ask 409 -T document "$store/metadata/$(address base)?follows=none"
    [[ $(field Backup-Blob) == "$head" ]]
}

@test "1,000 backups: last and next look up, they do not search" {
    serve --uploads 1000
    sealed 1 100 > blob
    sealed 2 300 > document
    mkdir blobs
    # Each of the four steps in one curl, as a thousand processes would take longer than the server.
    for i in {1..1000}; do echo "url = $store/uploads"; done > config
    curl -fsS -X POST -H @auth -K config > ids
    previous=none
    rm -f patches puts metas addresses
    while read -r id; do
        { head -c 120 blob && printf '%08d' "${#previous}" && head -c 92 /dev/urandom && tail -c 16 blob; } > "blobs/$id"
        sha=$(address "blobs/$id")
        printf 'next\nfail\nsilent\nshow-error\nheader = @auth\nheader = "Upload-Offset: 0"\nrequest = PATCH\nupload-file = blobs/%s\nurl = %s\n' \
            "$id" "$store/uploads/$id" >> patches
        printf 'url = "%s"\n' "$store/blobs/$sha?upload=$id&length=236" >> puts
        printf 'next\nfail\nsilent\nshow-error\nheader = @auth\nupload-file = document\nurl = "%s"\n' \
            "$store/metadata/$sha?follows=$previous" >> metas
        echo "$sha" >> addresses
        previous=$sha
    done < ids
    sed -i 1d patches metas
    timeout 120 curl -K patches
    timeout 120 curl -fsS -X PUT -H @auth -K puts
    timeout 120 curl -K metas
    [[ $(find store/escapepod/pod.example.org/metadata -type f | wc -l) -eq 1000 ]]

    trace getdents64,openat
    ask 200 "$store/metadata/last"
    [[ $(field Backup-Blob) == "$previous" ]]
    ask 200 "$store/metadata/next?after=$(sed -n 500p addresses)"
    [[ $(field Backup-Blob) == $(sed -n 501p addresses) ]]
    sealed 1 200 > newest
    put newest
    ask 201 -T document "$store/metadata/$(address newest)?follows=$previous"
    previous=$(address newest)
    address newest >> addresses
    untrace
    # One document opened for each.
    [[ $(grep -c "openat.*/metadata/" trace) -eq 2 ]]
    not grep -q getdents trace

    kill_dunesea
    serve
    { echo "url = $store/metadata/next" && sed "s|.*|url = \"$store/metadata/next?after=&\"|" addresses; } > walk
    curl -sS --max-time 60 -I -H @auth -K walk | sed -n 's/^Backup-Blob: \(.*\)\r$/\1/Ip' | cmp - addresses
    ask 200 "$store/metadata/last"
    [[ $(field Backup-Blob) == "$previous" ]]
    [[ $(dunesea check --dir store) == "1001 blobs, 236336 bytes, 1001 backups, 0 keys, 0 faults" ]]
}

@test "clients that do not move are cut" {
    serve --patience 1s --metrics 127.0.0.1:0
    sealed 1 20000000 > blob
    put blob
    begin
    # In the head, in the body, between requests, and while it should read.
    for start in '' 'GET /healthz HT' 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n' \
        "PATCH /v1/pod.example.org/uploads/$id HTTP/1.1\r\nHost: x\r\n$(< auth)\r\nUpload-Offset: 0\r\nContent-Length: 500\r\n\r\nx"; do
        exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
        printf "$start" >&9
        timeout 8 cat <&9 > answer
        exec 9>&-
    done
    get() {
        exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
        printf 'GET /v1/pod.example.org/blobs/%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n' "$(address blob)" "$(< auth)" >&9
    }
    cuts() { curl -sS "$DUNESEA_METRICS/metrics" | sed -n 's/^dunesea_slow_clients_total //p'; }
    counted() { [[ $(cuts) -eq 5 ]]; }
    get
    eventually counted
    exec 9>&-
    # A slow one that moves is let be, whichever way.
    get
    for _ in {1..12}; do head -c 50000 <&9 > piece && sleep 0.4; done
    [[ $(cuts) -eq 5 ]]
    exec 9>&-
    sealed 1 39864 > slow
    begin
    for i in {0..9}; do tail -c +$((i * 4000 + 1)) slow | head -c 4000 && sleep 0.4; done |
        ask 204 -H "Upload-Offset: 0" -X PATCH -T - "$upload"
    finish 201 slow
}

@test "unfinished uploads are counted, and go for their age" {
    serve --uploads 2 --upload-age 2s
    sealed 1 5000 > blob
    begin
    append 204 0 blob
    begin
    ask 429 -X POST "$store/uploads"
    [[ $(field Retry-After) == 60 ]]
    gone() { [[ -z $(ls store/dunesea/uploads/pod.example.org) ]]; }
    eventually gone
    put blob
}

@test "root makes tokens as the server's user, who can send it nowhere else" {
    mkdir -p theirs root
    chmod 0711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$BATS_TEST_TMPDIR"
    chown 1234:1234 theirs
    chmod 0700 root
    ln -s "$PWD/root" theirs/dunesea
    chown -h 1234:1234 theirs/dunesea
    dunesea token add pod --dir theirs --read > token 2> err && return 1
    [[ -z $(ls -A root) && ! -s token ]]
    rm theirs/dunesea
    DUNESEA_DIR=theirs dunesea_token pod --read
    [[ $(find theirs -mindepth 1 -printf '%u:%g\n' | sort -u) == 1234:1234 ]]
    [[ $(dunesea token list --dir theirs | wc -l) -eq 1 ]]
}

@test "slow clients of one address leave the others their turn, and whoever has a token is none of them" {
    serve --connections 16 --patience 20s --metrics 127.0.0.1:0
    # How many of 40 connections from that address stay, each without a token and without another byte.
    crowd() {
        python3 - "${DUNESEA_URL##*:}" "$1" 3>&- <<'END' &
import select, socket, sys, time
connections = []
for _ in range(40):
    try:
        connections.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5, (sys.argv[2], 0)))
        connections[-1].send(b"GET /healthz HT")
    except OSError:
        pass
time.sleep(0.5)
closed, _, _ = select.select(connections, [], [], 0)
print(len(connections) - len(closed), flush=True)
time.sleep(60)
END
    }
    crowd 127.0.0.2 > crowd
    eventually test -s crowd
    [[ $(< crowd) == 4 ]]
    [[ $(curl -sS "$DUNESEA_METRICS/metrics" | sed -n 's/^dunesea_turned_away_total //p') == 36 ]]
    [[ $(curl -sS --max-time 5 "$DUNESEA_URL/healthz") == ok ]]
    curl -sS --max-time 5 --interface 127.0.0.2 "$DUNESEA_URL/healthz" 2> err && return 1
    # Six connections of one address, each with a token, at once.
    sealed 1 3000000 > blob
    put blob
    for i in {1..6}; do
        curl -sS --max-time 20 --limit-rate 1M -o "copy.$i" -H @auth "$store/blobs/$(address blob)" 3>&- &
        loads[i]=$!
    done
    for i in {1..6}; do wait "${loads[i]}" && cmp blob "copy.$i"; done
}

@test "more connections than allowed wait their turn" {
    serve --connections 2 --strangers 8 --patience 1s
    exec 8<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}" 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    curl -sS --max-time 0.5 "$DUNESEA_URL/healthz" 2> err && return 1
    [[ $(curl -sS --max-time 20 "$DUNESEA_URL/healthz") == ok ]]
    exec 8>&- 9>&-
}

@test "ranges, heads, health, metrics and the log" {
    serve --metrics 127.0.0.1:0
    sealed 1 3000000 > blob
    begin
    append 204 0 blob
    # curl asked first, and was told at once.
    grep -q '^HTTP/1.1 100' headers
    finish 201 blob
    sha=$(address blob)
    ask 206 -r 1000-1999 "$store/blobs/$sha"
    head -c 2000 blob | tail -c 1000 | cmp - body
    [[ $(field Content-Range) == "bytes 1000-1999/3000136" ]]
    ask 206 -r -16 "$store/blobs/$sha"
    tail -c 16 blob | cmp - body
    ask 416 -r 3000136- "$store/blobs/$sha"
    ask 200 -I "$store/blobs/$sha"
    [[ $(field Content-Length) == 3000136 ]]
    ask 404 "$store/blobs/$(printf 'a%.0s' {1..64})"
    ask 404 "$store/metadata/last"
    ask 405 -X DELETE "$store/blobs/$sha"
    ask 405 -X POST "$store/metadata/$sha"
    ask 405 -X DELETE "$store/keys/last"
    ask 200 "$store/blobs/$sha"
    [[ $(curl -sS "$DUNESEA_URL/healthz") == ok ]]
    curl -sS "$DUNESEA_METRICS/metrics" > text
    grep -qx 'dunesea_used_bytes{domain="pod.example.org"} 3000136' text
    grep -qx 'dunesea_received_bytes_total 3000136' text
    grep -qE '^dunesea_requests_total\{method="PUT",status="201"\} 1$' text
    [[ $(curl -sS -o text -w '%{http_code}' "$DUNESEA_URL/metrics") == 404 ]]
    grep -qE "^dunesea: 127.0.0.1 PUT /v1/pod.example.org/blobs/$sha\?upload=$id&length=3000136 201 [0-9]+ms$" "$DUNESEA_LOG"
    not grep -q Bearer "$DUNESEA_LOG"
    # What the client broke off, either way.
    logged() { grep -qE "^dunesea: 127.0.0.1 $1 /v1/pod.example.org/$2 cut [0-9]+ms$" "$DUNESEA_LOG"; }
    sealed 1 40000000 > large
    put large
    curl -sS --limit-rate 1M --max-time 0.5 -o copy -H @auth "$store/blobs/$(address large)" 2> err || [[ $? -eq 28 ]]
    eventually logged GET "blobs/$(address large)"
    begin
    curl -sS --limit-rate 1M --max-time 0.5 -H @auth -H "Upload-Offset: 0" -X PATCH -T large "$upload" 2> err || [[ $? -eq 28 ]]
    eventually logged PATCH "uploads/$id"
    # The directory is gone from under it.
    mv store/dunesea/uploads store/dunesea/elsewhere
    [[ $(curl -sS -o text -w '%{http_code}' "$DUNESEA_URL/healthz") == 503 ]]
}

@test "a slow disk slows the clients down, and fills no memory" {
    sealed 1 200000000 > blob
    for scheme in http https; do
        if [[ $scheme == http ]]; then serve; else serve --tls; fi
        curl() { command curl ${DUNESEA_CA:+--cacert "$DUNESEA_CA"} "$@"; }
        trace pwrite64 -e inject=pwrite64:delay_enter=50000
        clients=()
        for client in 1 2 3 4; do
            begin
            curl -sS --max-time 5 -H @auth -H "Upload-Offset: 0" -X PATCH -T blob "$upload" \
                2> "err-$client" 3>&- &
            clients+=($!)
        done
        for client in "${clients[@]}"; do wait "$client" || true; done
        peak=$(awk '/VmHWM/ { print $2 }' "/proc/$DUNESEA_PID/status")
        echo "$scheme: $peak KiB"
        [[ $peak -lt 65536 ]]
        grep -q 'timed out' err-1
        kill_dunesea
        rm -r store/dunesea/uploads
    done
}

@test "TLS by certificate files" {
    serve --tls --patience 1s
    curl() { command curl --cacert "$DUNESEA_CA" "$@"; }
    sealed 1 3000000 > blob
    sealed 2 300 > document
    put blob
    ask 201 -T document "$store/metadata/$(address blob)?follows=none"
    ask 200 "$store/blobs/$(address blob)"
    cmp blob body
    command curl -sS "$store/metadata/last" 2> err && return 1
    grep -qi certificate err
    # One that does not begin to speak it is cut.
    exec 9<> "/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    timeout 8 cat <&9 > answer
    exec 9>&-
}

@test "what it refuses to start with" {
    refuses 64 "without TLS only a loopback address will do" timeout 10 dunesea serve --dir store --listen 0.0.0.0:0
    refuses 64 "no HOST:PORT" timeout 10 dunesea serve --dir store --listen 8443
    refuses 64 "go together" timeout 10 dunesea serve --dir store --tls-cert x
    refuses 64 "say --append, --read, or both" timeout 10 dunesea token add pod --dir store
    refuses 64 "no domain" timeout 10 dunesea token add ../pod --read --dir store
    refuses 74 "no such file or directory: nowhere" timeout 10 dunesea serve --dir nowhere --listen 127.0.0.1:0
    echo garbage > bad.pem
    refuses 65 "cannot read this as PEM: bad.pem" timeout 10 dunesea serve --dir store --tls-cert bad.pem --tls-key bad.pem
    serve
    refuses 75 "another dunesea serves this directory" timeout 10 dunesea serve --dir store --listen 127.0.0.1:0
    mkdir other
    refuses 74 "address already in use" timeout 10 dunesea serve --dir other --listen "${DUNESEA_URL#*//}"
    echo garbage >> store/dunesea/tokens
    refuses 65 "no token entry: store/dunesea/tokens, line 2" timeout 10 dunesea token list --dir store
    # An unreadable list of tokens lets nobody in.
    ask 500 "$store/metadata/last"
}

@test "a drive's folder is served, and a served one is a drive's" {
    mkdir -p store
    sealed 1 5000 > blob
    sealed 2 300 > document
    sealed 1 6000 > blob2
    sealed 2 400 > document2
    ep-store blob "file:$PWD/store" --domain pod.example.org < blob > receipt
    ep-store metadata "file:$PWD/store" --domain pod.example.org --blob "$(address blob)" --follows none < document
    dunesea check --dir store
    serve
    ask 200 "$store/metadata/last"
    cmp document body
    [[ $(field Backup-Blob) == "$(address blob)" ]]
    put blob2
    ask 201 -T document2 "$store/metadata/$(address blob2)?follows=$(address blob)"
    stop_dunesea
    ep-fetch last "file:$PWD/store" --domain pod.example.org | cmp - document2
    ep-fetch blob "file:$PWD/store" --domain pod.example.org "$(address blob2)" | cmp - blob2
    [[ $(ep-fetch list "file:$PWD/store" --domain pod.example.org) == "$(address blob)"$'\n'"$(address blob2)" ]]
}

@test "check finds a flipped byte, a missing blob and a stray file" {
    serve
    sealed 1 5000 > blob
    sealed 1 6000 > blob2
    sealed 2 300 > document
    put blob
    ask 201 -T document "$store/metadata/$(address blob)?follows=none"
    put blob2
    sealed 3 48 > key
    ask 201 -T key "$store/keys/$(address key)"
    [[ $(dunesea check --dir store) == "2 blobs, 11272 bytes, 1 backups, 1 keys, 0 faults" ]]
    printf x | dd of="store/escapepod/pod.example.org/blobs/$(address blob2)" bs=1 seek=3000 conv=notrunc status=none
    rm "store/escapepod/pod.example.org/blobs/$(address blob)"
    touch store/escapepod/pod.example.org/blobs/stray
    key=store/escapepod/pod.example.org/keys/0000000001-$(address key)
    printf x | dd of="$key" bs=1 seek=100 conv=notrunc status=none
    run -65 --separate-stderr dunesea check --dir store
    [[ $output == "1 blobs, 6136 bytes, 1 backups, 1 keys, 4 faults" ]]
    [[ $stderr == *"damaged, its bytes have the SHA-256"*"$(address blob2)"* ]]
    [[ $stderr == *"damaged, its bytes have the SHA-256"*"$key"* ]]
    [[ $stderr == *"its blob is missing"*"$(address blob)"* ]]
    [[ $stderr == *"no blob's name"*stray* ]]
}
