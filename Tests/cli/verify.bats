#!/usr/bin/env bats
# escapepod verify: damage of every kind is named, with what it takes down.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod
load dunesea

# Two chains: generations 1 to 3, and 4 to 5.
setup_file() { prepare two_chains; }
two_chains() {
    three_backups
    btrfs -q subvolume delete "$(slots)"/*
    escapepod backup ./pod.conf
    escapepod backup ./pod.conf
}

setup() {
    prepared
    documents=(none store/escapepod/pod/metadata/*)
    blobs=("${documents[@]##*-}")
    blobs=(none "${blobs[@]:1}")
    blobs=("${blobs[@]/#/store/escapepod/pod/blobs/}")
}

verify() { timeout 120 escapepod verify ./pod.conf "$@"; }

# names LINE…: verify ends in 65, with these findings alone, and --json has as many.
names() {
    run -65 --separate-stderr verify
    diff <(printf '  %s\n' "$@") <(grep '^  generations\? ' <<<"$output")
    [[ $output != *done:* && $stderr = *": $# damaged or missing: $store"* ]]
    run -65 --separate-stderr verify --json
    [[ $(jq '.damaged | length' <<<"$output") -eq $# && $(jq .problems <<<"$output") -eq $# ]]
    [[ -z $(ls -A tmp) ]]
}

@test "a whole store is whole, again and again, and says so in a record" {
    run -0 --separate-stderr verify
    [[ -z $stderr && ${#lines[@]} -eq 2 ]]
    [[ ${lines[0]} = "pod in $store: 5 backups, "*MiB && ${lines[1]} = "  done: all of it is whole" ]]
    run -0 --separate-stderr verify --json
    bytes=$(cat "${blobs[@]:1}" | wc -c)
    wanted="[\"pod\",\"$store\",null,5,5,$bytes,0,[]]"
    [[ $(jq -c '[.domain, .store, .sample, .backups, .blobs, .bytes, .problems, .damaged]' <<<"$output") = "$wanted" ]]
    [[ $output = "$(<"$(echo state/pod/*/verified.json)")" && -z $stderr ]]
    [[ ! -e $(echo state/pod/*)/verify.pass && -z $(ls -A tmp) ]]
    # Without the volume, as on another machine.
    rm -rf state
    run -0 timeout 120 escapepod verify --store "$store" --domain pod --key pod.key
    run -10 timeout 120 escapepod verify --store "$store" --domain other --key pod.key
}

@test "damaged blobs: one byte, anywhere, and all that builds on it is named" {
    flip "${blobs[2]}" 2000000
    names "generation 2: the blob is damaged: takes down generations 2 to 3"
    flip "${blobs[5]}" 130
    names "generation 2: the blob is damaged: takes down generations 2 to 3" \
        "generation 5: the blob is damaged: takes down generation 5"
    wanted='{"object":"blob","generation":2,"sha256":"'${blobs[2]##*/}'","problem":"damaged","takesDown":[2,3]}'
    [[ $(jq -c '.damaged[0]' <<<"$output") = "$wanted" ]]
    # What it does not take down comes back.
    timeout 60 escapepod restore ./pod.conf --to vol/back --generation 4
}

@test "blobs that are missing, cut, longer" {
    rm "${blobs[1]}"
    truncate -s -1 "${blobs[3]}"
    echo more >>"${blobs[4]}"
    names "generation 1: the blob is missing: takes down generations 1 to 3" \
        "generation 3: the blob is damaged: takes down generation 3" \
        "generation 4: the blob is damaged: takes down generations 4 to 5"
}

@test "a blob that cannot be read is named, and the others are verified" {
    stand_in ep-fetch <<END
[[ \$* != "blob "*${blobs[2]##*/}* ]] || { echo "ep-fetch: cannot read: input/output error" >&2; exit 74; }
exec "\$real" "\$@"
END
    flip "${blobs[5]}" 130
    names "generation 2: the blob cannot be read: takes down generations 2 to 3" \
        "generation 5: the blob is damaged: takes down generation 5"
}

@test "metadata that cannot be read is not called damaged" {
    stand_in ep-fetch <<END
exec strace -f -qq -o "\$here/trace" -P "\$here/${documents[3]}" -e trace=read -e inject=read:error=EIO "\$real" "\$@"
END
    names "generation 3: the metadata cannot be read: takes down generation 3"
}

@test "damaged metadata: a byte, the end, the whole file; the blobs and the backups behind it are verified all the same" {
    flip "${documents[2]}" 200
    names "generation 2: the metadata is damaged: takes down generations 2 to 3"
    truncate -s 100 "${documents[2]}"
    names "generation 2: the metadata is damaged: takes down generations 2 to 3"
    : >"${documents[4]}"
    flip "${blobs[2]}" 2000000
    names "generation 2: the metadata is damaged: takes down generations 2 to 3" \
        "generation 4: the metadata is damaged: takes down generations 4 to 5" \
        "generation 2: the blob is damaged: takes down generations 2 to 3"
    # Which does not hide what is whole.
    run -0 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 1
    [[ $(<vol/back/note) = first ]]
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/again --generation 2
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/again
}

@test "damaged metadata of a newer backup does not hide an older one, wherever in the list that is" {
    rm "${documents[1]}"
    : >"${documents[5]}"
    run -3 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 4
    [[ $output = *"metadata of newer backups is damaged"* && $(<vol/back/note) = third ]]
    run -10 timeout 60 escapepod restore ./pod.conf --to vol/again --generation 1
    [[ $output = *"no generation 1 of pod"* ]]
}

@test "missing metadata: in the middle, and the first" {
    rm "${documents[2]}"
    names "generation 2: the metadata is missing: takes down generation 2" \
        "generation 3: the metadata was not made on the one before: takes down generation 3"
    rm "${documents[1]}"
    names "generations 1 to 2: the metadata is missing: takes down all of them" \
        "generation 3: the metadata was not made on the one before: takes down generation 3"
    wanted='{"object":"metadata","generation":1,"through":2,"sha256":null,"problem":"missing","takesDown":[]}'
    [[ $(jq -c '.damaged[0]' <<<"$output") = "$wanted" ]]
}

@test "a gap as wide as can be is one finding, quickly; and at the end of the numbers nothing more is stored" {
    ep-unseal --key pod.key --kind metadata <"${documents[5]}" |
        jq -c '.generation = 9999999999 | .previous.generation = 9999999998 | .type = "full" | del(.parent)' >last
    ep-seal --key pod.key --kind metadata <last >"${documents[5]}"
    rm -rf state
    names "generations 5 to 9999999998: the metadata is missing: takes down all of them"
    before=$(listing store)
    run -65 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"generation 9999999999 is the last possible one: pod"*hint:* && $(listing store) = "$before" ]]
    jq -c '.generation = 4611686018427387904' last | ep-seal --key pod.key --kind metadata >"${documents[5]}"
    rm -rf state
    names "generation 5: the metadata is damaged: takes down generation 5"
}

@test "missing metadata: the newest, which this machine remembers" {
    rm "${documents[5]}"
    names "generation 5: the metadata is missing: takes down generation 5"
    rm -rf state
    run -0 verify
}

@test "metadata and blobs of another, under their addresses" {
    # Another history with the same key, of which one document takes another's place.
    mkdir other
    store=file://$PWD/other configure
    escapepod backup ./pod.conf
    cat other/escapepod/pod/metadata/* >"${documents[4]}"
    configure
    names "generation 4: the metadata is damaged: takes down generations 4 to 5"
    cp "${blobs[1]}" "${blobs[5]}"
    names "generation 4: the metadata is damaged: takes down generations 4 to 5" \
        "generation 5: the blob is damaged: takes down generation 5"
}

@test "a document that was not made on the one before" {
    # The key's holder can write one: generation 5 of another history, with the address of this one.
    ep-unseal --key pod.key --kind metadata <"${documents[5]}" | jq -c '.previous.metadataSha512 = "0" * 128' |
        ep-seal --key pod.key --kind metadata >forged
    cp forged "${documents[5]}"
    # What it builds on is still what it says.
    names "generation 5: the metadata was not made on the one before: takes down nothing"
}

@test "a blob with the right digests that another key sealed" {
    ep-key generate other.key >/dev/null
    ep-unseal --key pod.key <"${blobs[5]}" | ep-seal --key other.key | ep-store blob "$store" --domain pod >receipt
    address=$(jq -r .sha256 receipt)
    ep-unseal --key pod.key --kind metadata <"${documents[5]}" |
        jq -c --slurpfile receipt receipt '. + $receipt[0]' | ep-seal --key pod.key --kind metadata >forged
    rm "${documents[5]}"
    cp forged "${documents[5]%-*}-$address"
    # The witness has another generation 5.
    rm -rf state
    names "generation 5: the blob has the right digests, but cannot be opened with this key: takes down generation 5"
}

@test "with another key nothing is called damaged" {
    ep-key generate other.key >/dev/null
    run -65 --separate-stderr verify --key other.key
    [[ -z $output && $stderr = *"no metadata of pod can be opened: $store"* ]]
    [[ ! -e $(echo state/pod/*)/verified.json ]]
}

# counted: from here on each blob that is fetched leaves a line in the file fetched; after $1 of them SIGNAL $2 ends escapepod.
counted() {
    : >fetched
    stand_in ep-fetch <<END
[[ \$1 = blob ]] || exec "\$real" "\$@"
echo "\$*" >>"\$here/fetched"
((\$(wc -l <"\$here/fetched") <= $1)) || { kill -$2 "\$PPID"; exec sleep 1; }
exec "\$real" "\$@"
END
}

@test "interrupted, it goes on with the blobs that are left; finished, it starts anew" {
    for signal in KILL INT TERM; do
        counted 3 "$signal"
        run verify
        case $signal in KILL) ((status == 137)) ;; INT) ((status == 130)) ;; TERM) ((status == 143)) ;; esac
        [[ ! -e $(echo state/pod/*)/verified.json ]]
        counted 100 KILL
        run -0 verify
        [[ $output = *"continues the pass of 20"*", which has verified 3 of 5"*"done: all of it is whole"* ]]
        [[ $(wc -l <fetched) -eq 2 ]]
        rm state/pod/*/verified.json
    done
    counted 100 KILL
    run -0 verify
    [[ $output != *"goes on"* && $(wc -l <fetched) -eq 5 ]]
    [[ -z $(ls -A tmp) ]]
}

@test "what was damaged in an interrupted pass is looked at again" {
    flip "${blobs[1]}" 2000000
    counted 3 TERM
    run -143 verify
    [[ $output = *"generation 1: the blob is damaged"* ]]
    no_stand_in
    names "generation 1: the blob is damaged: takes down generations 1 to 3"
}

@test "a sample takes blobs at random, up to its share of the bytes, and leaves a pass alone" {
    counted 2 TERM
    run -143 verify
    counted 100 KILL
    run -0 verify --sample 1%
    # One, and in front of it perhaps the two that are smaller than that share.
    [[ $output =~ "a sample of "([123])" of them, ".*"done: " && $(wc -l <fetched) -eq ${BASH_REMATCH[1]} ]]
    counted 100 KILL
    run -0 verify --sample=100 --json
    [[ $(wc -l <fetched) -eq 5 && $(jq -c '[.sample, .blobs]' <<<"$output") = '[100,5]' ]]
    [[ -e $(echo state/pod/*/verified-sample.json) && ! -e $(echo state/pod/*)/verified.json ]]
    for wrong in 0 101 x '' 5.5; do run -64 verify "--sample=${wrong:-%}"; done
    run -0 verify
    [[ $output = *"has verified 2 of 5"* ]]
    # Not always the same one.
    for _ in {1..20}; do
        verify --sample 1% --json | jq .bytes >>sizes
        [[ $(sort -u sizes | wc -l) -eq 1 ]] || break
    done
    [[ $(sort -u sizes | wc -l) -eq 2 ]]
}

@test "a store that goes away in the middle is no damage" {
    stand_in ep-fetch <<'END'
[[ $1 != blob ]] || { echo "ep-fetch: the store does not answer" >&2; exit 69; }
exec "$real" "$@"
END
    run -69 verify
    [[ $output != *"takes down"* && ! -e $(echo state/pod/*)/verified.json ]]
}

@test "two at once: the second one says so" {
    mkfifo hold
    stand_in ep-fetch <<'END'
[[ $1 != blob || -e $here/at-work ]] || { : >"$here/at-work"; cat "$here/hold"; }
exec "$real" "$@"
END
    verify 3>&- &
    pid=$!
    eventually test -e at-work
    run -75 verify
    [[ $output = *"another run is in progress"* ]]
    no_stand_in
    : >hold
    wait "$pid"
}

@test "on a terminal, the progress is that of the whole" {
    stand_in ep-fetch <<'END'
[[ $1 = blob ]] || exec "$real" "$@"
"$real" "$@" | { head -c 300; sleep 0.5; cat; }
END
    run -0 script -qec "timeout 120 escapepod verify ./pod.conf" /dev/null
    [[ $output = *"of 9.0 MiB  100 %"* ]]
}

@test "a store on a server is verified as any other" {
    start_dunesea
    store=dunesea+$DUNESEA_URL
    dunesea_token pod --append --read >token
    configure
    echo "token_file=$PWD/token" >>pod.conf
    three_backups
    run -0 verify
    [[ $output = *"3 backups"*"all of it is whole"* ]]
    blob=$(ep-fetch list "$store" --domain pod --token-file token | sed -n 2p)
    stop_dunesea
    flip "$(find "$DUNESEA_DIR" -type f -path "*blobs*$blob*")" 2000000
    start_dunesea --listen "${DUNESEA_URL#*//}"
    names "generation 2: the blob is damaged: takes down generations 2 to 3"
}
