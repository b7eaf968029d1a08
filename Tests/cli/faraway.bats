#!/usr/bin/env bats
# The main job through a real DuneSea server by TLS: back up, lose the machine, restore.
# shellcheck disable=SC2030,SC2031,SC2154

load helper
load pod
load dunesea

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    start_dunesea --tls
    dunesea_token pod --append --read >token
    make_pod "dunesea+$DUNESEA_URL"
    printf '%s\n' token_file="$PWD/token" ca="$DUNESEA_CA" patience=10 >>pod.conf
}

# half_there: whether the server has a part of the blob of 60 MB.
half_there() { [[ -n $(find "$DUNESEA_DIR" -type f -size +4M) ]]; }

@test "a volume is backed up to a server, lost, and restored; the next backup is incremental" {
    three_backups
    [[ $(newest) = "3 incremental" ]]
    [[ $(escapepod list ./pod.conf | wc -l) = 4 ]]
    # No key is in the store yet.
    run -3 escapepod status ./pod.conf
    [[ $output = *"generation 3, incremental"* ]]
    tree vol >before
    new_machine
    restores third
    tree new/pod >after
    diff before after
    echo fourth >new/pod/note
    sed -i "s|^volume=.*|volume=$PWD/new/pod|" pod.conf
    escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" ]]
}

@test "options in place of the configuration, and the token from the environment" {
    DUNESEA_TOKEN=$(<token) timeout 60 escapepod backup --volume vol --store "$store" --domain pod --key pod.key \
        --ca "$DUNESEA_CA"
    [[ $(newest) = "1 full" ]]
}

@test "init asks the server, and writes down how it is reached" {
    escapepod init ./other.conf --volume vol --store "$store" --domain pod --token-file token --ca "$DUNESEA_CA"
    grep -x "token_file=$PWD/token" other.conf
    grep -x "ca=$DUNESEA_CA" other.conf
    escapepod backup ./other.conf
    stop_dunesea
    run -69 timeout 60 escapepod init ./third.conf --volume vol --store "$store" --domain pod --token-file token \
        --ca "$DUNESEA_CA" --patience 1
    [[ ! -e third.conf ]]
}

@test "a server that is away, or takes no token of ours, is no empty store: no plan, no snapshot" {
    escapepod backup ./pod.conf
    echo wrong >token
    refuses 77 "does not open this domain" timeout 60 escapepod backup ./pod.conf
    stop_dunesea
    sed -i s/patience=.*/patience=1/ pod.conf
    refuses 69 "127.0.0.1" timeout 60 escapepod backup ./pod.conf
    [[ $(ls "$(slots)") = root ]]
}

@test "the server is killed while a backup runs, and started again: the backup goes on" {
    head -c 60M /dev/urandom >vol/big
    timeout 120 escapepod backup ./pod.conf >said 2>err 3>&- &
    local running=$!
    eventually half_there
    kill_dunesea
    eventually grep -q "retrying" err
    start_dunesea --tls --listen "${DUNESEA_URL#*//}"
    wait "$running"
    [[ $(newest) = "1 full" ]]
    new_machine
    restores first
}

@test "killed in the middle of a backup, the next one goes on from the same head" {
    escapepod backup ./pod.conf
    head -c 60M /dev/urandom >vol/big
    escapepod backup ./pod.conf >said 2>err 3>&- &
    local running=$!
    eventually half_there
    kill -9 "$running"
    wait "$running" || :
    # Its stages hold the lock until they have noticed.
    timeout 60 flock "/run/escapepod/$(stat -c %d-%i vol).lock" true
    [[ $(newest) = "1 full" ]]
    timeout 60 escapepod backup ./pod.conf
    [[ $(newest) = "2 incremental" ]]
}

@test "a store on a server may be carried away on a drive" {
    three_backups
    stop_dunesea
    head_of_copy=$(ep-fetch last "file://$DUNESEA_DIR" --domain pod | sha256sum)
    [[ -n $head_of_copy ]]
    umount vol
    make_btrfs new 256M
    sed -i "s|^store=.*|store=file://$DUNESEA_DIR|" pod.conf
    restores third
}
