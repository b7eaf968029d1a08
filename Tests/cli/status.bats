#!/usr/bin/env bats
# escapepod status: could I restore now? One screen, one exit status, a record, metrics.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod

setup_file() { prepare three_backups_and_the_key; }
three_backups_and_the_key() {
    three_backups
    keep_key
    mkdir ground
}

setup() { prepared; }

status() { timeout 60 escapepod status ./pod.conf "$@"; }

# warns TEXT [OPTION…]: status ends in 3 and says that and nothing else, in both forms.
warns() {
    local text=$1
    shift
    run -3 --separate-stderr status "$@"
    [[ $(grep -cE '^(escapepod|ep-meta): warning: ' <<<"$stderr") -eq 1 && $stderr = *": warning: $text"*hint:* ]] ||
        { echo "$stderr" && return 1; }
    run -3 --separate-stderr status --json "$@"
    [[ $(jq -c '[.status, (.warnings | length)]' <<<"$output") = '[3,1]' && $(jq -r '.warnings[0]' <<<"$output") = "$text"* ]]
}

# next_second: a record of what is done now is not dated as the one before.
next_second() {
    later() { ((EPOCHSECONDS > $1)); }
    eventually later "$EPOCHSECONDS"
}

# long_ago FILE DAYS: that record was made so many days ago, by the key's holder.
long_ago() {
    local date line mac
    date=$(date -u -d "-$2 days" +%Y-%m-%dT%H:%M:%SZ)
    line=$(sed -E 's/"finished":"[^"]*"/"finished":"'"$date"'"/; s/,"mac":.*/}/' "$1")
    mac=$(printf %s "$line" | ep-key mac pod.key)
    echo "${line%\}},\"mac\":\"$mac\"}" >"$1"
}

