#!/usr/bin/env bats
# A server that is killed, or whose disk fails, is full or slow: what it acknowledged it has, and no half.
# shellcheck disable=SC2030,SC2031,SC2059,SC2094,SC2153,SC2154

load helper
load storage
load dunesea
load curl

@test "killed in mid-upload, it goes on from what it had acknowledged" {
    serve
    sealed blob 3000136 >blob
    begin
    head -c 1000000 blob >piece
    append 204 0 piece
    (curl -sS --limit-rate 500k -H @auth -H "Upload-Offset: 1000000" -X PATCH -T <(tail -c +1000001 blob) \
        "$upload" 2>curl.err 3>&- || true) &
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
    tail -c +$((offset + 1)) blob >rest
    append 204 "$offset" rest
    finish 201 blob
    curl -sS -H @auth "$store/blobs/$(sha256 blob)" | cmp - blob
    dunesea check --dir store
}

@test "killed again and again, it has all that it acknowledged and no half" {
    local round file known=0
    grown() { [[ $(wc -l <heads) -gt $((known + 1)) ]]; }
    touch heads
    for round in {1..8}; do
        serve
        (
            head=$(curl -fsS -H @auth -o previous -w '%header{backup-blob}' "$store/metadata/last") || head=none
            for file in {1..500}; do
                sealed blob $((136 + round * 1000 + file)) >"blob-$round"
                sealed metadata 436 >"document-$round"
                put "blob-$round" || break
                sha256 "blob-$round" >>acknowledged
                [[ $(as auth -T "document-$round" "$store/metadata/$(sha256 "blob-$round")?follows=$head&parent=none") == 201 ]] || break
                head=$(sha256 "blob-$round")
                echo "$head" >>heads
            done
        ) >client.log 2>&1 3>&- &
        client=$!
        eventually grown
        # At another step each time.
        sleep "0.0$round"
        kill_dunesea
        wait "$client" || true
        known=$(wc -l <heads)
    done
    serve
    dunesea check --dir store
    while read -r blob; do ask 200 -I "$store/blobs/$blob"; done <acknowledged
    # The history has every acknowledged head, in order; one that was not acknowledged may be there too.
    DUNESEA_TOKEN=$(awk '{ print $3 }' auth) ep-fetch list "dunesea+$DUNESEA_URL" --domain pod.example.org >listed
    grep -xFf heads listed | cmp - heads
    for file in store/dunesea/uploads/pod.example.org/*; do [[ ${file##*/} =~ ^([0-9a-f]{32}|\*)$ ]]; done
}

@test "SIGTERM lets running requests end, and waits for nobody else" {
    serve
    sealed blob 40000136 >large
    put large
    sealed blob 600136 >blob
    begin
    curl -sS --limit-rate 25M -o copy -H @auth "$store/blobs/$(sha256 large)" 3>&- &
    reader=$!
    exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    curl -sS --limit-rate 300k -o body -w '%{http_code}' -H @auth -H "Upload-Offset: 0" -X PATCH -T blob "$upload" >code 3>&- &
    client=$!
    under_way() { [[ -s copy && -s store/dunesea/uploads/pod.example.org/$id ]]; }
    eventually under_way
    stop_dunesea
    exec 9>&-
    wait "$client" "$reader"
    [[ $(<code) == 204 ]]
    cmp large copy
    grep -q 'stopped$' "$DUNESEA_LOG"
    serve
    finish 201 blob
}

@test "a full disk is a 507, and leaves nothing" {
    needs_root
    mount -t tmpfs -o size=2m none store
    authorize pod.example.org --append --read >auth
    serve
    sealed blob 3000136 >blob
    begin
    append 507 0 blob
    grep -qi '^content-type: application/problem+json' headers
    jq -e '.detail == "the store\u0027s disk is full: cannot write: no space left on device" and .exit == 74' body
    [[ $(jq -r .place body) == "dunesea/uploads/pod.example.org/$id" ]]
    [[ -z $(ls store/dunesea/uploads/pod.example.org) ]]
    # A client ends in the disk's own words.
    DUNESEA_TOKEN=$(sed 's/.* //' auth) refuses 74 "the store's disk is full: cannot write: no space left on device: \
dunesea+$DUNESEA_URL, pod.example.org, dunesea/uploads/pod.example.org/" \
        timeout 60 ep-store blob "dunesea+$DUNESEA_URL" --domain pod.example.org <blob
    sealed blob 1000136 >blob
    put blob
    kill_dunesea
}

