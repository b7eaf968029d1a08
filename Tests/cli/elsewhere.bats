#!/usr/bin/env bats
# ep-store and ep-fetch on a real DuneSea server, over a network that breaks.
# shellcheck disable=SC2030,SC2031,SC2094,SC2154

load helper
load storage
load dunesea

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    unset DUNESEA_TOKEN
    helpers=()
}

teardown() {
    local pid
    for pid in "${helpers[@]}"; do kill "$pid" 2>/dev/null || :; done
    cleanup
}

# serve OPTION…: a server, and the token of the domain pod; sets place, as ep-store and ep-fetch are told.
serve() {
    start_dunesea "$@"
    [[ -e token ]] || dunesea_token pod --append --read >token
    reach "${DUNESEA_URL##*:}"
}

# reach PORT: the server is spoken to through that port.
reach() {
    place=("dunesea+${DUNESEA_URL%:*}:$1" --domain pod --token-file token --patience 10)
    [[ -z ${DUNESEA_CA-} ]] || place+=(--ca "$DUNESEA_CA")
}

# beside COMMAND…: runs it until the test ends; sets port to its first line, its output goes to ./said.
beside() {
    : >said
    "$@" >said 3>&- < <(exec tail -f /dev/null --pid=$$ 3>&-) &
    helpers+=("$!")
    for _ in {1..200}; do
        port=$(head -n 1 said)
        [[ -z $port ]] || return 0
        sleep 0.05
    done
    return 1
}

# through EVENT…: the server is reached through a proxy to which this happens.
through() {
    beside "$EP_REPO/Tests/cli/proxy" "${DUNESEA_URL##*:}" "$@"
    reach "$port"
}

# events: how many of them happened.
events() { grep -c ' ' said || :; }

stores() { timeout "${limit:-60}" ep-store blob "${place[@]}" <"$1" >receipt; }
fetches() { timeout "${limit:-60}" ep-fetch blob "${place[@]}" "$(sha256 "$1")" >fetched && cmp fetched "$1"; }
unfinished() { find "$DUNESEA_DIR" -path '*upload*' -type f | wc -l; }

# breaks_off STATUS HASH: the fetch of that blob ends in that status, without the blob's tail. Its messages are in ./err.
breaks_off() {
    local status=0
    timeout 30 ep-fetch blob "${place[@]}" "$2" >fetched 2>err || status=$?
    ((status == $1)) && (($(stat -c %s fetched) < $(stat -c %s blob)))
}

@test "a blob, its metadata and a key go to a server by TLS and come back" {
    serve --tls
    sealed blob 20000000 >blob
    sealed metadata 400 >meta
    sealed key 184 >key
    stores blob
    [[ $(jq -r .sha256 receipt) = $(sha256 blob) ]]
    [[ $(jq -r .sha512 receipt) = $(sha512sum <blob | cut -d' ' -f1) ]]
    [[ $(jq -r .size receipt) = 20000000 ]]
    ep-store metadata "${place[@]}" --blob "$(sha256 blob)" --follows none --parent none <meta
    ep-store key "${place[@]}" <key
    fetches blob
    ep-fetch last "${place[@]}" | cmp - meta
    ep-fetch document "${place[@]}" "$(sha256 blob)" | cmp - meta
    ep-fetch key "${place[@]}" | cmp - key
    flip "$(echo "$DUNESEA_DIR"/escapepod/pod/keys/*)" 100
    refuses 65 "the stored key is damaged" ep-fetch key "${place[@]}"
    [[ $(ep-fetch list "${place[@]}") = $(sha256 blob) ]]
    refuses 10 "no backup with the blob" ep-fetch document "${place[@]}" "$(sha256 meta)"
    run ! grep -qF "$(<token)" "$DUNESEA_LOG"
}

@test "it takes at most 32 MiB, for a blob of 64 MiB" {
    serve --tls
    sealed blob $((64 << 20)) >blob
    /usr/bin/time -f %M -o memory ep-store blob "${place[@]}" <blob >receipt
    (($(<memory) <= 32 << 10)) || { cat memory && return 1; }
    /usr/bin/time -f %M -o memory ep-fetch blob "${place[@]}" "$(sha256 blob)" >fetched
    (($(<memory) <= 32 << 10)) || { cat memory && return 1; }
    cmp fetched blob
}

