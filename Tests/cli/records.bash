# What the tools tell one another of a backup, for the suites of those that plan and describe one.
# shellcheck shell=bash disable=SC2034

domain=pod.example.org
one=11111111-1111-1111-1111-111111111111
two=22222222-2222-2222-2222-222222222222

# snapshot SLOT UUID [RECEIVED] [READ-ONLY] [CHANGED]: as ep-snap lists it.
snapshot() {
    local received=${3:-}
    printf '{"slot":"%s","path":"/v/%s","uuid":"%s","receivedUuid":%s,"generation":9,"created":"2026-11-23T06:10:00Z","readOnly":%s,"changed":%s}\n' \
        "$1" "$1" "$2" "${received:+\"}${received:-null}${received:+\"}" "${4:-true}" "${5:-false}"
}