@test "all good: one screen that says when it was proven, and 0" {
    run -0 --separate-stderr status
    [[ $output = *"last verify    never"*"last proven    restorable: never"* && -z $stderr ]]
    escapepod verify ./pod.conf
    escapepod drill ./pod.conf --scratch ground
    long_ago "$(echo state/pod/*/verified.json)" 9
    long_ago "$(echo state/pod/*/drill-*.json)" 3
    run -0 --separate-stderr status --max-age 2h
    [[ -z $stderr && ${#lines[@]} -le 24 ]]
    [[ ${lines[0]} = "pod in $store" ]]
    [[ ${lines[1]} = "  last backup    generation 3, incremental, 20"*"Z (0d 0h "?"m ago)" ]]
    [[ ${lines[2]} = "  next backup    incremental: "* ]]
    [[ ${lines[3]} = "  chain          3 backups to read, 6."*MiB ]]
    [[ ${lines[4]} =~ ^"  room           "[0-9.]+" "[KMGT]"iB, "(full in about|not full in ten) ]]
    [[ ${lines[5]} = "  last verify    9 days ago: 3 blobs, 6."*"MiB, all whole" ]]
    [[ ${lines[6]} =~ ^"  last proven    restorable: 3 days ago, generation 3, in "[0-9]+" second"s?$ ]]
    [[ ${lines[7]} = "  key            here, id $(ep-key id pod.key); in the store, under a passphrase" ]]
    run -0 status --json
    wanted="[\"pod\",\"$store\",0,3,\"incremental\",\"incremental\",3,0,null,\"proven\",3,\"$(ep-key id pod.key)\",true,[]]"
    [[ $(jq -c '[.domain, .store, .status, .lastBackup.generation, .lastBackup.type, .nextBackup.type, .chain.backups,
        .lastVerify.problems, .lastSample, .lastDrill.result, .lastProven.generation, .key.id, .key.inStore,
        .warnings]' <<<"$output") = "$wanted" ]]
    escapepod verify ./pod.conf --sample 1%
    run -0 status
    # One, and in front of it perhaps the one that is smaller than that share.
    [[ ${lines[6]} =~ ^"  last sample    ".*" ago: "[12]" blob"s?", ".*", 1 %, all whole"$ ]]
    [[ -z $(ls -A tmp) ]]
}

@test "an old backup, by option or configuration" {
    run -0 status --max-age 26h
    stand_in date <<'END'
[[ $* = +%s ]] || exec "$real" "$@"
echo $(($("$real" +%s) + 27 * 3600))
END
    warns "the newest backup is 1 day old, but may be at most 1 day old" --max-age=26h
    run -0 status --max-age 28h
    echo max_age=26h >>pod.conf
    warns "the newest backup is 1 day old"
    run -0 status --max-age 2d
    # One of the future has no age: the clock was wrong, then or now.
    stand_in date <<'END'
[[ $* = +%s ]] || exec "$real" "$@"
echo $(($("$real" +%s) - 3 * 3600))
END
    warns "the date of the newest backup is in the future: 20" --max-age=26h
    for wrong in 26 h 0h 1.5d 26hours; do run -64 status --max-age "$wrong"; done
}

@test "no copy of the key in the store, or another's" {
    rm -r store/escapepod/pod/keys
    warns "no copy of the key is in the store: $store"
    run -3 status
    [[ $output = *"key            here, id $(ep-key id pod.key); not in the store"* ]]
    ep-key generate other.key >/dev/null
    sed '1,/^$/d' "$EP_REPO/Tests/vectors/key-another" | ep-store key "$store" --domain pod
    warns "the key in the store is another: $store"
    keep_key
    run -0 status
    # And in the key space, where that is there.
    echo "key_space=$PWD/space" >>pod.conf
    run -0 status
    [[ $output = *"in the store, under a passphrase; not seen in $PWD/space" ]]
    mkdir space
    warns "the key is not in the key space: $PWD/space"
    cp other.key space/escapepod-pod.key
    warns "the key is not in the key space: $PWD/space"
    cp pod.key space/escapepod-pod.key
    run -0 status
    [[ $output = *"in the store, under a passphrase; in $PWD/space" ]]
    run -0 status --json
    [[ $(jq -c '[.key.inStore, .key.inKeySpace]' <<<"$output") = '[true,true]' ]]
}

@test "what verify or a drill found is a warning until it is mended" {
    cp -a store whole
    blob=store/escapepod/pod/blobs/$(ep-fetch list "$store" --domain pod | sed -n 2p)
    truncate -s -1 "$blob"
    run -65 escapepod verify ./pod.conf
    warns "verify found 1 damaged or missing on 20"
    run -3 status
    [[ $output = *"last verify    "*" ago: 3 blobs, "*", 1 damaged or missing"* ]]
    run -65 escapepod drill ./pod.conf --scratch ground
    [[ $(status --json 2>/dev/null | jq -c '[.warnings | length, .]' | jq '.[0]') -eq 2 ]]
    rm -rf store && cp -a whole store
    escapepod verify ./pod.conf
    warns "the last drill, on 20"
    next_second
    escapepod drill ./pod.conf --scratch ground
    run -0 status
    # One that failed since does not hide when it was proven last.
    next_second
    btrfs property set -f "$(slots)/current-parent" ro false
    echo other >"$(slots)/current-parent/note"
    btrfs property set "$(slots)/current-parent" ro true
    run -65 escapepod drill ./pod.conf --scratch ground
    warns "the last drill, of generation 3 on 20"
    run -3 status
    [[ $output = *"last proven    restorable: "*"generation 3"* ]]
}

@test "a record that somebody changed, or that is cut, is not believed" {
    escapepod drill ./pod.conf --scratch ground
    receipt=$(echo state/pod/*/drill-*.json)
    cp "$receipt" good
    for change in 's/"generation":3/"generation":9/' 's/proven/failed/' 's/"mac":"./"mac":"x/' 's/.\{10\}$//' 's/.*//'; do
        sed "$change" good >"$receipt"
        run cmp -s good "$receipt"
        [[ $status -eq 1 ]]
        warns "not signed with this key: $PWD/$receipt"
        run -3 status
        [[ $output = *"restorable: never"* ]]
    done
    cp good "$receipt"
    run -0 status
}

@test "metrics: well formed, whole at every moment, and also where the store is away" {
    escapepod verify ./pod.conf
    escapepod drill ./pod.conf --scratch ground
    mkdir collector
    run -0 status --prometheus collector/pod.prom
    [[ $(ls -A collector) = pod.prom && $(stat -c %a collector/pod.prom) = 644 ]]
    # Every sample has its help and its type in front.
    run ! awk '/^# HELP/ { help = $3; next } /^# TYPE/ { type = $3; if ($4 != "gauge") print; next }
        { name = $0; sub(/\{.*/, "", name) } name != help || name != type || $NF !~ /^[0-9]+$/ { print; bad = 1 } END { exit !bad }' collector/pod.prom
    metric() { sed -n "s|^escapepod_$1{domain=\"pod\",store=\"$store\"} ||p" collector/pod.prom; }
    [[ $(metric status) = 0 && $(metric store_up) = 1 && $(metric warnings) = 0 && $(metric chain_backups) = 3 ]]
    [[ $(metric last_backup_generation) = 3 && $(metric last_proven_generation) = 3 && $(metric last_verify_problems) = 0 ]]
    [[ $(metric key_in_store) = 1 && $(metric last_backup_timestamp_seconds) -gt 1700000000 ]]
    [[ $(metric last_verify_timestamp_seconds) -gt 1700000000 && $(metric last_proven_timestamp_seconds) -gt 1700000000 ]]
    mv store away
    run -69 status --prometheus collector/pod.prom
    [[ $(metric status) = 69 && $(metric store_up) = 0 && $(metric last_proven_generation) = 3 && -z $(metric last_backup_generation) ]]
    [[ $output = *"last proven    restorable: "* ]]
    mv away store
    rm store/escapepod/pod/keys/*
    run -3 status --prometheus collector/pod.prom
    [[ $(metric status) = 3 && $(metric warnings) = 1 && $(metric key_in_store) = 0 ]]
    before=$(<collector/pod.prom)
    run -74 status --prometheus nowhere/pod.prom
    [[ $output = *"cannot write the metrics: nowhere/pod.prom"* ]]
    # Whoever owns the folder does not choose what is written to.
    chown 65534 collector
    echo mine >victim
    chmod 600 victim
    run -3 bash -c 'ln -s ../victim collector/pod.prom.$$ && exec escapepod status ./pod.conf --prometheus collector/pod.prom'
    [[ $(<victim) = mine && $(stat -c %a victim) = 600 ]]
    ln -sf ../victim collector/pod.prom
    run -3 status --prometheus collector/pod.prom
    [[ $(<victim) = mine && ! -L collector/pod.prom ]]
    rm collector/pod.prom.*
    before=$(<collector/pod.prom)
    chown 0 collector
    [[ $(ls -A collector) = pod.prom && $(<collector/pod.prom) = "$before" ]]
}

@test "a drive that is not there: 69, and what is known without it" {
    drives_alone
    store=label:ep-none-$BASHPID
    configure
    run -69 status
    [[ $output = *"pod in $store"*"last verify    never"* ]]
    run -69 --separate-stderr status --json
    [[ -z $output && -n $stderr ]]
}

@test "a store that is tried again says so at once" {
    rm -r store/escapepod state
    stand_in ep-fetch <<'END'
echo "ep-fetch: warning: retrying" >&2
for ((i = 0; i < 600; i++)); do [[ ! -e "$here/go" ]] || break; sleep 0.1; done
exec "$real" "$@"
END
    timeout 90 escapepod status ./pod.conf >out 2>err 3>&- &
    pid=$!
    eventually grep -q "retrying" err
    touch go
    status=0
    wait "$pid" || status=$?
    [[ $status -eq 10 ]]
    # And nothing but that: that there is no backup yet is said once.
    [[ $(grep -c "no backup of pod" err) -eq 1 ]]
}