@test "the way to the server is cut again and again: the blob goes on from what the server has" {
    serve
    sealed blob 20000000 >blob
    through up:{30,150}:cut up:{1000,20000}:cut up:{9000000,9000001,12345678,19000000,20005000}:cut
    stores blob
    (($(events) >= 8))
    fetches blob
    (($(unfinished) == 0))
}

@test "the same by TLS" {
    serve --tls
    sealed blob 12000000 >blob
    through up:{50,400,700}:cut up:{5000000,9000000,11000000,12003000}:cut
    stores blob
    (($(events) == 7))
    fetches blob
}

@test "the way back is cut at every few bytes: whatever answer is lost, each step may be made again" {
    serve
    sealed blob 300 >blob
    sealed metadata 400 >meta
    local offset count=0
    for ((offset = 1; offset < 1300; offset += 37)); do
        dunesea_token "pod-$offset" --append --read >token
        through "down:$offset:cut"
        place+=(--domain "pod-$offset")
        stores blob
        ep-store metadata "${place[@]}" --blob "$(sha256 blob)" --follows none --parent none <meta
        count=$((count + $(events)))
        [[ $(ep-fetch list "${place[@]}") = $(sha256 blob) ]]
        fetches blob
        kill "${helpers[-1]}"
    done
    ((count > 15))
}

@test "a blob on its way back is cut at many bytes: it goes on there" {
    serve
    sealed blob 20000000 >blob
    stores blob
    through down:{1,200,400,600,1000,70000,1048576,5000000,15000000,20001000,20002000}:cut
    fetches blob
    (($(events) >= 10))
}

@test "the same by TLS, and to a reader that takes its time" {
    serve --tls
    sealed blob 20000000 >blob
    stores blob
    through down:{1000,300000,5000000,15000000}:cut
    fetches blob
    (($(events) == 4))
    # Longer than the server's connection may stand still.
    place+=(--patience 8)
    ep-fetch blob "${place[@]}" "$(sha256 blob)" 2>err | (sleep 3 && cmp - blob)
    [[ ! -s err ]] || { cat err && return 1; }
}

@test "the server is killed in mid-upload and started again: the upload goes on" {
    serve
    sealed blob 40000000 >blob
    { head -c 25000000 blob && until [[ -e restarted ]]; do sleep 0.05; done && tail -c +25000001 blob; } |
        timeout 60 ep-store blob "${place[@]}" >receipt 2>err 3>&- &
    local storing=$!
    half_there() { [[ -n $(find "$DUNESEA_DIR" -type f -size +7M) ]]; }
    eventually half_there
    kill_dunesea
    : >restarted
    eventually grep -q "retrying" err
    start_dunesea --listen "${DUNESEA_URL#*//}"
    wait "$storing"
    [[ $(jq -r .sha256 receipt) = $(sha256 blob) ]]
    fetches blob
}

@test "a peer that stalls ends in a bounded time, in each direction" {
    serve
    sealed blob 20000000 >blob
    stores blob
    local event
    for event in up:100 up:9000000 down:50; do
        through "$event:stall" "$event:stall" "$event:stall" "$event:stall" "$event:stall"
        place+=(--patience 2)
        limit=30 refuses 69 "no data for" stores blob
    done
    through down:{100000,100000,100000,100000}:stall
    place+=(--patience 2)
    breaks_off 69 "$(sha256 blob)"
}

@test "one connection that stalls is given up for another" {
    serve
    sealed blob 20000000 >blob
    through up:9000000:stall
    place+=(--patience 3)
    stores blob
    (($(events) == 1))
    through down:9000000:stall
    place+=(--patience 3)
    fetches blob
    (($(events) == 1))
}

@test "a producer that takes its time costs no patience" {
    serve
    sealed blob 20000000 >blob
    through up:7000000:cut
    place+=(--patience 2)
    { head -c 11000000 blob && sleep 3 && tail -c +11000001 blob; } | ep-store blob "${place[@]}" >receipt
    (($(events) == 1))
    fetches blob
}