@test "a sync that fails is said, never repeated, and leaves nothing" {
    for what in file directory; do
        serve
        sealed blob 5136 >blob
        begin
        append 204 0 blob
        place=store/escapepod/pod.example.org/blobs
        [[ $what == directory ]] || place=store/dunesea/uploads/pod.example.org/$id
        inject fsync "$place" error=EIO
        finish 500 blob
        grep -q "the store's disk failed" body
        grep -q 'error: cannot sync' "$DUNESEA_LOG"
        untrace
        [[ $(wc -l <trace) -eq 1 ]]
        nothing_stays
        put blob
        kill_dunesea
        rm store/escapepod/pod.example.org/blobs/*
    done
}

@test "a disk that cannot be read ends the body early, and the log says why" {
    for tls in "" --tls; do
        serve ${tls:+"$tls"}
        sealed blob 20000136 >blob
        curl() { command curl ${DUNESEA_CA:+--cacert "$DUNESEA_CA"} "$@"; }
        put blob
        inject pread64 "store/escapepod/pod.example.org/blobs/$(sha256 blob)" error=EIO:when=3+
        run -18 curl -sS --max-time 20 -o copy -H @auth "$store/blobs/$(sha256 blob)"
        grep -q "error: cannot read: input/output error: .*$(sha256 blob)" "$DUNESEA_LOG"
        untrace
        curl -sS --max-time 20 -C - -o copy -H @auth "$store/blobs/$(sha256 blob)"
        cmp blob copy
        rm copy
        kill_dunesea
    done
}

@test "killed at each step of storing, it has the whole or nothing" {
    for what in blob document key; do
        for step in file rename directory; do
            serve
            sealed blob 5136 >blob
            sealed metadata 436 >document
            sealed key 184 >key
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
            rename) inject renameat,renameat2 "${old%/*}" signal=KILL ;;
            directory) inject fsync "$new" signal=KILL ;;
            esac
            case $what in
            blob) url="$store/blobs/$(sha256 blob)?upload=$id&length=5136" ;;
            document) url="$store/metadata/$(sha256 blob)?follows=$head&parent=none" ;;
            key) url=$store/keys/$(sha256 key) ;;
            esac
            run curl -sS --max-time 20 -H @auth -T "${what/blob/document}" "$url"
            [[ $status -ne 0 ]]
            wait "$DUNESEA_PID" "$tracer" || true
            serve
            dunesea check --dir store
            # The client asks again.
            code=$(as auth -X PUT "$store/blobs/$(sha256 blob)?upload=$id&length=5136")
            [[ $code == 20[01] ]]
            code=$(as auth -T document "$store/metadata/$(sha256 blob)?follows=$head&parent=none")
            [[ $code == 20[01] ]]
            curl -sS -H @auth "$store/metadata/last" | cmp - document
            code=$(as auth -T key "$store/keys/$(sha256 key)")
            [[ $code == 20[01] ]]
            curl -sS -H @auth "$store/keys/last" | cmp - key
            kill_dunesea
        done
    done
}

@test "a slow disk slows the clients down, and fills no memory" {
    sealed blob 200000136 >blob
    for scheme in http https; do
        if [[ $scheme == http ]]; then serve; else serve --tls; fi
        curl() { command curl ${DUNESEA_CA:+--cacert "$DUNESEA_CA"} "$@"; }
        trace pwrite64 -e inject=pwrite64:delay_enter=50000
        clients=()
        for client in 1 2 3 4; do
            begin
            curl -sS --max-time 5 -H @auth -H "Upload-Offset: 0" -X PATCH -T blob "$upload" \
                2>"err-$client" 3>&- &
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

@test "quota of a domain, of an upload, and a full disk: 507 that says so" {
    serve --domain-bytes 1M --upload-bytes 600K
    sealed blob 700136 >large
    sealed blob 500136 >blob
    begin
    append 507 0 large
    grep -q 'an upload here may have at most 614400 bytes' body
    ask 404 -I "$upload"
    begin
    # Chunked, so that it is noticed on the way only.
    ask 507 -H "Upload-Offset: 0" -X PATCH -T - "$upload" <large
    put blob
    sealed blob 580136 >blob2
    begin
    append 507 0 blob2
    grep -q "quota of 1048576 bytes is used up: 500136 are in use" body
    jq -e '.status == 507 and .hint != null and .exit == null' body
    sealed blob 500137 >blob3
    put blob3
}
