#!/usr/bin/env bats
# What the server takes, and what it gives back of it.
# shellcheck disable=SC2030,SC2031,SC2059,SC2094,SC2153,SC2154

load helper
load storage
load dunesea
load curl

@test "the protocol page's own lines work" {
    serve
    sealed blob 5136 >blob
    sealed metadata 436 >document
    sealed key 184 >key
    sealed pruning 300 >pruning
    awk '/^\.Bd -literal/ { on = 1; next } /^\.Ed/ { on = 0 } on' "$EP_REPO/man/dunesea-protocol.7" >session
    [[ $(grep -c curl session) -ge 14 ]]
    store=$store bash -euo pipefail session >out
    grep -qi '^Upload-Offset: 100' out
    cmp document last
    cmp document same
    [[ $(head -c 8 series) == EPODITEM && $(grep -ac EPODENDS series) -eq 1 ]]
    cmp blob copy
    cmp key wrapped
    grep -q "^$(sha256 blob) 5136 [0-9]* held$" out
    [[ $(head -c 8 prunings) == EPODPRUN && $(tail -c +49 prunings | head -c 300 | cmp - pruning) = "" ]]
    grep -qi "^Backup-Blob: $(sha256 blob)" headers
    [[ $(dunesea check --dir store) == "1 blobs, 5136 bytes, 1 backups, 0 of them pruned, 1 keys, 0 faults" ]]
}

@test "an upload is acknowledged in the middle of a request, to a client that asks for it" {
    serve
    sealed blob 3000136 >blob
    ask 201 -H "Upload-Progress: ?1" -X POST "$store/uploads"
    [[ $(field Upload-Progress) == "?1" ]]
    upload=$store/uploads/$(<body)
    ask 204 -H "Upload-Progress: ?1" -H "Upload-Offset: 0" -X PATCH -T blob "$upload"
    [[ $(grep -c "^HTTP/1.1 104" headers) -ge 4 ]]
    # They rise, and the last one is the answer.
    field Upload-Offset >offsets
    [[ $(tail -n 1 offsets) -eq $(stat -c %s blob) ]]
    sort -nuc offsets
    begin
    [[ -z $(field Upload-Progress) ]]
    append 204 0 blob
    run ! grep -q "^HTTP/1.1 104" headers
}

@test "keys: the newest is got, each one stays, and only what is one gets in" {
    serve
    ask 404 "$store/keys/last"
    local one two
    sealed key 184 >first
    sealed key 184 >second
    one=$(sha256 first) two=$(sha256 second)
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
    (cd store/escapepod/pod.example.org/keys && ls) >names
    printf '%s\n' "0000000001-$one" "0000000002-$two" "0000000003-$one" | cmp - names
    dunesea check --dir store

    ask 422 -T first "$store/keys/$two"
    for wrong in "sealed metadata 184" "head -c 183 second" "head -c 184 /dev/urandom" true; do
        $wrong >wrong
        ask 422 -T wrong "$store/keys/$(sha256 wrong)"
    done
    sealed key 4136 >wrong
    ask 413 -T wrong "$store/keys/$(sha256 wrong)"
    ask 413 -T - "$store/keys/$(sha256 wrong)" <wrong
    ask 404 "$store/keys/$one"
    (cd store/escapepod/pod.example.org/keys && ls) | cmp - names
}

@test "only sealed streams, of the right kind, with the right digest" {
    serve
    sealed metadata 5136 >document
    sealed blob 5136 >blob
    head -c 5000 /dev/urandom >plain
    for file in document plain; do
        begin
        append 422 0 "$file"
        ask 404 -I "$upload"
    done
    head -c 5000 blob >half
    begin
    append 204 0 half
    finish 422 half
    begin
    append 204 0 blob
    ask 422 -X PUT "$store/blobs/$(sha256 plain)?upload=$id&length=5136"
    grep -q "the bytes have the SHA-256 $(sha256 blob)" body
    nothing_stays
}

@test "a body shorter or longer than announced" {
    serve
    sealed blob 5136 >blob
    begin
    request() {
        printf 'PATCH /v1/pod.example.org/uploads/%s HTTP/1.1\r\nHost: x\r\n%s\r\nUpload-Offset: %s\r\nContent-Length: %s\r\n\r\n' \
            "$id" "$(<auth)" "$1" "$2"
    }
    exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    { request 0 5136 && head -c 2000 blob; } >&9
    exec 9>&-
    arrived() { ask 204 -I "$upload" && [[ $(field Upload-Offset) == 2000 ]]; }
    eventually arrived
    # What goes on behind the announced end is no part of it.
    exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    { request 2000 1000 && tail -c +2001 blob; } >&9
    timeout 10 head -1 <&9 | grep -q '^HTTP/1.1 204'
    exec 9>&-
    ask 204 -I "$upload"
    [[ $(field Upload-Offset) == 3000 ]]
    finish 409 blob
    [[ $(field Upload-Offset) == 3000 ]]
    tail -c +3001 blob >rest
    append 204 3000 rest
    finish 201 blob
    finish 200 blob
    ask 409 -X PUT "$store/blobs/$(sha256 blob)?upload=$id&length=5137"
}