@test "behind nginx, set up as dunesea(8) says" {
    serve
    sealed blob 20000000 >blob
    sealed metadata 400 >meta
    mkdir nginx
    {
        echo "daemon off; pid $PWD/nginx/pid; error_log $PWD/nginx/error;"
        echo "events {} http { access_log off;"
        for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $PWD/nginx/$kind;"; done
        echo "server { listen unix:$PWD/nginx/probe; listen 127.0.0.1:PORT;"
        sed -n '/^location/,/^}/p' "$EP_REPO/man/dunesea.8" | sed "s|http://127.0.0.1:8443|$DUNESEA_URL|"
        echo "} }"
    } >nginx/template
    # A port that is free now may be taken when nginx comes to it.
    for port in {20100..20120}; do
        sed "s/PORT/$port/" nginx/template >nginx/conf
        nginx -p "$PWD/nginx" -c "$PWD/nginx/conf" 2>nginx/said 3>&- &
        helpers+=("$!")
        for _ in {1..100}; do
            [[ ! -s nginx/pid ]] || break 2
            kill -0 "${helpers[-1]}" 2>/dev/null || break
            sleep 0.05
        done
    done
    reach "$port"
    stores blob
    ep-store metadata "${place[@]}" --blob "$(sha256 blob)" --follows none --parent none <meta
    ep-fetch last "${place[@]}" | cmp - meta
    fetches blob
    grep -q PATCH "$DUNESEA_LOG"
    # It did go through nginx.
    kill "${helpers[-1]}"
    wait "${helpers[-1]}" || :
    refuses 69 "$port" timeout 20 ep-fetch last "${place[@]}" --patience 1
}

@test "a server that is not there is 69, and never an empty store" {
    serve
    stop_dunesea
    sealed blob 300 >blob
    place+=(--patience 1)
    refuses 69 "$DUNESEA_URL" timeout 20 ep-fetch last "${place[@]}"
    refuses 69 "$DUNESEA_URL" timeout 20 ep-store blob "${place[@]}" <blob
}

@test "a cut stream leaves nothing on the server" {
    serve
    sealed blob 20000000 >blob
    head -c 19000000 blob >short
    refuses 65 "truncated" ep-store blob "${place[@]}" <short
    (($(unfinished) == 0))
    (($(find "$DUNESEA_DIR" -path '*blobs/*' -type f | wc -l) == 0))
}

@test "no token, a wrong one, another domain's, and one that may not" {
    serve
    sealed blob 300 >blob
    dunesea_token other --append --read >other
    dunesea_token pod --read >reader
    dunesea_token pod --append >writer
    local url=${place[0]}
    refuses 64 "no token" ep-fetch last "$url" --domain pod
    refuses 74 "absent" ep-fetch last "$url" --domain pod --token-file absent
    : >empty
    refuses 65 "not a token" ep-fetch last "$url" --domain pod --token-file empty
    echo wrong >wrong
    refuses 77 "does not open this domain" ep-fetch last "$url" --domain pod --token-file wrong
    refuses 77 "does not open this domain" ep-fetch last "$url" --domain pod --token-file other
    refuses 77 "does not open this domain" ep-fetch last "$url" --domain no-such-one --token-file other
    refuses 77 "may not append" ep-store blob "$url" --domain pod --token-file reader <blob
    ep-store blob "$url" --domain pod --token-file writer <blob >receipt
    refuses 77 "may not read" ep-fetch blob "$url" --domain pod --token-file writer "$(sha256 blob)"
    DUNESEA_TOKEN=$(<reader) ep-fetch blob "$url" --domain pod "$(sha256 blob)" | cmp - blob
}

@test "two race for one head: one wins, the other exits 75, and no blob is lost" {
    serve
    local round first=none statuses
    for round in {1..5}; do
        sealed blob 300 >"blob.$round.1"
        sealed blob 300 >"blob.$round.2"
        sealed metadata 400 >meta
        stores "blob.$round.1"
        stores "blob.$round.2"
        statuses=$(
            for racer in 1 2; do
                (
                    status=0
                    ep-store metadata "${place[@]}" --blob "$(sha256 "blob.$round.$racer")" --follows "$first" --parent none \
                        <meta 2>"err.$racer" >"record.$racer" || status=$?
                    echo "$status"
                ) &
            done
            wait
        )
        [[ $(sort <<<"$statuses" | tr '\n' ' ') = "0 75 " ]]
        grep -q "the head has moved" err.1 err.2
        fetches "blob.$round.1"
        fetches "blob.$round.2"
        first=$(ep-fetch list "${place[@]}" | tail -n 1)
    done
    (($(ep-fetch list "${place[@]}" | wc -l) == 5))
}

