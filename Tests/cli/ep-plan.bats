#!/usr/bin/env bats
# ep-plan as a person runs it: the decision table, and what gives no plan.
# shellcheck disable=SC2086,SC2154

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
    [[ $output == '{"type":"full","reason":"no backup of pod.example.org in the store yet","generation":1,"domain":"pod.example.org","follows":null,"headType":null,"snapshot":null,"previous":null,"parent":null}' ]]
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
    [[ $(jq -r .reason <<<"$output") == "the one snapshot here is not the one of generation 6 (UUID $one); deleted by hand?" ]]
    [[ $(jq -r '.type + " " + (.generation|tostring) + " " + .headType' <<<"$output") == "full 7 full" ]]
    run -0 plan none <newest
    [[ $(jq -r .reason <<<"$output") == "no snapshot here, so not the one of generation 6 (UUID $one); deleted by hand?" ]]
}

@test "a writable snapshot is no parent" {
    echo "[$(snapshot root $one '' false),$(snapshot root $two $one false)]" >writable
    run -0 plan writable <newest
    [[ $(jq -r .type <<<"$output") == full && $(jq -r .reason <<<"$output") == *"no longer read-only" ]]
}

@test "the same input gives the same plan" {
    plan both <newest >a
    plan both <newest >b
    cmp a b
}

@test "--format sh: eval in bash, source in dash" {
    eval "$(plan both --format sh <newest)"
    [[ $PLAN_TYPE == incremental && $PLAN_GENERATION == 7 && $PLAN_HEAD_TYPE == full ]]
    [[ $PLAN_FOLLOWS == "$(jq -r .sha256 newest)" && $PLAN_PARENT_SLOT == current-parent && $PLAN_PARENT_PATH == /v/current-parent ]]
    [[ $PLAN_REASON == "the store's newest backup (generation 6, UUID $one) has its snapshot here, in current-parent" ]]
    plan none --format sh </dev/null >vars
    # shellcheck disable=SC2016
    run -0 timeout 60 dash -euc '. ./vars; echo "$PLAN_TYPE,$PLAN_FOLLOWS,$PLAN_HEAD_TYPE,$PLAN_PARENT_SLOT,$PLAN_PARENT_PATH"'
    [[ $output == full,none,,, ]]
}

@test "--format sh: a hostile path stays a path" {
    local evil=$'\'; touch owned; \'\n$(touch owned)`touch owned`\\\n#"'
    jq -c --arg evil "$evil" 'map(.path = $evil | .slot = $evil)' both >hostile
    jq -c --arg two $two 'map(select(.uuid != $two))' hostile >one
    eval "$(plan one --format sh <newest)"
    [[ $PLAN_PARENT_PATH == "$evil" && $PLAN_PARENT_SLOT == "$evil" ]]
    plan one --format sh <newest >vars
    # shellcheck disable=SC2016
    EVIL=$evil dash -euc '. ./vars; [ "$PLAN_PARENT_PATH" = "$EVIL" ]'
    [[ ! -e owned ]]
    # The reason goes to terminals.
    [[ $PLAN_REASON != *$'\n'* ]]
}

@test "a head that is broken, or another domain's, gives no plan" {
    echo | refuses 65 "standard input" plan both
    echo null | refuses 65 "no JSON object: standard input" plan both
    head -c 200 newest | refuses 65 "bad JSON: a string does not end: standard input, byte 200" plan both
    head -c -2 newest | refuses 65 "bad JSON" plan both
    sed 's/"version":1/"version":2/' newest | refuses 65 "member version is 2, not 1" plan both
    sed 's/"version":1/"version":2/' newest | refuses 65 "hint: a newer escapepod may have written it" plan both
    sed 's/"uuid"/"uuld"/' newest | refuses 65 "member uuid is missing" plan both
    sed 's/"generation":6/"generation":"6"/' newest | refuses 65 "member generation is no whole number" plan both
    sed 's/"generation":6/"generation":8/' newest | refuses 65 "member previous.generation is not the one before 8" plan both
    sed 's/"version":1/"version":1,"version":1/' newest | refuses 65 'member "version" is there twice' plan both
    sed 's/pod\.example/pad.example/' newest |
        refuses 65 "the store's newest metadata is of pad.example.org, not of pod.example.org" plan both
    head -c 2000000 /dev/zero | tr '\0' '[' | refuses 65 "larger than" plan both
    head -c 1000000 /dev/zero | tr '\0' '[' | refuses 65 "nested deeper" plan both
    cat newest newest | refuses 65 "more than one line" plan both
}

@test "a snapshot list that is broken gives no plan, and the message names it" {
    refuses 74 "cannot open: no such file or directory: absent" plan absent <newest
    : >bad
    refuses 65 "bad JSON: ends in the middle: bad" plan bad <newest
    snapshot root $one >bad
    refuses 65 "no JSON array: bad" plan bad <newest
    echo '[1]' >bad
    refuses 65 "no JSON object: bad, snapshot 1" plan bad <newest
    for name in slot path uuid receivedUuid created readOnly; do
        jq -c "del(.[1].$name)" both >bad
        refuses 65 "member $name is missing: bad, snapshot 2" plan bad <newest
        jq -c ".[1].$name = 7" both >bad
        refuses 65 "member $name is " plan bad <newest
    done
    jq -c '.[0].path = "a\u0000b"' both >bad
    refuses 65 "member path holds a zero byte" plan bad <newest
    # Even where no head makes them matter.
    refuses 65 "member path holds a zero byte" plan bad </dev/null
}

@test "usage: 64, a hint, nothing on standard output" {
    refuses 64 "--domain" ep-plan </dev/null
    refuses 64 "hint:" plan both --format xml </dev/null
    for bad in ../x '' .x A 'a/b' $'a\nb' "$(printf 'a%.0s' {1..254})"; do
        refuses 64 "no domain" ep-plan --domain "$bad" --snapshots both </dev/null
    done
    refuses 64 'no domain: \u{1b}[2J' ep-plan --domain $'\e[2J' --snapshots both </dev/null
}

@test "a full disk is an error" {
    status=0
    plan both </dev/null >/dev/full 2>err || status=$?
    [[ $status -eq 74 ]]
}