@test "of two that race for one head, one wins and no blob is lost" {
    serve
    sealed blob 236 >base
    sealed metadata 436 >document
    put base
    ask 201 -T document "$store/metadata/$(sha256 base)?follows=none&parent=none"
    head=$(sha256 base)
    for round in {1..10}; do
        for one in a b; do
            sealed blob $((136 + round * 100)) >"$one"
            put "$one"
        done
        clients=()
        for one in a b; do
            curl -sS --max-time 20 -o "body-$one" -w '%{http_code}\n' -H @auth -T document \
                "$store/metadata/$(sha256 "$one")?follows=$head&parent=none" >"code-$one" 3>&- &
            clients+=($!)
        done
        wait "${clients[@]}"
        [[ $(sort code-a code-b | xargs) == "201 409" ]]
        winner=a
        [[ $(<code-a) == 201 ]] || winner=b
        head=$(sha256 "$winner")
        ask 200 "$store/metadata/last"
        [[ $(field Backup-Blob) == "$head" ]]
        for one in a b; do ask 200 "$store/blobs/$(sha256 "$one")"; done
    done
    # A lost answer.
    ask 200 -T document "$store/metadata/$head?follows=$(sha256 base)&parent=none"
    ask 424 -T document "$store/metadata/$(printf 'a%.0s' {1..64})?follows=$head&parent=none"
    ask 409 -T document "$store/metadata/$(sha256 base)?follows=none&parent=none"
    [[ $(field Backup-Blob) == "$head" ]]
}

@test "1,000 backups: a document is looked up, not searched for, and all are listed with one request" {
    serve --uploads 1000
    sealed blob 236 >blob
    sealed metadata 436 >document
    mkdir blobs
    # Each of the four steps in one curl, as a thousand processes would take longer than the server.
    for _ in {1..1000}; do echo "url = $store/uploads"; done >config
    curl -fsS -X POST -H @auth -K config >ids
    # What curl is to do: all parts of the blobs, all blobs, all documents.
    python3 - "$store" <<'END'
import hashlib, os, sys
store, blob, follows = sys.argv[1], open("blob", "rb").read(), "none"
quiet = "next\nfail\nsilent\nshow-error\nheader = @auth\n"
patches, puts, metas, addresses = [], [], [], []
for name in open("ids").read().split():
    data = blob[:120] + os.urandom(100) + blob[-16:]
    open("blobs/" + name, "wb").write(data)
    sha = hashlib.sha256(data).hexdigest()
    patches.append(f'header = "Upload-Offset: 0"\nrequest = PATCH\nupload-file = blobs/{name}\nurl = {store}/uploads/{name}\n')
    puts.append(f'url = "{store}/blobs/{sha}?upload={name}&length=236"\n')
    metas.append(f'upload-file = document\nurl = "{store}/metadata/{sha}?follows={follows}&parent=none"\n')
    addresses.append(sha + "\n")
    follows = sha
open("patches", "w").write((quiet + quiet.join(patches)).removeprefix("next\n"))
open("puts", "w").write("".join(puts))
open("metas", "w").write((quiet + quiet.join(metas)).removeprefix("next\n"))
open("addresses", "w").write("".join(addresses))
END
    previous=$(tail -n 1 addresses)
    timeout 120 curl -K patches
    timeout 120 curl -fsS -X PUT -H @auth -K puts
    timeout 120 curl -K metas
    [[ $(find store/escapepod/pod.example.org/metadata -type f | wc -l) -eq 1000 ]]

    trace getdents64,openat
    ask 200 "$store/metadata/last"
    [[ $(field Backup-Blob) == "$previous" ]]
    ask 200 "$store/metadata/$(sed -n 501p addresses)"
    [[ $(field Backup-Blob) == $(sed -n 501p addresses) ]]
    sealed blob 336 >newest
    put newest
    ask 201 -T document "$store/metadata/$(sha256 newest)?follows=$previous&parent=none"
    previous=$(sha256 newest)
    sha256 newest >>addresses
    untrace
    # One document opened for each.
    [[ $(grep -cE 'openat\([0-9]+, "[0-9]{10}-' trace) -eq 2 ]]
    run ! grep -q getdents trace

    kill_dunesea
    serve
    DUNESEA_TOKEN=$(awk '{ print $3 }' auth) ep-fetch list "dunesea+$DUNESEA_URL" --domain pod.example.org | cmp - addresses
    [[ $(grep -c ' /v1/' "$DUNESEA_LOG") -eq 1 ]]
    ask 200 "$store/metadata/last"
    [[ $(field Backup-Blob) == "$previous" ]]
    [[ $(dunesea check --dir store) == "1001 blobs, 236336 bytes, 1001 backups, 0 of them pruned, 0 keys, 0 faults" ]]
}