@test "a quota that is used up is 74, with the server's words, and nothing stays" {
    serve --upload-bytes 15000000
    sealed blob 40000000 >blob
    refuses 74 "15000000" timeout 60 ep-store blob "${place[@]}" <blob
    (($(unfinished) == 0))
}

@test "a server with a certificate that nobody vouches for is not spoken to; a pinned key is enough" {
    serve --tls
    local url=${place[0]} pin
    refuses 69 "the server is not trusted" ep-fetch last "$url" --domain pod --token-file token
    run ! grep -q "GET /v1" "$DUNESEA_LOG"
    pin=sha256//$(openssl x509 -in "$DUNESEA_CA" -noout -pubkey | openssl pkey -pubin -outform der |
        openssl dgst -sha256 -binary | base64)
    refuses 10 "no backup of pod" ep-fetch last "$url" --domain pod --token-file token --pin "$pin"
    refuses 69 "the server is not trusted" ep-fetch last "$url" --domain pod --token-file token \
        --pin "sha256//$(head -c 32 /dev/zero | base64)"
    refuses 69 "the server is not trusted" ep-fetch last "$url" --domain pod --token-file token --ca "$DUNESEA_CA" \
        --pin "sha256//$(head -c 32 /dev/zero | base64)"
    refuses 74 "absent" ep-fetch last "$url" --domain pod --token-file token --ca absent
    # One that is for another name.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout other.key -out other.pem \
        -subj /CN=other -addext subjectAltName=DNS:other 2>/dev/null
    stop_dunesea
    start_dunesea --tls-cert other.pem --tls-key other.key
    refuses 69 "the server is not trusted" ep-fetch last "dunesea+https:${DUNESEA_URL#http:}" --domain pod \
        --token-file token --ca other.pem
}

@test "no token goes over a network in the clear" {
    echo token >token
    local url
    for url in dunesea+http://192.0.2.1 dunesea+http://0127.0.0.1 dunesea+http://dunesea.invalid:8443 dunesea+http://127.0.0.1.invalid; do
        refuses 64 "in the clear" timeout 10 ep-fetch last "$url" --domain pod --token-file token
    done
    refuses 69 "dunesea.invalid" timeout 20 ep-fetch last dunesea+http://dunesea.invalid --domain pod --token-file token \
        --insecure --patience 1
}

@test "what is no server's address is refused" {
    local url
    for url in dunesea+http: dunesea+http:/x dunesea+https:// dunesea+https://host/path dunesea+https://user@host \
        'dunesea+https://host:0' 'dunesea+https://host:+1' dunesea+https://host:65536 'dunesea+https://h?q' \
        'dunesea+https://h o' dunesea+ftp://host; do
        refuses 64 "$url" ep-fetch last "$url" --domain pod
    done
}

@test "bytes that the server's disk has damaged keep their tail" {
    serve
    sealed blob 20000000 >blob
    stores blob
    local file
    file=$(find "$DUNESEA_DIR" -path '*blobs/*' -type f)
    flip "$file" 12000000
    breaks_off 65 "$(sha256 blob)"
    truncate -s 19000000 "$file"
    breaks_off 65 "$(sha256 blob)"
}

# lying MODE [WORD…]: the server is one that lies so.
lying() {
    DUNESEA_URL=http://127.0.0.1:0 DUNESEA_CA=
    echo token >token
    beside "$EP_REPO/Tests/cli/liar" "$@"
    reach "$port"
    place+=(--patience 1)
}

# answers TEXT…: the server gives these answers, each to one more request, the last to all others; \n is the end of a line.
answers() {
    local text files=()
    for text in "$@"; do
        printf %b "${text//\\n/\\r\\n}" >"answer.${#files[@]}"
        files+=("answer.${#files[@]}")
    done
    lying says "${files[@]}"
}

# requests METHOD: how many of them the liar has had.
requests() { grep -c "^$1" said || :; }

