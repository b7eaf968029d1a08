#!/usr/bin/env bats
# Chains that are cut short: a differential backup builds on the full one, and a restore needs none of those in between.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod

setup_file() { prepare a_long_chain; }

# backs_up NOTE DAYS: a backup of that note, as if so many days were gone.
backs_up() {
    echo "$1" >vol/note
    head -c 100K /dev/urandom >"vol/file-$1"
    later "$2" escapepod backup ./pod.conf
    tree vol >"tree.$1"
}

setup() { prepared; }

document() { ep-fetch last "$store" --domain pod | ep-unseal --kind metadata --key pod.key; }

# reads GENERATION N…: what a restore of that one reads, by its chain.
reads() {
    ep-fetch history "$store" --domain pod | ep-unseal --kind metadata --key pod.key |
        ep-meta chain --domain pod --store "$store" --generation "$1" | sed 1d | cut -d ' ' -f 5 | xargs | diff - <(echo "${*:2}")
}

# comes_back GENERATION: on a new machine.
comes_back() {
    timeout 60 escapepod restore ./pod.conf --to new/pod --generation "$1"
    tree new/pod | diff "tree.$1" -
}

@test "a list, the documents, and what a restore of each reads" {
    [[ $(escapepod list ./pod.conf | awk 'NR > 1 { print $1, $2 }' | xargs) = "1 full 2 incremental 3 incremental 4 differential 5 incremental" ]]
    document | jq -e '.parent.generation == 4 and .previous.generation == 4 and .chain.root.generation == 1 and
        .chain.differential == .parent and .chain.count == 0'
    ep-fetch history "$store" --domain pod | ep-unseal --kind metadata --key pod.key | grep -v ^end | cut -c 66- >documents
    ep-meta check --domain pod <documents
    [[ $(sed -n 4p documents | jq -c '[.type, .parent.generation, .previous.generation, .chain]') = '["incremental",1,3,null]' ]]
    sed -n 5p documents | ep-meta show | grep -F "Builds on generation 4, incremental:"
    reads 1 1 && reads 2 1 2 && reads 3 1 2 3 && reads 4 1 4 && reads 5 1 4 5
    run -3 escapepod status ./pod.conf
    [[ $output = *"chain          3 backups to read"* ]]
    # Where one link of the chain says otherwise, it is none.
    jq -c 'if .generation == 5 then .chain.count = 1 else . end' documents >wrong
    refuses 65 "member chain.differential is not between root and parent" ep-meta check --domain pod <wrong
    jq -c 'if .generation == 5 then .chain.root.size += 1 else . end' documents >wrong
    refuses 65 "the chain in generation 5 does not match generation 4" ep-meta check --domain pod <wrong
}

@test "each kind of generation comes back, and the next backup builds on it" {
    local generation
    new_machine
    for generation in 3 4 5; do
        comes_back "$generation"
        btrfs -q subvolume delete new/pod/.escapepod/*/* new/pod
    done
    comes_back 5
    volume=$PWD/new/pod
    configure
    [[ $(cd "$(slots)" && echo *) = "current-parent last-parent root" ]]
    rm -rf vol && ln -s new/pod vol
    backs_up 6 0
    [[ $(newest) = "6 incremental" ]] && reads 6 1 4 5 6
    # What came back is what it builds on for a differential one, too.
    backs_up 7 28
    [[ $(newest) = "7 differential" ]] && reads 7 1 7
    run -0 timeout 60 escapepod drill ./pod.conf --scratch "$PWD/tmp"
    [[ $output = *"all identical"* ]]
}

@test "without what is not of its chain a backup comes back all the same, also with stock tools alone" {
    local name
    for name in store/escapepod/pod/metadata/000000000[23]-*; do rm "store/escapepod/pod/blobs/${name##*-}"; done
    run -65 timeout 60 escapepod verify ./pod.conf
    [[ $output = *"generation 2: the blob is missing: takes down generations 2 to 3"* ]]
    [[ $output = *"generation 3: the blob is missing: takes down generation 3"* && $output != *"generation 4:"* ]]
    new_machine
    comes_back 5
    btrfs -q subvolume delete new/pod/.escapepod/*/* new/pod
    run -10 timeout 60 escapepod restore ./pod.conf --to new/pod --generation 3
    [[ ! -e new/pod ]]
    ep-snap scratch new --for "restore pod" --drop
    # As RECOVERY.txt says.
    cp "$EP_REPO/contrib/RECOVERY.txt" "$EP_REPO/contrib/escapepod-open" store/
    sed -n '/^WITHOUT ESCAPEPOD/,$ s/^    //p' store/RECOVERY.txt |
        sed "s|^domain=.*|domain=pod|; s|^target=.*|target=$PWD/new|; s|^key=.*|key=$PWD/pod.key|" >steps
    (cd store && env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR="$PWD" timeout 120 bash ../steps) >said
    run ! grep STOP said
    tree new/restored | diff tree.5 -
    [[ $(ls new) = $'backup-1\nbackup-4\nbackup-5\nrestored' ]]
}

