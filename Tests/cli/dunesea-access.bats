#!/usr/bin/env bats
# Who may do what on a server, and how it takes what no client of ours sends.
# shellcheck disable=SC2030,SC2031,SC2059,SC2094,SC2153,SC2154

load helper
load storage
load dunesea
load curl

@test "tokens: none, wrong, of another domain, for reading or storing only" {
    authorize other --append --read >other
    authorize pod.example.org --read >reader
    echo "Authorization: Bearer dunesea-$(printf '0%.0s' {1..64})" >wrong
    echo "X-Nothing: 1" >none
    serve
    # Added while it runs.
    authorize pod.example.org --append >writer
    sealed blob 5136 >blob
    sealed metadata 436 >document
    put blob
    sha=$(sha256 blob)
    ask 201 -T document "$store/metadata/$sha?follows=none&parent=none"
    begin

    for who in none wrong other; do
        # The same for a domain that is there and one that is not.
        for domain in pod.example.org nowhere; do
            base=$DUNESEA_URL/v1/$domain
            for request in "-X POST $base/uploads" "-I $base/uploads/$id" "-X PATCH $base/uploads/$id" \
                "-X PUT $base/blobs/$sha" "$base/blobs/$sha" "-X PUT $base/metadata/$sha?follows=none&parent=none" \
                "$base/metadata/last" "$base/metadata/history" "-X DELETE $base/uploads/$id" "-X PUT $base/keys/$sha" \
                "$base/keys/last" "$base/nothing"; do
                # shellcheck disable=SC2086
                [[ $(as "$who" $request) == 401 ]]
                grep -vi '^date:' headers >>"answers-$who-$domain"
            done
        done
        cmp "answers-$who-pod.example.org" "answers-$who-nowhere"
    done
    [[ ! -e store/escapepod/nowhere && ! -e store/escapepod/other ]]

    [[ $(as reader "$store/metadata/last") == 200 ]]
    [[ $(as reader "$store/blobs/$sha") == 200 ]]
    for request in "-X POST $store/uploads" "-I $upload" "-X PATCH $upload" "-X DELETE $upload" \
        "-X PUT $store/blobs/$sha" "-X PUT $store/metadata/$sha?follows=none&parent=none" "-X PUT $store/keys/$sha"; do
        # shellcheck disable=SC2086
        [[ $(as reader $request) == 403 ]]
    done
    [[ $(as writer -X POST "$store/uploads") == 201 ]]
    for path in metadata/last metadata/history "metadata/$sha" keys/last "blobs/$sha"; do [[ $(as writer "$store/$path") == 403 ]]; done
    sed s/Bearer/Basic/ writer >basic
    [[ $(as basic -X POST "$store/uploads") == 401 ]]

    # Taken away while it runs.
    entry=$(dunesea token list --dir store | awk '$2 == "pod.example.org" && $3 == "append" { print $1 }')
    dunesea token remove "$entry" --dir store
    [[ $(as writer -X POST "$store/uploads") == 401 ]]
    run -10 dunesea token remove "$entry" --dir store

    [[ $(stat -c %a store/dunesea/tokens) == 600 ]]
    for file in auth other reader writer wrong; do
        secret=$(grep -oE '[0-9a-f]{64}' "$file")
        run ! grep -rqF "$secret" "$DUNESEA_LOG" store
    done
}