@test "a server that lies gets a refusal, and never more than a bounded time" {
    sealed metadata 400 >meta
    sealed blob 3000000 >blob
    blob=$(sha256 blob)
    lying stranger
    refuses 69 "not a DuneSea server" timeout 20 ep-fetch last "${place[@]}"
    refuses 69 "not a DuneSea server" timeout 20 ep-fetch blob "${place[@]}" "$blob"
    refuses 69 "not a DuneSea server" timeout 20 ep-store blob "${place[@]}" <blob
    lying redirect
    refuses 69 "status 307" timeout 20 ep-fetch last "${place[@]}"
    lying overload
    refuses 69 "status 503" timeout 20 ep-store blob "${place[@]}" --patience 4 <blob
    # The pauses grow.
    (($(requests POST) < 8))
    lying endless meta
    refuses 65 "damaged" timeout 20 ep-fetch last "${place[@]}"
    lying short blob
    breaks_off 69 "$blob"
    lying nolength blob
    refuses 69 "did not state a length" timeout 20 ep-fetch blob "${place[@]}" "$blob"
    lying elsewhere blob
    breaks_off 69 "$blob"
    grep -qF "did not continue at byte 1500000" err
}

@test "a history that is cut goes on behind what has come; one that goes round, or is none, is refused" {
    local head=$'HTTP/1.1 200 OK\r\nDuneSea: 1\r\nConnection: close\r\n\r\n'
    item() { printf EPODITEM && printf %016x 400 | xxd -r -p && printf "$1%.0s" {1..64} | xxd -r -p && cat "$2"; }
    misses() { printf EPODMISS && printf %016x 74 | xxd -r -p && printf "$1%.0s" {1..64} | xxd -r -p; }
    ends() { printf EPODENDS && printf '%016x%064d' "$1" 0 | xxd -r -p; }
    sealed metadata 400 >one
    sealed metadata 400 >two
    { printf %s "$head" && item a one && item b two | head -c 300; } >half
    { printf %s "$head" && item b two && ends 1; } >rest
    { printf %s "$head" && ends 0; } >unpruned
    lying says half rest unpruned
    timeout 20 ep-fetch history "${place[@]}" --patience 10 >series 2>err
    cmp series <(item a one && item b two && ends 2)
    grep -q "^GET /v1/pod/metadata/history?after=aaaaaaaa" said
    { printf %s "$head" && item a one && item a two; } >circle
    lying says circle
    for order in history list; do
        run -65 --separate-stderr timeout 20 ep-fetch "$order" "${place[@]}"
        [[ $stderr = *"in a circle"* ]]
    done
    # What the server cannot read is a backup nevertheless.
    { printf %s "$head" && item a one && misses b && ends 2; } >rotten
    lying says rotten
    ep-fetch list "${place[@]}" | cmp - <(printf 'a%.0s' {1..64} && echo && printf 'b%.0s' {1..64} && echo)
    (($(requests GET) == 1))
    { printf %s "$head" && item a one | tr I J; } >none
    lying says none
    refuses 65 "not a series" timeout 20 ep-fetch history "${place[@]}"
    { printf %s "$head" && item a one && ends 2; } >counted
    lying says counted
    run -65 --separate-stderr timeout 20 ep-fetch history "${place[@]}"
    [[ $stderr = *"states 2 documents, but has 1"* ]]
    lying endless one
    refuses 65 "not a series" timeout 20 ep-fetch history "${place[@]}"
}

@test "a server that lies about an upload, or takes it in its own way" {
    sealed blob 7000000 >blob
    lying takes =
    refuses 69 "accepted less than it was sent" timeout 20 ep-store blob "${place[@]}" <blob
    (($(requests PATCH) < 8))
    lying takes -
    refuses 69 "gave up after 1 s" timeout 20 ep-store blob "${place[@]}" <blob
    lying takes + 0
    refuses 74 "has only 0 bytes, but had acknowledged 3145728" timeout 20 ep-store blob "${place[@]}" <blob
    lying takes + 18446744073709551615
    refuses 74 "18446744073709551615 bytes" timeout 20 ep-store blob "${place[@]}" <blob
    lying takes 18446744073709551616
    refuses 69 "did not state an offset" timeout 20 ep-store blob "${place[@]}" <blob
    lying early
    refuses 74 "no room" timeout 20 ep-store blob "${place[@]}" --patience 10 <blob
    lacks "retrying" err
    answers "HTTP/1.1 201 Created\nDuneSea: 1\nContent-Length: 32\n\n$(printf 'a%.0s' {1..32})" \
        "HTTP/1.1 404 Not Found\nDuneSea: 1\nContent-Length: 0\n\n"
    refuses 74 "lost the upload" timeout 20 ep-store blob "${place[@]}" <blob
    # In steps that are no runs of bytes, of which all but one give the patience back.
    lying takes 500000 1000000 1500000 1500000 2000000 2500000 + 6000000 +
    place+=(--patience 4)
    stores blob
    # A connection that is dead when it is used again is libcurl's to replace, from the first of its bytes.
    lying takes - +
    place+=(--patience 10)
    stores blob 2>err
    [[ ! -s err ]] || { cat err && return 1; }
}

