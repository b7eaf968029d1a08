#!/usr/bin/env bats
# Pruning on a DuneSea server: what the token may is one thing, what the server lets go another, whoever asks.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2119,SC2120,SC2154

load helper
load pod
load dunesea

setup_file() { prepare on_a_server; }

# on_a_server: a_long_chain there, in ./dunesea, by the token in ./token, which may do everything.
on_a_server() {
    DUNESEA_DIR=$PWD/dunesea
    dunesea_token pod --append --read --prune >token
    serve
    a_long_chain
    stop_dunesea
}

# serve OPTION…: the server, and the configuration that has its address.
serve() {
    start_dunesea "$@"
    store=dunesea+$DUNESEA_URL
    place=("$store" --domain pod --token-file "$PWD/token")
    configure
    echo "token_file=$PWD/token" >>pod.conf
}

backs_up() {
    echo "$1" >vol/note
    later "$2" escapepod backup ./pod.conf
}

setup() {
    prepared
    DUNESEA_DIR=$PWD/dunesea
    home=dunesea/escapepod/pod
    unnamed=$(printf 'a%.0s' {1..64})
}

prune() { timeout 60 escapepod prune ./pod.conf --minimum-age 0 --keep-last 1 "$@"; }

shown() { escapepod list ./pod.conf | awk 'NR > 1 { print /pruned/ ? "pruned" : $2 }' | xargs; }
all="full incremental incremental differential incremental"
rest="full pruned pruned differential incremental"

# blobs WHERE: how many are stored, held, or in the trash.
blobs() { ep-fetch blobs "${place[@]}" | grep -c "$1\$" || :; }

blob() { basename "$home"/metadata/000000000"$1"-* | cut -d - -f 2; }

# received DAYS GENERATION…: as if the server had got these so many days ago.
received() {
    local generation
    for generation in "${@:2}"; do
        sed -i "s/^\(000000000$generation-[^ ]* [^ ]*\) .*/\1 $((EPOCHSECONDS - $1 * 86400))/" dunesea/dunesea/domains/pod/received
    done
}