@test "tricks in domain, address and upload touch nothing" {
    serve
    sealed blob 5136 >blob
    put blob
    begin
    echo secret >store/secret
    find store | sort >before
    local sha status
    sha=$(sha256 blob)
    for path in /v1/../secret /v1/pod.example.org/../../secret /v1/pod.example.org/blobs/../../../../secret \
        /v1/pod.example.org/blobs/..%2f..%2f..%2fsecret "/v1/pod.example.org/blobs/../metadata" \
        "/v1/pod.example.org/blobs/$sha/" "/v1/pod.example.org//blobs/$sha" "/v1/pod.example.org/blobs/${sha^^}" \
        "/v1/pod.example.org/blobs/${sha}0" "/v1/pod.example.org/blobs/" "/v1/./pod.example.org/blobs/$sha" \
        "/v1/POD.example.org/blobs/$sha" "/v1/.hidden/blobs/$sha" "/v1/a%2fb/blobs/$sha" "/v1//blobs/$sha" \
        "/v1/pod.example.org/metadata/../blobs/$sha" "/v1/pod.example.org/uploads/../../../tokens" \
        "/v1/pod.example.org/metadata/history?after=../../../../secret" "/v1/$(printf 'a%.0s' {1..254})/blobs/$sha"; do
        for method in GET HEAD PUT POST PATCH DELETE; do
            option=(-X "$method")
            [[ $method != HEAD ]] || option=(-I)
            status=$(as auth --path-as-is "${option[@]}" -H "Upload-Offset: 0" "$DUNESEA_URL$path")
            [[ $status == 40[0145] ]] || { echo "$method $path: $status" && return 1; }
            run ! grep -q secret body
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
    sealed blob 5136 >blob
    for offset in "" -1 1.0 0x0 18446744073709551616 abc; do append 400 "$offset" blob; done
    append 409 18446744073709551615 blob
    [[ $(field Upload-Offset) == 0 ]]
    sha=$(sha256 blob)
    for query in "" "?upload=$id" "?length=5136" "?upload=$id&length=-1" "?upload=$id&length=1e3"; do
        ask 400 -X PUT "$store/blobs/$sha$query"
    done
    for query in "" "?follows=" "?follows=None" "?follows=$sha%20&parent=none" "?follows=none" "?follows=none&parent=x"; do ask 400 -T blob "$store/metadata/$sha$query"; done
    ask 422 -T blob "$store/metadata/$sha?follows=none&parent=none"
    head -c 1200000 /dev/zero >huge
    ask 413 -T huge "$store/metadata/$sha?follows=none&parent=none"
    ask 413 -T - "$store/metadata/$sha?follows=none&parent=none" <huge
    for raw in 'GARBAGE\r\n\r\n' 'GET / HTTP/9.9\r\n\r\n' 'GET /healthz HTTP/1.1\r\nContent-Length: -5\r\n\r\n'; do
        exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
        printf "$raw" >&9
        timeout 10 head -1 <&9 | grep -q '^HTTP/1.1 400'
        exec 9>&-
    done
    put blob
}

@test "root makes tokens as the server's user, who can send it nowhere else" {
    mkdir -p theirs root
    chmod 0711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$BATS_TEST_TMPDIR"
    chown 1234:1234 theirs
    chmod 0700 root
    ln -s "$PWD/root" theirs/dunesea
    chown -h 1234:1234 theirs/dunesea
    dunesea token add pod --dir theirs --read >token 2>err && return 1
    [[ -z $(ls -A root) && ! -s token ]]
    rm theirs/dunesea
    DUNESEA_DIR=theirs dunesea_token pod --read
    [[ $(find theirs -mindepth 1 -printf '%u:%g\n' | sort -u) == 1234:1234 ]]
    [[ $(dunesea token list --dir theirs | wc -l) -eq 1 ]]
}

@test "TLS by certificate files" {
    serve --tls --patience 1s
    curl() { command curl --cacert "$DUNESEA_CA" "$@"; }
    sealed blob 3000136 >blob
    sealed metadata 436 >document
    put blob
    ask 201 -T document "$store/metadata/$(sha256 blob)?follows=none&parent=none"
    ask 200 "$store/blobs/$(sha256 blob)"
    cmp blob body
    command curl -sS "$store/metadata/last" 2>err && return 1
    grep -qi certificate err
    # One that does not begin to speak it is cut.
    exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    timeout 8 cat <&9 >answer
    exec 9>&-
}

@test "what it refuses to start with" {
    refuses 64 "without TLS only a loopback address is allowed" timeout 10 dunesea serve --dir store --listen 0.0.0.0:0
    refuses 64 "not HOST:PORT" timeout 10 dunesea serve --dir store --listen 8443
    refuses 64 "must be given together" timeout 10 dunesea serve --dir store --tls-cert x
    refuses 64 "give --append, --read, --prune, or several of them" timeout 10 dunesea token add pod --dir store
    refuses 64 "not a valid domain" timeout 10 dunesea token add ../pod --read --dir store
    refuses 74 "no such file or directory: nowhere" timeout 10 dunesea serve --dir nowhere --listen 127.0.0.1:0
    echo garbage >bad.pem
    refuses 65 "not a valid PEM file: bad.pem" timeout 10 dunesea serve --dir store --tls-cert bad.pem --tls-key bad.pem
    serve
    refuses 75 "another dunesea serves this directory" timeout 10 dunesea serve --dir store --listen 127.0.0.1:0
    mkdir other
    refuses 74 "address already in use" timeout 10 dunesea serve --dir other --listen "${DUNESEA_URL#*//}"
    echo garbage >>store/dunesea/tokens
    refuses 65 "not a token entry: store/dunesea/tokens, line 2" timeout 10 dunesea token list --dir store
    # An unreadable list of tokens lets nobody in.
    ask 500 "$store/metadata/last"
}
