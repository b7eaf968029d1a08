# Peak memory, for short and for long streams.
# shellcheck shell=bash disable=SC2154

# peak TOOL ARGUMENTS…: its peak memory goes to $work/memory.TOOL, in KiB.
peak() { /usr/bin/time -f %M -o "$work/memory.$1" "$@"; }
mebibytes() { awk '{ printf "%.1f MiB", $1 / 1024 }' "$work/memory.$1"; }

memory_row() {
    local most
    most=$(printf '%s\n' "${@:2}" | sort -g | tail -n 1)
    row "$1" "$2" "${3-}" "" "$(verdict "${most% *}" "${4-<= 32}")"
}

sealing() { head -c "$1" /dev/zero | peak ep-seal --key "$key" | peak ep-unseal --key "$key" >/dev/null; }
storing() {
    local blob
    fresh_store
    head -c "$1" /dev/zero | ep-seal --key "$key" --compress none |
        peak ep-store blob "file:$work/store" --domain "$domain" >"$work/receipt"
    blob=$(grep -oE '"sha256":"[0-9a-f]+' "$work/receipt")
    peak ep-fetch blob "file:$work/store" --domain "$domain" "${blob##*\"}" | cat >/dev/null
    rm -r "$work/store"
}
peers() {
    head -c "$1" /dev/zero | peak "${enc[@]}" >/dev/null
    head -c "$1" /dev/zero | peak age -r "$recipient" >/dev/null
}

# both STREAM SIZE TOOL…: a row for each tool that the function STREAM runs, at 64 MiB and at SIZE.
both() {
    local stream=$1 size=$2 tool aim
    local -A small=()
    shift 2
    "$stream" 64M 2>>"$work/said"
    for tool; do small[$tool]=$(mebibytes "$tool"); done
    "$stream" "$size" 2>>"$work/said"
    for tool; do
        aim=-
        [[ $tool != ep-* ]] || aim="<= 32"
        memory_row "$tool, 64 MiB and ${size%[MG]} ${size: -1}iB" "${small[$tool]}" "$(mebibytes "$tool")" "$aim"
    done
}

memory() {
    local tool slots
    heading "peak memory" "short" "long" "" target
    rm -f "$work/plain" "$work/sealed"
    both sealing 16G ep-seal ep-unseal
    both peers 16G openssl age
    both storing "$big" ep-store ep-fetch
    peak ep-key id "$key" >/dev/null
    memory_row "ep-key id" "$(mebibytes ep-key)"
    needs_root || return 0
    make_volume
    before_escapepod_full 2>>"$work/said"
    escapepod_backup >/dev/null
    ep-fetch last "file:$work/store" --domain "$domain" | ep-unseal --kind metadata --key "$key" >"$work/document"
    slots=("$volume"/.escapepod/*)
    peak ep-snap list "$volume" --name "${slots[0]##*/}" --json >"$work/snapshots"
    peak ep-plan --domain "$domain" --snapshots "$work/snapshots" <"$work/document" >/dev/null
    peak ep-meta check <"$work/document" >/dev/null
    for tool in ep-snap ep-plan ep-meta; do memory_row "$tool" "$(mebibytes "$tool")"; done
    memory_row "escapepod backup, its largest process" "$(mebibytes escapepod)"
    # Another section makes its own.
    drop_volume
    for tool in restic borg; do
        [[ ! -e $work/memory.$tool ]] || memory_row "$tool, the last backup" "$(mebibytes "$tool")" "" -
    done
}
