#!/usr/bin/env bats
# Clients that are slow, dead, or too many.
# shellcheck disable=SC2030,SC2031,SC2059,SC2094,SC2153,SC2154

load helper
load storage
load dunesea
load curl

@test "a client with a new connection does not wait for its dead one" {
    serve
    sealed blob 600136 >blob
    begin
    exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    printf 'PATCH /v1/pod.example.org/uploads/%s HTTP/1.1\r\nHost: x\r\n%s\r\nUpload-Offset: 0\r\nContent-Length: 600136\r\n\r\n' \
        "$id" "$(<auth)" >&9
    head -c 590000 blob >&9
    arriving() { [[ -s store/dunesea/uploads/pod.example.org/$id ]]; }
    eventually arriving
    ask 204 -I "$upload"
    offset=$(field Upload-Offset)
    tail -c +$((offset + 1)) blob >rest
    append 204 "$offset" rest
    # The old one wakes up.
    tail -c +590001 blob >&9
    timeout 10 head -1 <&9 | grep -q '^HTTP/1.1 409'
    exec 9>&-
    finish 201 blob
}

@test "clients that do not move are cut" {
    serve --patience 1s --metrics 127.0.0.1:0
    sealed blob 20000136 >blob
    put blob
    begin
    # In the head, in the body, between requests, and while it should read.
    for start in '' 'GET /healthz HT' 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n' \
        "PATCH /v1/pod.example.org/uploads/$id HTTP/1.1\r\nHost: x\r\n$(<auth)\r\nUpload-Offset: 0\r\nContent-Length: 500\r\n\r\nx"; do
        exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
        printf "$start" >&9
        timeout 8 cat <&9 >answer
        exec 9>&-
    done
    get() {
        exec 9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
        printf 'GET /v1/pod.example.org/blobs/%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n' "$(sha256 blob)" "$(<auth)" >&9
    }
    cuts() { curl -sS "$DUNESEA_METRICS/metrics" | sed -n 's/^dunesea_slow_clients_total //p'; }
    counted() { [[ $(cuts) -eq 5 ]]; }
    get
    eventually counted
    exec 9>&-
    # A slow one that moves is let be, whichever way.
    get
    for _ in {1..12}; do head -c 50000 <&9 >piece && sleep 0.4; done
    [[ $(cuts) -eq 5 ]]
    exec 9>&-
    sealed blob 40000 >slow
    begin
    for i in {0..9}; do tail -c +$((i * 4000 + 1)) slow | head -c 4000 && sleep 0.4; done |
        ask 204 -H "Upload-Offset: 0" -X PATCH -T - "$upload"
    finish 201 slow
}

@test "unfinished uploads are counted, and go for their age" {
    serve --uploads 2 --upload-age 2s
    sealed blob 5136 >blob
    begin
    append 204 0 blob
    begin
    ask 429 -X POST "$store/uploads"
    [[ $(field Retry-After) == 60 ]]
    gone() { [[ -z $(ls store/dunesea/uploads/pod.example.org) ]]; }
    eventually gone
    put blob
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
closed, until = [], time.monotonic() + 30
while len(closed) < 36 and time.monotonic() < until:
    closed, _, _ = select.select(connections, [], [], 0)
    time.sleep(0.05)
print(len(connections) - len(closed), flush=True)
time.sleep(60)
END
    }
    crowd 127.0.0.2 >crowd
    eventually test -s crowd
    [[ $(<crowd) == 4 ]]
    [[ $(curl -sS "$DUNESEA_METRICS/metrics" | sed -n 's/^dunesea_turned_away_total //p') == 36 ]]
    [[ $(curl -sS --max-time 5 "$DUNESEA_URL/healthz") == ok ]]
    curl -sS --max-time 5 --interface 127.0.0.2 "$DUNESEA_URL/healthz" 2>err && return 1
    # Six connections of one address, each with a token, at once.
    sealed blob 3000136 >blob
    put blob
    for i in {1..6}; do
        curl -sS --max-time 20 --limit-rate 1M -o "copy.$i" -H @auth "$store/blobs/$(sha256 blob)" 3>&- &
        loads[i]=$!
    done
    for i in {1..6}; do
        wait "${loads[i]}"
        cmp blob "copy.$i"
    done
}

@test "more connections than allowed wait their turn" {
    serve --connections 2 --strangers 8 --patience 1s
    # All are there before it takes the first of them.
    kill -STOP "$DUNESEA_PID"
    exec 7<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}" 8<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}" \
        9<>"/dev/tcp/127.0.0.1/${DUNESEA_URL##*:}"
    printf 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n' >&9
    kill -CONT "$DUNESEA_PID"
    read -t 0.5 -r <&9 && return 1
    exec 9>&-
    [[ $(curl -sS --max-time 20 "$DUNESEA_URL/healthz") == ok ]]
    exec 7>&- 8>&-
}
