#!/usr/bin/env bats
# ep-plan as a person runs it: the decision table, and what gives no plan.
# shellcheck disable=SC2086,SC2094,SC2154

load helper
load records

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    echo '[]' >none
    echo "[$(snapshot root $two)]" >other
    echo "[$(snapshot root $two),$(snapshot current-parent $one)]" >both
    local hex
    hex=$(printf x | sha512sum | cut -d' ' -f1)
    printf '{"version":1,"domain":"%s","generation":6,"type":"full","uuid":"%s","date":"2026-11-22T06:10:00Z","size":7654321,"sha512":"%s","sha256":"%s","producer":{"escapepod":"0.1.0","kernel":"6.1","btrfs-progs":"6.2"},"previous":{"generation":5,"metadataSha512":"%s"}}\n' \
        $domain $one "$hex" "${hex:0:64}" "$hex" >newest
}

plan() {
    timeout 60 ep-plan --domain $domain --snapshots "$@"
}

@test "no backup in the store: full, generation 1, follows nothing" {
    run -0 plan both </dev/null
    [[ $output == '{"type":"full","reason":"no backup of pod.example.org in the store yet","warning":null,"generation":1,"domain":"pod.example.org","follows":null,"headType":null,"snapshot":null,"previous":null,"parent":null,"chain":null}' ]]
}

@test "the head's snapshot is here: incremental from it" {
    run -0 plan both <newest
    [[ $(jq -r '[.type, .generation, .headType, .snapshot.slot, .parent.uuid, .previous.generation] | join(" ")' <<<"$output") == "incremental 7 full current-parent $one 6" ]]
    [[ $(jq -r .follows <<<"$output") == "$(jq -r .sha256 newest)" ]]
    [[ $(jq -r .previous.metadataSha512 <<<"$output") == "$(head -c -1 newest | sha512sum | cut -d' ' -f1)" ]]
    [[ $(jq -cS .parent <<<"$output") == "$(jq -cS 'del(.previous)' newest)" ]]
}

@test "after a restore the received UUID finds it" {
    echo "[$(snapshot current-parent $two $one)]" >restored
    run -0 plan restored <newest
    [[ $(jq -r '.type + " " + .snapshot.uuid' <<<"$output") == "incremental $two" ]]
}

@test "deleted by hand: full, and the reason says so" {
    run -0 plan other <newest
    [[ $(jq -r .reason <<<"$output") == "the only snapshot here is not that of generation 6 (UUID $one); deleted by hand?" ]]
    [[ $(jq -r '.type + " " + (.generation|tostring) + " " + .headType' <<<"$output") == "full 7 full" ]]
    run -0 plan none <newest
    [[ $(jq -r .reason <<<"$output") == "the snapshot of generation 6 (UUID $one) is not here, nor is any other; deleted by hand?" ]]
}

@test "a writable snapshot is no parent" {
    echo "[$(snapshot root $one '' false),$(snapshot root $two $one false)]" >writable
    run -0 plan writable <newest
    [[ $(jq -r .type <<<"$output") == full && $(jq -r .reason <<<"$output") == *"no longer read-only" ]]
}

@test "a snapshot that was changed since, and the stubs of a rollback" {
    echo "[$(snapshot root $one '' true true)]" >changed
    run -0 plan changed <newest
    [[ $(jq -r .type <<<"$output") == full && $(jq -r .reason <<<"$output") == *"in root, but has changed since" ]]
    echo '[{"slot":"root","path":"/v","stub":true,"elsewhere":[{"path":"old/root","uuid":"'$one'","receivedUuid":null}]}]' >stubs
    run -0 plan stubs <newest
    [[ $(jq -r .reason <<<"$output") == "the volume was replaced by a snapshot of itself"*"(root)"*" as old/root" ]]
    jq -c 'del(.[0].elsewhere[0].uuid)' stubs >bad
    refuses 65 "member uuid is missing: bad, snapshot 1, elsewhere" plan bad <newest
}

@test "at the last generation that there can be there is no plan" {
    jq -c '.generation = 9999999999' newest >last
    refuses 65 "generation 9999999999 is the last possible one" plan both <last
    jq -c '.generation = 4611686018427387904' newest >beyond
    refuses 65 "member generation is out of range" plan both <beyond
    cp last witness
    refuses 65 "is the last possible one" plan both --witness witness </dev/null
}

