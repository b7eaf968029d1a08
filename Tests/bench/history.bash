# What reading a history takes as it grows, of a directory and of a server.
# shellcheck shell=bash disable=SC2034,SC2154

history_port=18445

# make_history COUNT: a store with so many backups, of a byte each, in $work/history.
make_history() {
    local number blob document
    mkdir -p "$work/history/escapepod/bench/blobs" "$work/history/escapepod/bench/metadata" "$work/sources"
    for ((number = 1; number <= $1; number++)); do
        echo "$number" | ep-seal --key "$key" >"$work/sources/$number"
    done
    "$repo/Tests/bench/make-history" "$work/sources" "$1" >"$work/documents"
    number=0
    while IFS= read -r document; do
        number=$((number + 1))
        blob=$(sha256sum <"$work/sources/$number")
        blob=${blob%% *}
        mv "$work/sources/$number" "$work/history/escapepod/bench/blobs/$blob"
        printf '%s\n' "$document" | ep-seal --kind metadata --key "$key" \
            >"$work/history/escapepod/bench/metadata/$(printf %010d "$number")-$blob"
    done <"$work/documents"
}

# reads STORE COMMAND: the median of its seconds.
reads() {
    local turn start end options=()
    [[ $1 != dunesea* ]] || options=(--token-file "$work/history-token")
    [[ $2 != restore ]] || options+=(--to "$work/mnt/history/new" --dry-run)
    for ((turn = 0; turn < rounds; turn++)); do
        start=$EPOCHREALTIME
        escapepod "$2" --store "$1" --domain bench --key "$key" "${options[@]}" >/dev/null 2>>"$work/said" || (($? == 3))
        end=$EPOCHREALTIME
        echo "${end/./} ${start/./}"
    done | awk '{ print ($1 - $2) / 1000000 }' | median
}

history() {
    local count command figures pid store
    heading "a history, in seconds" directory server "" target
    make_btrfs "$work/mnt/history"
    for count in 10 100 1000; do
        make_history "$count"
        "$EP_DUNESEA" token add bench --read --dir "$work/history" >"$work/history-token"
        "$EP_DUNESEA" serve --dir "$work/history" --listen "127.0.0.1:$history_port" 2>>"$work/said" &
        pid=$!
        servers=("$pid")
        curl -sS --retry 9 --retry-connrefused "http://127.0.0.1:$history_port/healthz" >>"$work/said" 2>&1
        for command in list status restore; do
            figures=()
            for store in "file:$work/history" "dunesea+http://127.0.0.1:$history_port"; do
                figures+=("$(reads "$store" "$command")")
            done
            row "$command, $count backups" "$(printf '%.2f s' "${figures[0]}")" "$(printf '%.2f s' "${figures[1]}")" "" \
                "$(verdict "$(printf '%s\n' "${figures[@]}" | sort -g | tail -n 1)" "<= 1")"
        done
        stop_servers
        rm -r "$work/history"
    done
}
