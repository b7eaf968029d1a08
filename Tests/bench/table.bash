# Clock, table and verdicts.
# shellcheck shell=bash disable=SC2154

median() {
    sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# processors: what all ended children of the bench have taken of them, in hundredths of a second.
processors() { awk '{ print $16 + $17 }' "/proc/$$/stat"; }

# clock RUN: its seconds, added to $work/times/RUN, and those that it took of the processors, to $work/cpu/RUN. RUN is a
# function; before_RUN, where there is one, is not timed.
clock() {
    [[ ! -t 2 ]] || printf '\r\e[K  %s' "$1" >&2
    ! declare -F "before_$1" >/dev/null || "before_$1" >>"$work/said" 2>&1
    sync
    "$cache"
    local start end taken
    taken=$(processors)
    start=$EPOCHREALTIME
    "$1" >/dev/null 2>>"$work/said"
    end=$EPOCHREALTIME
    [[ ! -t 2 ]] || printf '\r\e[K' >&2
    awk "BEGIN { print $end - $start }" >>"$work/times/$1"
    awk "BEGIN { print ($(processors) - $taken) / 100 }" >>"$work/cpu/$1"
}

# How both of a pair find the page cache: as it is, which is with the input in it, or empty.
warm() { :; }
cold() { echo 3 >/proc/sys/vm/drop_caches; }

heading() { echo && row "$@"; }
row() { printf '%-50s %11s %11s %8s  %s\n' "$@"; }

# race WHAT CACHE OURS [PEER TARGET]…: everybody takes turns. TARGET is ">= N" for how many times as fast ours shall
# be, "<= N" for the part of the peer's time that it may take, the same behind "cpu " for processor time, or - for nothing.
race() {
    local what=$1 cache=$2 ours=$3 round peer goal cpu_goal
    shift 3
    local peers=("$@")
    # They may have run before.
    rm -f "$work"/{times,cpu}/"$ours"
    for ((peer = 0; peer < ${#peers[@]}; peer += 2)); do rm -f "$work"/{times,cpu}/"${peers[peer]}"; done
    for ((round = 0; round < rounds; round++)); do
        ! declare -F "round_$ours" >/dev/null || "round_$ours" >>"$work/said" 2>&1
        clock "$ours"
        for ((peer = 0; peer < ${#peers[@]}; peer += 2)); do clock "${peers[peer]}"; done
    done
    while (($#)); do
        goal=$2 cpu_goal=-
        [[ $2 != cpu\ * ]] || goal=- cpu_goal=${2#cpu }
        pair "$what against ${1//_/ }" times "$ours" "$1" "$goal"
        pair "  its processor time" cpu "$ours" "$1" "$cpu_goal"
        shift 2
    done
}

# pair WHAT times|cpu OURS PEER TARGET: the row of a pair that has raced.
pair() {
    local ratio
    ratio=$(paste "$work/$2/$3" "$work/$2/$4" |
        awk -v goal="$5" '{ print goal ~ /^>=/ ? $2 / $1 : $1 / ($2 > 0 ? $2 : 0.01) }' | median)
    row "$1" "$(printf '%.2f s' "$(median <"$work/$2/$3")")" "$(printf '%.2f s' "$(median <"$work/$2/$4")")" \
        "$(printf '%.2f' "$ratio")" "$(verdict "$ratio" "$5")"
}

# room WHAT OURS PEER TARGET: how much two folders hold, in MB.
room() {
    local ours peer ratio
    ours=$(du -sb "$2" | cut -f 1)
    peer=$(du -sb "$3" | cut -f 1)
    ratio=$(awk "BEGIN { print $ours / $peer }")
    row "$1" "$((ours / 1000000)) MB" "$((peer / 1000000)) MB" "$(printf '%.2f' "$ratio")" "$(verdict "$ratio" "$4")"
}

# verdict FIGURE TARGET
verdict() {
    [[ $2 != - ]] || { echo "(no target)" && return; }
    echo "$2$(awk "BEGIN { exit !($1 $2) }" || echo ", missed")"
}