@test "the same input gives the same plan" {
    plan both <newest >a
    plan both <newest >b
    cmp a b
}

@test "--format lines, and the JSON beside it" {
    plan both --format lines --record record <newest >lines
    [[ $(head -n 1 lines) == "incremental 7 $(jq -r .sha256 newest) full current-parent" ]]
    [[ $(sed -n 2p lines) == "the store's newest backup (generation 6, UUID $one) has its snapshot here, in current-parent" ]]
    [[ $(wc -l <lines) -eq 3 && -z $(sed -n 3p lines) ]]
    plan both <newest | cmp - record
    [[ $(plan none --format lines </dev/null | head -n 1) == "full 1 none none none" ]]
}

@test "--format lines: a hostile slot stays on its line" {
    jq -c --arg evil $'a\nincremental 9 \e[2J' 'map(.path = $evil | .slot = $evil)' both >hostile
    jq -c --arg two $two 'map(select(.uuid != $two))' hostile >one
    plan one --format lines <newest >lines
    [[ $(wc -l <lines) -eq 3 && $(head -n 1 lines) == 'incremental 7 '*' full a\x0aincremental 9 \x1b[2J' ]]
}

@test "--history: as the documents behind the witness tell; what lies in front of it is of no account" {
    after 3 >last
    { while read -r line; do echo "$(jq -r .sha256 <<<"$line") $line"; done <line && echo "end 4"; } >history
    head -n 2 line | tail -n 1 >witness
    plan both --witness witness --history <history >out
    [[ $(jq -r '[.generation, .warning] | map(tostring) | join(" ")' out) == "10 null" ]]
    # The same of the head alone is a fork, as far as one can tell.
    plan both --witness witness <last >out
    [[ $(jq -r .warning out) == fork:* ]]
    sed '1s/ .*/ damaged/' history >bad
    [[ $(plan both --witness witness --history <bad | jq -r .warning) == null ]]
    sed '4s/ .*/ damaged/' history >bad
    refuses 65 "the newest metadata of pod.example.org cannot be opened" plan both --witness witness --history <bad
    head -n 4 history >bad
    refuses 65 "not a complete history" plan both --history <bad
}

# after N: the newest of the documents that lead on from ./newest, N of them, all in the file line.
after() {
    local digest generation
    cp newest line
    for ((generation = 7; generation <= 6 + $1; generation++)); do
        digest=$(tail -n 1 line | head -c -1 | sha512sum | cut -d' ' -f1)
        jq -c ".generation = $generation | .previous = {generation: $((generation - 1)), metadataSha512: \"$digest\"}" \
            newest >>line
    done
    tail -n 1 line
}

# warns NAME: the plan with these arguments and this input has that warning; "" is none.
warns() {
    local name=$1
    shift
    plan both --witness witness "$@" >out
    [[ $(jq -r '.warning // "" | sub(":.*"; "")' out) = "$name" ]] || { cat out && return 1; }
}

@test "the witness: the store's newest is it, or descends from it, else there is a warning and a plan" {
    warns "" <newest
    cp newest witness
    warns "" <newest
    after 1 | warns ""
    # Further on than by one, what is in between has to show it.
    after 3 | warns fork
    after 3 >/dev/null
    warns "" <line
    tail -n +2 line | warns ""
    tail -n +3 line | warns fork
    # The same generation, made anew.
    sed 's/06:10:00/06:10:01/' newest | warns fork
    jq -r .warning out | grep -qxF "fork: the store's newest backup is generation 6 of 2026-11-22T06:10:01Z, which does not descend from generation 6 of 2026-11-22T06:10:00Z, which this machine committed"
    [[ $(jq -r .generation out) == 7 ]]
    # The witness is further on.
    after 3 >witness
    warns rollback <newest
    [[ $(jq -r '[.type, .generation, .snapshot.slot, .previous.generation] | join(" ")' out) == "incremental 10 current-parent 6" ]]
    warns rollback </dev/null
    [[ $(jq -r '[.type, .generation, .follows, .previous.generation] | map(tostring) | join(" ")' out) == "full 10 null 9" ]]
    [[ $(plan both --witness witness --format lines </dev/null | tail -n 1) == "rollback: the store has no backup of pod.example.org, not even generation 9 of 2026-11-22T06:10:00Z, which this machine committed" ]]
    [[ $(plan both --witness witness <newest) == "$(plan both --witness witness <newest)" ]]
}

