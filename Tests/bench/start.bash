# How long a tool takes to start.
# shellcheck shell=bash disable=SC2154

# start_of PROGRAM ARGUMENT: the median of 30, in milliseconds.
start_of() {
    local turn start end
    for ((turn = 0; turn < 30; turn++)); do
        start=$EPOCHREALTIME
        "$@" >/dev/null
        end=$EPOCHREALTIME
        echo "${end/./} ${start/./}"
    done | awk '{ print ($1 - $2) / 1000 }' | median
}

start() {
    local tool figure
    heading "start, with --version" "median" "" "" target
    for tool in "${tools[@]}"; do
        figure=$(start_of "$tool" --version)
        row "$tool" "$(printf '%.1f ms' "$figure")" "" "" "$(verdict "$figure" "<= 10")"
    done
    for tool in escapepod "openssl version" age "restic version" borg; do
        read -ra words <<<"$tool --version"
        row "${words[0]}" "$(printf '%.1f ms' "$(start_of "${words[@]:0:2}")")" "" "" "$(verdict 0 -)"
    done
}