@test "ranges, heads, health, metrics and the log" {
    serve --metrics 127.0.0.1:0
    sealed blob 3000136 >blob
    begin
    append 204 0 blob
    # curl asked first, and was told at once.
    grep -q '^HTTP/1.1 100' headers
    finish 201 blob
    sha=$(sha256 blob)
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
    jq -e '.title == "Not Found" and .status == 404 and .detail == "no backup yet"' body
    ask 405 -X DELETE "$store/blobs/$sha"
    ask 405 -X POST "$store/metadata/$sha"
    ask 405 -X DELETE "$store/keys/last"
    ask 200 "$store/blobs/$sha"
    [[ $(curl -sS "$DUNESEA_URL/healthz") == ok ]]
    curl -sS "$DUNESEA_METRICS/metrics" >text
    grep -qx 'dunesea_used_bytes{domain="pod.example.org"} 3000136' text
    grep -qx 'dunesea_received_bytes_total 3000136' text
    grep -qE '^dunesea_requests_total\{method="PUT",status="201"\} 1$' text
    [[ $(curl -sS -o text -w '%{http_code}' "$DUNESEA_URL/metrics") == 404 ]]
    grep -qE "^dunesea: 127.0.0.1 PUT /v1/pod.example.org/blobs/$sha\?upload=$id&length=3000136 201 [0-9]+ms$" "$DUNESEA_LOG"
    run ! grep -q Bearer "$DUNESEA_LOG"
    # What the client broke off, either way.
    logged() { grep -qE "^dunesea: 127.0.0.1 $1 /v1/pod.example.org/$2 cut [0-9]+ms$" "$DUNESEA_LOG"; }
    sealed blob 40000136 >large
    put large
    curl -sS --limit-rate 1M --max-time 0.5 -o copy -H @auth "$store/blobs/$(sha256 large)" 2>err || [[ $? -eq 28 ]]
    eventually logged GET "blobs/$(sha256 large)"
    begin
    curl -sS --limit-rate 1M --max-time 0.5 -H @auth -H "Upload-Offset: 0" -X PATCH -T large "$upload" 2>err || [[ $? -eq 28 ]]
    eventually logged PATCH "uploads/$id"
    # The directory is gone from under it.
    mv store/dunesea/uploads store/dunesea/elsewhere
    [[ $(curl -sS -o text -w '%{http_code}' "$DUNESEA_URL/healthz") == 503 ]]
}

@test "a drive's folder is served, and a served one is a drive's" {
    mkdir -p store
    sealed blob 5136 >blob
    sealed metadata 436 >document
    sealed blob 6136 >blob2
    sealed metadata 536 >document2
    ep-store blob "file:$PWD/store" --domain pod.example.org <blob >receipt
    ep-store metadata "file:$PWD/store" --domain pod.example.org --blob "$(sha256 blob)" --follows none --parent none <document
    dunesea check --dir store
    serve
    ask 200 "$store/metadata/last"
    cmp document body
    [[ $(field Backup-Blob) == "$(sha256 blob)" ]]
    put blob2
    ask 201 -T document2 "$store/metadata/$(sha256 blob2)?follows=$(sha256 blob)&parent=none"
    stop_dunesea
    ep-fetch last "file:$PWD/store" --domain pod.example.org | cmp - document2
    ep-fetch blob "file:$PWD/store" --domain pod.example.org "$(sha256 blob2)" | cmp - blob2
    [[ $(ep-fetch list "file:$PWD/store" --domain pod.example.org) == "$(sha256 blob)"$'\n'"$(sha256 blob2)" ]]
}

@test "check finds a flipped byte, a missing blob and a stray file" {
    serve
    sealed blob 5136 >blob
    sealed blob 6136 >blob2
    sealed metadata 436 >document
    put blob
    ask 201 -T document "$store/metadata/$(sha256 blob)?follows=none&parent=none"
    put blob2
    sealed key 184 >key
    ask 201 -T key "$store/keys/$(sha256 key)"
    [[ $(dunesea check --dir store) == "2 blobs, 11272 bytes, 1 backups, 0 of them pruned, 1 keys, 0 faults" ]]
    flip "store/escapepod/pod.example.org/blobs/$(sha256 blob2)" 3000
    rm "store/escapepod/pod.example.org/blobs/$(sha256 blob)"
    touch store/escapepod/pod.example.org/blobs/stray
    key=store/escapepod/pod.example.org/keys/0000000001-$(sha256 key)
    flip "$key" 100
    run -65 --separate-stderr dunesea check --dir store
    [[ $output == "1 blobs, 6136 bytes, 1 backups, 0 of them pruned, 1 keys, 4 faults" ]]
    [[ $stderr == *"damaged: its bytes have the SHA-256"*"$(sha256 blob2)"* ]]
    [[ $stderr == *"damaged: its bytes have the SHA-256"*"$key"* ]]
    [[ $stderr == *"its blob is missing"*"$(sha256 blob)"* ]]
    [[ $stderr == *"not the name of a blob"*stray* ]]
}