@test "heads and bodies that are cut, endless, slow or out of all measure" {
    sealed metadata 400 >meta
    sealed blob 3000 >blob
    local good='HTTP/1.1 404 Not Found\nDuneSea: 1\nContent-Length: 0\n' mode
    answers "$good"
    refuses 69 "cut off in its header" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nDuneSea: 2\n\n$good\n"
    refuses 10 "no backup of pod" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 100 Continue\n\n"
    refuses 69 "gave up after 1 s" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 429 Busy\nDuneSea: 1\nRetry-After: 1\nContent-Length: 0\n\n" "$good\n"
    refuses 10 "retrying in 1.0 s" timeout 20 ep-fetch last "${place[@]}" --patience 4
    answers "HTTP/1.1 503 Busy\nRetry-After: 4294967295\nContent-Length: 0\n\n"
    refuses 69 "a pause of 4294967295 s" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 200 OK\n :x\n\n"
    refuses 69 "invalid response header" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 99999999999999999999 Huge\nContent-Length: 99999999999999999999\n\n"
    refuses 69 "gave up after 1 s" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 403 No\nDuneSea: 1\nContent-Length: 9\n\n\033[31mred"
    refuses 69 "gave up" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 403 No\nDuneSea: 1\nContent-Length: 8\n\n\033[31mred"
    refuses 77 "status 403" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 403 No\nDuneSea: 1\nContent-Length: 26\n\n{\"detail\":\"\\\\u001b[31mred\"}"
    refuses 77 "\\x1b[31mred" timeout 20 ep-fetch last "${place[@]}"
    answers "HTTP/1.1 200 OK\nDuneSea: 1\nContent-Length: 3000\n\nX" \
        "HTTP/1.1 200 OK\nDuneSea: 1\nContent-Length: 2999\nContent-Range: bytes 1-2999/3000\n\nX"
    refuses 69 "did not continue at byte 1" timeout 20 ep-fetch blob "${place[@]}" "$(sha256 blob)"
    for mode in heads informs; do
        lying "$mode"
        refuses 69 "gave up after 1 s" timeout 20 ep-fetch last "${place[@]}"
    done
    lying drips meta
    refuses 69 "no data for" timeout 20 ep-fetch last "${place[@]}"
}

@test "an authority that is given takes the place of the system's, in full" {
    serve --tls
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout other.key -out other.pem \
        -subj /CN=other 2>/dev/null
    # Whoever does not find the server's there might look into the system's folder.
    refuses 69 "the server is not trusted" timeout 20 strace -f -o trace -e trace=%file ep-fetch last "${place[@]}" --ca other.pem
    grep -qF '"other.pem"' trace
    lacks '"/(etc|usr/lib)/ssl/certs' trace
}

@test "a proxy of the environment's is used, is not given the token, and is not asked for this machine" {
    serve --tls
    local url=${place[0]} way
    way=("dunesea+https://store.example:8443" "${place[@]:1}")
    beside "$EP_REPO/Tests/cli/proxy" "${DUNESEA_URL##*:}" connect:200
    export https_proxy=http://127.0.0.1:$port http_proxy=http://127.0.0.1:$port
    refuses 10 "no backup of pod" timeout 20 ep-fetch last "${way[@]}"
    [[ $(grep -c "^CONNECT store.example:8443 " said) = 1 ]]
    lacks "$(<token)" said
    lacks "^Authorization" said
    refuses 10 "no backup of pod" timeout 20 ep-fetch last "$url" "${place[@]:1}"
    refuses 69 "127.0.0.1:1" timeout 20 ep-fetch last dunesea+http://127.0.0.1:1 --domain pod --token-file token --patience 1
    [[ $(grep -c "HTTP/1.1" said) = 1 ]]
    beside "$EP_REPO/Tests/cli/proxy" "${DUNESEA_URL##*:}" connect:407
    https_proxy=http://127.0.0.1:$port refuses 77 "proxy" timeout 20 ep-fetch last "${way[@]}" --patience 60
}
