#!/usr/bin/env bats
# Silence is no success: tools that end well and say nothing, arguments that are not there, outputs that take nothing.
# shellcheck disable=SC2016,SC2030,SC2031,SC2094,SC2154

load helper
load pod
load storage

setup_file() { prepare escapepod backup ./pod.conf; }

# broken FD: a pipe without a reader, open as that number.
broken() {
    rm -f fifo
    mkfifo fifo
    exec 8<>fifo
    eval "exec $1>fifo"
    exec 8<&-
}

@test "a tool that ends well and says nothing ends the backup: 70, the head stays, and so do slots and witness" {
    prepared
    before=$(head_of_store)
    witness=$(cat state/pod/*/witness.json)
    while read -r tool arguments; do
        echo second >>vol/note
        stand_in "$tool" <<<"[[ \$* = $arguments ]] || exec \"\$real\" \"\$@\"; cat >/dev/null"
        run -70 timeout 60 escapepod backup ./pod.conf </dev/null
        [[ $output = *"escapepod: $tool reported success without any output"*hint:* && $output != *done:* ]]
        no_stand_in
        rm "stand-in/$tool"
        [[ $(head_of_store) = "$before" && $(cat state/pod/*/witness.json) = "$witness" ]]
        [[ $(cd "$(slots)" && echo root *parent) = "root *parent" && -z $(ls -A tmp) ]]
    done <<'END'
ep-fetch last*
ep-snap list*
ep-snap create*
ep-plan *
ep-meta create*
ep-seal *metadata*
ep-config *
ep-store blob*
ep-store metadata*
END
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "2 incremental" ]]
}

@test "a history, an audit, a record, a list and a screen of nothing are no success" {
    prepared
    for silent in "ep-fetch history*" "ep-unseal *metadata*" "ep-meta audit*" "ep-meta record*"; do
        stand_in "${silent%% *}" <<<"[[ \$* = ${silent#* } ]] || exec \"\$real\" \"\$@\""
        run -70 timeout 60 escapepod verify ./pod.conf
        [[ $output != *"all of it is whole"* && ! -e $(echo state/pod/*)/verified.json ]]
        no_stand_in
        rm stand-in/ep-*
    done
    for silent in list status; do
        stand_in ep-meta <<<"[[ \$1 = $silent ]] || exec \"\$real\" \"\$@\""
        run -70 timeout 60 escapepod "$silent" ./pod.conf
        [[ $output = *"escapepod: ep-meta reported success without any output"* ]]
        no_stand_in
        rm stand-in/ep-meta
    done
}

@test "a commit is believed when the store shows it: as its head, or behind what another machine committed since" {
    make_pod
    # It says the right thing, and did nothing.
    stand_in ep-store <<'END'
[[ $1 = metadata ]] || exec "$real" "$@"
echo "{\"blob\":\"$6\",\"follows\":null,\"size\":400}"
END
    run -74 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"does not show it: $store"*hint:* ]]
    [[ $output != *done:* && ! -e $(echo state/pod/*)/witness.json && $(head_of_store) = none ]]
    make_btrfs other 256M
    sed "s,^volume=.*,volume=$PWD/other," pod.conf >other.conf
    stand_in ep-store <<'END'
"$real" "$@" || exit
[[ $1 != metadata || -e "$here/once" ]] || { touch "$here/once" && escapepod backup "$here/other.conf" >&2; }
END
    run -0 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"done:"*"generation 2"*"done:"*"generation 1" ]]
    no_stand_in
    [[ $(newest) = "2 full" ]]
}

@test "without /proc the tools have their arguments, and a run does not take another's folder for a stale one" {
    prepared
    mkdir "tmp/escapepod.$$.abcdefgh"
    run -0 unshare --mount --propagation slave bash -c 'mount -t tmpfs none /proc && escapepod sheet ./pod.conf'
    rmdir "tmp/escapepod.$$.abcdefgh"
    sealed blob 3000 >blob
    sealed metadata 400 >meta
    follows=$(ep-fetch list "$store" --domain pod)
    unshare --mount --propagation slave bash -c '
        mount -t tmpfs none /proc
        ep-store blob "$1" --domain pod <blob >receipt
        ep-store metadata "$1" --domain pod --blob "$2" --follows "$3" --parent none <meta >record
        ep-fetch last "$1" --domain pod >back' - "$store" "$(sha256 blob)" "$follows"
    cmp meta back
    [[ $(jq -r '[.blob, .follows, .size] | @sh' record) = "'$(sha256 blob)' '$follows' 400" ]]
}

@test "a tool without arguments or subcommand: 64, and nothing on standard output" {
    for tool in ep-store ep-fetch ep-key ep-snap ep-meta escapepod; do
        refuses 64 "$tool: missing subcommand" timeout 10 "$tool"
        grep -q hint: err
    done
    for tool in ep-seal ep-unseal ep-plan; do
        refuses 64 "$tool: missing expected" timeout 10 "$tool"
    done
}

@test "outputs that are closed, full or without a reader: 74 from every tool, and no file of theirs takes the number" {
    prepared
    before=$(listing store)
    for command in "ep-key id pod.key" "ep-key --help" "ep-key --version" "ep-key passphrase" "ep-meta --help" \
        "ep-fetch list $store --domain pod" "ep-fetch last $store --domain pod" "ep-snap nested --json vol" \
        "ep-key sheet pod.key --domain pod --store $store"; do
        # shellcheck disable=SC2086
        for end in '>&-' '>/dev/full' '>&7'; do
            broken 7
            run -74 --separate-stderr eval "timeout 10 $command $end"
            [[ $stderr = *"standard output"* ]] || { echo "$command $end: $stderr" && return 1; }
        done
    done
    run -74 bash -c 'ep-key generate new.key >&-'
    [[ $(head -c 15 new.key) = "# escapepod key" && $(wc -l <new.key) -eq 3 ]]
    run -74 bash -c 'ep-meta show <&-'
    run -74 bash -c 'ep-seal --key pod.key <&- >sealed'
    [[ ! -s sealed || $(wc -c <sealed) -le 120 ]]
    # The words get lost; the status does not.
    run -64 bash -c 'ep-store 2>&-'
    [[ $(listing store) = "$before" ]]
}

@test "outputs that are closed, full or without a reader: 74 from the script, and nothing is left" {
    make_pod
    escapepod backup ./pod.conf
    keep_key
    before=$(head_of_store)
    for command in "backup ./pod.conf" "list ./pod.conf" "status ./pod.conf" "status ./pod.conf --json" "verify ./pod.conf" \
        "list --help" --help --version; do
        for end in '>&-' '>/dev/full' '>&7' '>&7 2>&1'; do
            broken 7
            run -74 eval "timeout 60 escapepod $command $end"
            # `status` warns of the backup before it, which has failed.
            case $end in
            '>&-') [[ $output = *"escapepod: standard output is closed" ]] ;;
            '>/dev/full') [[ $output = *"cannot write: no space left on device: standard output"* ]] ;;
            '>&7') [[ $output = *"the reader closed the pipe before the end: standard output"* ]] ;;
            esac || { echo "$command $end: $output" && return 1; }
            [[ -z $(ls -A tmp) && ! -e $(slots)/current-state ]]
        done
    done
    [[ $(head_of_store) = "$before" ]]
    # Neither of the others is needed.
    run -0 bash -c 'escapepod backup ./pod.conf <&- 2>&-'
    [[ $(newest) = "2 incremental" ]]
}
