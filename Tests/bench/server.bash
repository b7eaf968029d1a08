# DuneSea beside nginx, on loopback.
# shellcheck shell=bash disable=SC2034,SC2154

# spent PID: the processor time of a process and of the children that it has waited for, in hundredths of a second.
spent() { awk '{ print $14 + $15, $16 + $17 }' "/proc/$1/stat"; }

# charge RUN SERVER COMMAND…: runs it; what it and the process SERVER take of the processors is added to $work/spent/RUN.
charge() {
    local run=$1 server=$2 ours theirs ours_after theirs_after
    shift 2
    read -r _ ours < <(spent $$)
    read -r theirs _ < <(spent "$server")
    "$@"
    read -r theirs_after _ < <(spent "$server")
    read -r _ ours_after < <(spent $$)
    echo "$((theirs_after - theirs)) $((ours_after - ours))" >>"$work/spent/$run"
}

# spent_row WHAT OURS PEER: their means for 1 GiB, of the server and of its client.
spent_row() {
    local column=1 end run figures
    for end in server client; do
        figures=()
        for run in "$2" "$3"; do
            figures+=("$(awk -v n="$column" '{ sum += $n } END { printf "%.2f s", sum / NR / 100 }' "$work/spent/$run")")
        done
        row "$1, $end" "${figures[@]}" "" ""
        column=2
    done
}

# dunesea and nginx, on loopback without TLS and on one file system.
start_servers() {
    local url
    head -c 1G /dev/urandom | ep-seal --key "$key" >"$work/upload"
    address=$(sha256sum <"$work/upload" | cut -c 1-64)
    length=$(stat -c %s "$work/upload")
    mkdir "$work/dunesea" "$work/nginx" "$work/nginx/temporary"
    cat >"$work/nginx.conf" <<END
daemon off;
master_process off;
pid $work/nginx.pid;
error_log $work/said;
events {}
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path $work/nginx/temporary;
    client_max_body_size 0;
    server {
        listen 127.0.0.1:$nginx_port;
        root $work/nginx;
        location / { dav_methods PUT; }
    }
}
END
    "$EP_DUNESEA" token add "$domain" --append --read --dir "$work/dunesea" >"$work/token"
    echo "Authorization: Bearer $(<"$work/token")" >"$work/auth"
    "$EP_DUNESEA" serve --dir "$work/dunesea" --listen "127.0.0.1:$dunesea_port" 2>>"$work/said" &
    dunesea_pid=$!
    nginx -p "$work" -c "$work/nginx.conf" 2>>"$work/said" &
    nginx_pid=$!
    servers=("$dunesea_pid" "$nginx_pid")
    for url in "http://127.0.0.1:$dunesea_port/healthz" "$at_nginx/"; do
        curl -sS --retry 9 --retry-connrefused "$url" >>"$work/said" 2>&1
    done
}

dunesea_port=18443
nginx_port=18444
at_dunesea=http://127.0.0.1:$dunesea_port/v1/$domain
at_nginx=http://127.0.0.1:$nginx_port
at_store=("dunesea+http://127.0.0.1:$dunesea_port" --domain "$domain" --token-file "$work/token")

# curl with the token.
asking() { curl -fsS -H "@$work/auth" "$@"; }

begin_upload() { asking -X POST "$at_dunesea/uploads"; }
send_upload() { asking -H "Upload-Offset: 0" -X PATCH -T "$work/upload" "$at_dunesea/uploads/$1"; }
# A client that knows the address beforehand: three requests, the last of which waits for digest and sync.
upload_to_dunesea() {
    local id
    id=$(begin_upload)
    send_upload "$id"
    asking -X PUT "$at_dunesea/blobs/$address?upload=$id&length=$length"
}
put_to_nginx() { curl -fsS -T "$work/upload" "$at_nginx/blob"; }

before_upload() { rm -f "$work"/dunesea/escapepod/*/blobs/* "$work/nginx/blob"; }
before_dunesea_upload() { before_upload; }
before_nginx_PUT() { before_upload; }
before_nginx_PUT_and_sync() { before_upload; }
dunesea_upload() { charge dunesea_upload "$dunesea_pid" upload_to_dunesea; }
nginx_PUT() { charge nginx_PUT "$nginx_pid" put_to_nginx; }
nginx_PUT_and_sync() { put_to_nginx && sync "$work/nginx/blob"; }
dunesea_download() { charge dunesea_download "$dunesea_pid" asking "$at_dunesea/blobs/$address"; }
nginx_GET() { charge nginx_GET "$nginx_pid" curl -fsS "$at_nginx/blob"; }

# The same by our own client, which knows neither length nor digests beforehand, and takes both of them.
tool_upload() {
    charge tool_upload "$dunesea_pid" ep-store blob "${at_store[@]}" <"$work/upload" >"$work/receipt"
}
tool_download() { charge tool_download "$dunesea_pid" ep-fetch blob "${at_store[@]}" "$address" --size "$length"; }
before_tool_upload() { before_upload; }

# No run of the tools can be faster than these: nginx takes no digest.
SHA-512_alone() { openssl dgst -sha512 "$work/upload"; }
SHA-256_alone() { openssl dgst -sha256 "$work/upload"; }

dunesea() {
    local id ids=() uploads=()
    rm -rf "$work/plain" "$work/sealed" "$work/store" "$work/restic" "$work/borg"
    start_servers
    race "synced upload, 1 GiB" warm dunesea_upload nginx_PUT_and_sync ">= 1.0" nginx_PUT ">= 0.8"
    race "ep-store, 1 GiB" warm tool_upload nginx_PUT_and_sync ">= 0.9" nginx_PUT ">= 0.8" SHA-512_alone -
    [[ -e $work/nginx/blob ]] || put_to_nginx
    upload_to_dunesea
    race "download, 1 GiB" warm dunesea_download nginx_GET ">= 0.8"
    race "ep-fetch, 1 GiB" warm tool_download nginx_GET ">= 1.0" SHA-256_alone -
    heading "processor time for 1 GiB" dunesea nginx "" ""
    spent_row upload dunesea_upload nginx_PUT
    spent_row ep-store tool_upload nginx_PUT
    spent_row download dunesea_download nginx_GET
    spent_row ep-fetch tool_download nginx_GET
    before_upload
    for _ in {1..8}; do
        id=$(begin_upload)
        ids+=("$id")
        send_upload "$id" &
        uploads+=($!)
    done
    wait "${uploads[@]}"
    heading "peak memory" "" "" "" target
    awk '/VmHWM/ { print $2 }' "/proc/$dunesea_pid/status" >"$work/memory.dunesea"
    memory_row "dunesea, 8 uploads of 1 GiB at once" "$(mebibytes dunesea)" "" "<= 64"
    for id in "${ids[@]}"; do asking -X DELETE "$at_dunesea/uploads/$id"; done
    peak ep-store blob "${at_store[@]}" <"$work/upload" >"$work/receipt"
    peak ep-fetch blob "${at_store[@]}" "$address" >/dev/null
    memory_row "ep-store, 1 GiB to a server" "$(mebibytes ep-store)" "" "<= 32"
    memory_row "ep-fetch, 1 GiB from a server" "$(mebibytes ep-fetch)" "" "<= 32"
    stop_servers
    rm -r "$work/dunesea" "$work/nginx" "$work/upload"
}