comes_back() {
    timeout 60 escapepod restore ./pod.conf --to vol/back --generation "$1"
    [[ $(<vol/back/note) = "$1" ]]
    btrfs -q subvolume delete vol/back/.escapepod/*/* vol/back
}

@test "the server keeps what it got lately, and what that builds on, whoever asks" {
    serve --prune-share 100%
    [[ $(blobs held) = 5 ]]
    run -0 --separate-stderr prune
    [[ ${lines[1]} = "generation 2, "*": stays: the store keeps it for now; "* && ${lines[5]} = "0 of 5 backups go, "* ]]
    # Whatever the client thinks of it, and whoever it is.
    ep-fetch list "${place[@]}" >everything
    run -0 ep-store discard "${place[@]}" <everything
    [[ $output = *"the store keeps 5 of 5 blobs for now"* && $(blobs held) = 5 && $(shown) = "$all" ]]
    dunesea_token pod --append --read >appender
    for verb in discard recover pruning; do
        ep-seal --kind pruning --key pod.key <<<x >sealed
        [[ $verb = pruning ]] || echo "$unnamed" >sealed
        run -77 ep-store "$verb" "$store" --domain pod --token-file appender <sealed
        [[ $output = *"this token may not prune in pod"* ]]
    done

    received 40 1 2 3
    [[ $(blobs held) = 3 ]]
    run -0 --separate-stderr prune --dry-run
    [[ ${lines[5]} = "2 of 5 backups go, with "* && $(blobs trash) = 0 && $(shown) = "$all" ]]
    run -0 --separate-stderr prune
    [[ $(shown) = "$rest" && $(blobs trash) = 2 && $(blobs held) = 3 && $stderr != *keeps* ]]
    run -0 timeout 60 escapepod verify ./pod.conf
    comes_back 4
    run -10 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 3
    [[ $output = *"prune --undo"* ]]
    run -0 prune --undo
    [[ $(shown) = "$all" && $(blobs trash) = 0 ]]
    comes_back 3
    # A clock that was wrong once makes nothing older.
    received 4000 4 5
    prune
    [[ $(shown) = "$rest" ]]
    # The newest stays, however old it is.
    received 4000 1 2 3
    ep-store discard "${place[@]}" <everything
    comes_back 5
}

@test "at most a share goes within a day, and for good only after the server's own time" {
    serve --prune-share 50% --upload-age 4s --metrics 127.0.0.1:0
    received 40 1 2 3
    run -0 prune
    [[ $output = *"the store keeps 1 of 2 blobs for now"* && $(shown) = "$rest" && $(blobs trash) = 1 ]]
    run -0 prune
    [[ $output = *"the store keeps 1 of 2 blobs for now"* && $(blobs trash) = 1 ]]
    touch -d '25 hours ago' "$home"/trash/*
    run -0 prune --trash-age 0
    [[ $output != *"the store keeps 1"* && $(blobs trash) = 2 ]]
    local used size
    used() { curl -fsS "$DUNESEA_METRICS/metrics" | sed -n 's/^dunesea_used_bytes.* //p'; }
    used=$(used)
    size=$(cat "$home"/trash/* | wc -c)
    touch -d '8 days ago' "$home"/trash/*
    eventually gone
    ((used - $(used) == size))
    run -0 prune --undo
    [[ $output = "0 pruned backups are still there, 0 bytes; 2 are gone" ]]
    run -0 timeout 60 escapepod verify ./pod.conf
    run -0 dunesea check --dir dunesea
    [[ $output = *" 5 backups, 2 of them pruned, "*" 0 faults" ]]
    # What is lost is not pruned.
    rm "$home/blobs/$(blob 5)"
    run -65 dunesea check --dir dunesea
    [[ $output = *"its blob is missing: "*"/0000000005-"*" 1 faults"* ]]
}
gone() { [[ $(blobs trash) = 0 && -z $(ls "$home"/trash) ]]; }

@test "a compromised machine, with its key and its token: what is younger than the server keeps still restores" {
    serve --prune-share 100%
    # Generations 1 to 3 are old; 4 and 5, which need the first, are not.
    received 40 1 2 3
    # The clock of the machine is its own.
    stand_in ep-meta <<<'[[ $1 = retain ]] || exec "$real" "$@"; exec "$real" "$@" --now "$((EPOCHSECONDS + 300 * 86400))"'
    prune
    no_stand_in
    # Records, sealed with the key, that all of it was pruned.
    ep-fetch blobs "${place[@]}" | awk 'NF > 2 { printf "%s{\"generation\":%d,\"sha256\":\"%s\"}", (NR > 1 ? "," : ""), NR, $1 }' >items
    echo "{\"version\":1,\"domain\":\"pod\",\"date\":\"2020-01-01T00:00:00Z\",\"policy\":\"x\",\"pruned\":[$(<items)],\"recovered\":[]}" |
        ep-seal --kind pruning --key pod.key | ep-store pruning "${place[@]}"
    # Backups of its own: full ones, so that nothing old is needed, and one on a parent that it made up.
    local head n sha
    head=$(ep-fetch list "${place[@]}" | tail -n 1)
    for n in 1 2 3; do
        echo "$n" | ep-seal --key pod.key >junk
        sha=$(ep-store blob "${place[@]}" <junk | jq -r .sha256)
        echo "$n" | ep-seal --kind metadata --key pod.key >document
        run -10 ep-store metadata "${place[@]}" --blob "$sha" --follows "$head" --parent "$unnamed" <document
        [[ $output = *"what this backup builds on is no backup here"* ]]
        ep-store metadata "${place[@]}" --blob "$sha" --follows "$head" --parent none <document >record
        head=$sha
    done
    # What it has, and what it knows of.
    { ep-fetch list "${place[@]}" && ep-fetch blobs "${place[@]}" | awk 'NF > 2 { print $1 }'; } >everything
    for n in 1 2; do
        run -0 ep-store discard "${place[@]}" <everything
        [[ $output = *"the store keeps "* ]]
        ep-store empty-trash "${place[@]}" --older-than 0
    done
    [[ $(blobs trash) = 2 ]]
    # The owner has the store and the key, and the list of the server, whatever the records say.
    for n in 1 4 5; do ep-fetch blob "${place[@]}" "$(blob "$n")" >"blob.$n"; done
    for n in 1 4 5; do
        mkdir "vol/rescued-$n"
        ep-unseal --key pod.key <"blob.$n" | btrfs -q receive "vol/rescued-$n"
    done
    [[ $(cat vol/rescued-?/current-state/note | xargs) = "1 4 5" ]]
    # And the server what went: nothing else is gone for good.
    run -0 dunesea prune --dir dunesea --undo pod
    [[ $output = "2 blobs, "*" came back from the trash" ]]
    [[ $(blobs trash) = 0 ]]
    run -10 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 5
    timeout 60 escapepod prune ./pod.conf --undo
    for n in 5 3; do comes_back "$n"; done
}

@test "the operator prunes without a key, beside the server and without it" {
    serve --upload-age 4s
    run -0 dunesea prune --dir dunesea --keep-at-least 30d pod
    [[ $output = "0 blobs, 0 bytes, went to the trash" ]]
    received 40 1 2 3
    run -0 dunesea prune --dir dunesea --keep-at-least 30d --dry-run pod
    [[ $output = "2 blobs, "*", would go to the trash" && $(blobs trash) = 0 ]]
    run -0 dunesea prune --dir dunesea --keep-at-least 30d pod
    [[ $output = "2 blobs, "*", went to the trash" && $(blobs trash) = 2 ]]
    comes_back 4
    # To the owner that is a loss, until the same is pruned with the key.
    run -65 timeout 60 escapepod verify ./pod.conf
    [[ $output = *"generation 2: the blob is missing"* ]]
    prune
    run -0 timeout 60 escapepod verify ./pod.conf
    run -0 dunesea prune --dir dunesea --trash-age 0 pod
    [[ $output = "the server that is running empties the trash within a minute" ]]
    eventually gone
    stop_dunesea
    received 4000 1 2 3 4 5
    # The newest, and what that builds on.
    run -0 dunesea prune --dir dunesea --keep-at-least 1d --trash-age 0 pod
    [[ $output = "0 blobs, 0 bytes, went to the trash"*"0 bytes are free again" ]]
    for options in "" --dry-run "--undo --trash-age 0" "--keep-at-least x"; do
        # shellcheck disable=SC2086
        run -64 dunesea prune --dir dunesea $options pod
    done
    run -10 dunesea prune --dir dunesea --undo other
    run -64 dunesea serve --dir dunesea --trash-age 1h
    [[ $output = *"24h at least"* ]]
}

@test "a quota that is used up evicts nothing, and is pruned all the same" {
    serve
    received 40 1 2 3
    stop_dunesea
    serve --prune-share 100% --domain-bytes "$(($(du -bc dunesea/escapepod dunesea/dunesea/uploads | tail -n 1 | cut -f 1) / 2))"
    [[ $(ep-fetch room "${place[@]}") = 0 ]]
    run -74 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"the domain's quota "*"is used up"*hint:*prune* && $(blobs held) = 3 && $(blobs stored) = 2 ]]
    run -0 prune
    [[ $(blobs trash) = 2 && $(shown) = "$rest" ]]
    # The trash is the domain's, too.
    run -74 timeout 60 escapepod backup ./pod.conf
}

@test "killed in the middle of it, again and again: nothing is lost, and nothing comes back by itself" {
    serve --prune-share 100%
    received 40 1 2 3
    printf '%s\n' "$(blob 2)" "$(blob 3)" >two
    local round
    for round in {1..8}; do
        {
            ep-store discard "${place[@]}" --patience 1 <two
            ep-store recover "${place[@]}" --patience 1 <two
        } >/dev/null 2>&1 &
        sleep "0.0$((RANDOM % 9))"
        kill_dunesea
        wait "$!" || :
        start_dunesea --listen "${DUNESEA_URL#*//}" --prune-share 100%
        run -0 dunesea check --dir dunesea
        [[ $output = *" 5 backups, "*" 0 faults" ]]
    done
    ep-store recover "${place[@]}" <two
    [[ $(blobs trash) = 0 && $(shown) = "$all" ]]
    comes_back 3
}

@test "a record that was cut, and a store that was copied without its records" {
    serve
    received 40 1 2 3
    stop_dunesea
    # The power went in the middle of a line.
    printf '0000000006-%s %s 17' "$unnamed" "$(blob 5)" >>dunesea/dunesea/domains/pod/received
    serve
    [[ $(blobs held) = 3 ]]
    echo 6 >vol/note
    timeout 60 escapepod backup ./pod.conf
    [[ $(wc -l <dunesea/dunesea/domains/pod/received) = 6 && $(blobs held) = 4 ]]
    comes_back 6
    stop_dunesea
    # What builds on what is not known then: all of it stays.
    rm -r dunesea/dunesea/domains
    serve
    [[ $(blobs held) = 6 ]]
    stop_dunesea
    echo nonsense >dunesea/dunesea/domains/pod/received
    serve
    run -69 ep-fetch blobs "${place[@]}" --patience 1
    comes_back 5
}
