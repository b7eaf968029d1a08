# Clock, table and verdicts.
# shellcheck shell=bash disable=SC2154

median() {
    sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# clock RUN: its seconds, added to $work/times/RUN. RUN is a function; before_RUN, where there is one, is not timed.
clock() {
    [[ ! -t 2 ]] || printf '\r\e[K  %s' "$1" >&2
    ! declare -F "before_$1" >/dev/null || "before_$1" >>"$work/said" 2>&1
    sync
    "$cache"
    local start=$EPOCHREALTIME
    "$1" >/dev/null 2>>"$work/said"
    local end=$EPOCHREALTIME
    [[ ! -t 2 ]] || printf '\r\e[K' >&2
    awk "BEGIN { print $end - $start }" >>"$work/times/$1"
}

# How both of a pair find the page cache: as it is, which is with the input in it, or empty.
warm() { :; }
cold() { echo 3 >/proc/sys/vm/drop_caches; }

heading() { echo && row "$@"; }
row() { printf '%-50s %11s %11s %8s  %s\n' "$@"; }

# race WHAT CACHE OURS [PEER TARGET]…: everybody takes turns. TARGET is ">= N" for how many times as fast ours shall
# be, "<= N" for the part of the peer's time that it may take, or - for nothing.
race() {
    local what=$1 cache=$2 ours=$3 round peer goal ratio
    shift 3
    local peers=("$@")
    # A peer may have run before, against another.
    for ((peer = 0; peer < ${#peers[@]}; peer += 2)); do rm -f "$work/times/${peers[peer]}"; done
    for ((round = 0; round < rounds; round++)); do
        ! declare -F "round_$ours" >/dev/null || "round_$ours" >>"$work/said" 2>&1
        clock "$ours"
        for ((peer = 0; peer < ${#peers[@]}; peer += 2)); do clock "${peers[peer]}"; done
    done
    while (($#)); do
        goal=$2
        ratio=$(paste "$work/times/$ours" "$work/times/$1" |
            awk -v goal="$goal" '{ print goal ~ /^>=/ ? $2 / $1 : $1 / $2 }' | median)
        row "$what against ${1//_/ }" "$(printf '%.2f s' "$(median <"$work/times/$ours")")" \
            "$(printf '%.2f s' "$(median <"$work/times/$1")")" "$(printf '%.2f' "$ratio")" "$(verdict "$ratio" "$goal")"
        shift 2
    done
}

# verdict FIGURE TARGET
verdict() {
    [[ $2 != - ]] || { echo "(no target)" && return; }
    echo "$2$(awk "BEGIN { exit !($1 $2) }" || echo ", missed")"
}