@test "ages: of the differential one and of the full one, by default, by option, by configuration, and off" {
    plans() { later "$1" escapepod backup ./pod.conf --dry-run "${@:2}"; }
    [[ $(plans 27) = "pod: incremental backup"*"generation 6"*"generation 5"*"current-parent"* ]]
    # The differential one was taken just now.
    [[ $(plans 28) = *"differential, from the full backup, generation 1,"*"generation 4, is 28 days old"* ]]
    [[ $(plans 28 --differential-every off) = *"in current-parent"* ]]
    [[ $(plans 2 --differential-every 1d) = *"generation 4, is 2 days old"* ]]
    [[ $(plans 168) = "pod: full backup"*"the last full backup, generation 1, is 168 days old"* ]]
    [[ $(plans 1000 --full-every off --differential-every off) = *"in current-parent"* ]]
    printf '%s\n' full_every=5d differential_every=off >>pod.conf
    [[ $(plans 4) = *"in current-parent"* && $(plans 5) = "pod: full backup"* ]]
    # The clock went back to before all of it.
    [[ $(plans -3000) = *"in current-parent"* ]]
    run -64 escapepod backup ./pod.conf --full-every never
    [[ $output = *"'never' is invalid for '--full-every <age>'"* ]]
    sed -i 's/^full_every=.*/full_every=5y/' pod.conf
    run -65 escapepod backup ./pod.conf
    [[ $output = *"full_every is an age such as 26h, 84d or 12w, or off: ./pod.conf"* ]]
}

@test "sizes: a differential one, and then a full one" {
    # What the documents say is what counts.
    local size=$((300 << 20))
    document | jq -c '.chain.root.size = '$size' | .size = '"$((size / 4))" >newest.json
    ep-snap list vol --name "$(basename "$(slots)")" --json >snapshots
    plan() { ep-plan --domain pod --snapshots snapshots --differential-every off <"$1" | jq -r '"\(.type) \(.parent.generation) \(.reason)"'; }
    [[ $(plan newest.json) = "incremental 1 differential,"*": what lies behind the last differential backup, generation 4, has a quarter of"* ]]
    jq -c '.chain.differential.size = '$((size / 2))' | .parent.size = '$((size / 2)) newest.json >larger
    [[ $(plan larger) = "full null what lies behind "*"would be nearly as large as a full one" ]]
    jq -c '.size -= 1' newest.json >smaller
    [[ $(plan smaller) = "incremental 5 the store's newest backup"* ]]
}

@test "without the snapshot of the newest backup, the next one builds on the full one; without that, it is full" {
    btrfs -q subvolume delete "$(slots)/current-parent"
    backs_up 6 0
    [[ $(newest) = "6 differential" ]] && reads 6 1 6
    btrfs -q subvolume delete "$(slots)/current-parent" "$(slots)/root"
    backs_up 7 0
    [[ $(newest) = "7 full" ]] && reads 7 7
    new_machine
    comes_back 6
}

# dies TOOL ARGUMENT: a differential backup whose run is killed when that tool is started with that.
dies() {
    stand_in ep-plan <<<'exec "$real" "$@" --now "$((EPOCHSECONDS + 28 * 86400))"'
    stand_in "$1" <<END
[[ " \$* " = *" $2 "* ]] || exec "\$real" "\$@"
${3:-:}
kill -KILL "\$PPID"
END
    echo 6 >vol/note
    run -137 timeout 60 escapepod backup ./pod.conf
    PATH=${PATH//"$PWD/stand-in:"/}
    rm -r stand-in lib
}

@test "killed at each step of a differential backup, the next one goes on" {
    local step
    for step in "ep-snap create" "ep-snap rotate" "ep-store blob" "ep-store metadata" "ep-meta create" "ep-meta keep"; do
        # shellcheck disable=SC2086 # words
        dies $step
        run -0 later 28 escapepod backup ./pod.conf
        case $step in
        # What was committed is what the next one builds on; its snapshot moves on first.
        *rotate | *keep) [[ $(newest) = "7 incremental" ]] && reads 7 1 6 7 ;;
        *) [[ $(newest) = "6 differential" ]] && reads 6 1 6 ;;
        esac
        [[ $(cd "$(slots)" && echo *) = "current-parent last-parent root" && -z $(ls -A tmp) ]]
        cleanup
        cd / && prepared
    done
    # Behind the commit, its answer lost.
    dies ep-store metadata '"$real" "$@"'
    run -0 later 28 escapepod backup ./pod.conf
    [[ $(newest) = "7 incremental" ]] && reads 7 1 6 7
    tree vol >tree.7
    new_machine
    comes_back 7
}

@test "a restore goes on from what an interrupted one of another generation has left" {
    new_machine
    stand_in ep-snap <<<'[[ $1 = promote ]] || exec "$real" "$@"; kill -KILL "$PPID"'
    run -137 timeout 60 escapepod restore ./pod.conf --to new/pod --generation 3
    no_stand_in
    run -0 timeout 60 escapepod restore ./pod.conf --to new/pod --generation 5
    tree new/pod | diff tree.5 -
    volume=$PWD/new/pod
    [[ $(ls -A new) = pod && $(<"$(slots)/last-parent/note") = 4 && $(<"$(slots)/root/note") = 1 ]]
}