@test "a witness that is damaged, another domain's or not to be read gives no plan" {
    : >witness
    refuses 65 "empty instead of a metadata document: witness" plan both --witness witness <newest
    head -c 100 newest >witness
    refuses 65 "invalid JSON" plan both --witness witness <newest
    sed 's/pod\.example/pad.example/' newest >witness
    refuses 65 "the witness belongs to pad.example.org, not to pod.example.org" plan both --witness witness </dev/null
    refuses 74 "witness/x" plan both --witness witness/x <newest
}

@test "a head that is broken, or another domain's, gives no plan" {
    echo | refuses 65 "standard input" plan both
    echo null | refuses 65 "not a JSON object: standard input" plan both
    head -c 200 newest | refuses 65 "invalid JSON: unterminated string: standard input, line 1, byte 200" plan both
    head -c -2 newest | refuses 65 "invalid JSON" plan both
    sed 's/"version":1/"version":2/' newest | refuses 65 "member version is 2, not 1" plan both
    sed 's/"version":1/"version":2/' newest | refuses 65 "hint: a newer escapepod may have written it" plan both
    sed 's/"uuid"/"uuld"/' newest | refuses 65 "member uuid is missing" plan both
    sed 's/"generation":6/"generation":"6"/' newest | refuses 65 "member generation is not a 64-bit integer" plan both
    sed 's/"generation":6/"generation":5/' newest | refuses 65 "member previous.generation is not less than 5" plan both
    sed 's/"version":1/"version":1,"version":1/' newest | refuses 65 'duplicate member "version"' plan both
    sed 's/pod\.example/pad.example/' newest |
        refuses 65 "the store's metadata belongs to pad.example.org, not to pod.example.org" plan both
    head -c 2000000 /dev/zero | tr '\0' '[' | refuses 65 "longer than 1 MiB" plan both
    head -c 1000000 /dev/zero | tr '\0' '[' | refuses 65 "nested deeper" plan both
    cat newest newest | refuses 65 "generation 6 follows generation 6: standard input, line 2" plan both
}

@test "a snapshot list that is broken gives no plan, and the message names it" {
    refuses 74 "cannot open: no such file or directory: absent" plan absent <newest
    : >bad
    refuses 65 "invalid JSON: unexpected end: bad" plan bad <newest
    snapshot root $one >bad
    refuses 65 "not a JSON array: bad" plan bad <newest
    echo '[1]' >bad
    refuses 65 "not a JSON object: bad, snapshot 1" plan bad <newest
    for name in slot path uuid receivedUuid created readOnly changed; do
        jq -c "del(.[1].$name)" both >bad
        refuses 65 "member $name is missing: bad, snapshot 2" plan bad <newest
        jq -c ".[1].$name = 7" both >bad
        refuses 65 "member $name is " plan bad <newest
    done
    jq -c '.[0].path = "a\u0000b"' both >bad
    refuses 65 "member path contains a zero byte" plan bad <newest
    # Even where no head makes them matter.
    refuses 65 "member path contains a zero byte" plan bad </dev/null
}

@test "usage: 64, a hint, nothing on standard output" {
    refuses 64 "--domain" ep-plan </dev/null
    refuses 64 "hint:" plan both --format xml </dev/null
    for bad in ../x '' .x A 'a/b' $'a\nb' "$(printf 'a%.0s' {1..254})"; do
        refuses 64 "not a valid domain" ep-plan --domain "$bad" --snapshots both </dev/null
    done
    refuses 64 'not a valid domain: \x1b[2J' ep-plan --domain $'\e[2J' --snapshots both </dev/null
}

@test "a full disk is an error" {
    status=0
    plan both </dev/null >/dev/full 2>err || status=$?
    [[ $status -eq 74 ]]
}
