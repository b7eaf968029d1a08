#!/usr/bin/env bats
# Restores that are disturbed: by a signal, by a store that is damaged, by a target without room.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    make_pod
    three_backups
    blobs=(store/escapepod/pod/metadata/*)
    blobs=("${blobs[@]##*-}")
    new_machine
}

# Ends the restore by signal $1 in the middle of receiving the second of three backups.
in_the_middle() {
    stand_in btrfs <<END
[[ "\$*" = *receive* ]] || exec "\$real" "\$@"
echo receive >>"\$here/received"
[[ \$(wc -l <"\$here/received") -eq 2 ]] || exec "\$real" "\$@"
head -c 1500000 | "\$real" "\$@"
kill -$1 "\$PPID"
END
    run timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(wc -l <received) -eq 2 ]]
    [[ ! -e new/pod ]]
    [[ $(find new -name big -size +1000k | wc -l) -ge 1 ]]
    rm received
}

# The second run takes what the first has whole: two are left to receive.
second_run_completes() {
    sed -i '/-eq 2/,$d' stand-in/btrfs
    echo 'exec "$real" "$@"' >>stand-in/btrfs
    restores third
    [[ $(wc -l <received) -eq 2 ]]
    [[ -z $(ls -A tmp) ]]
    volume=$PWD/new/pod
    configure
    escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" ]]
}

@test "killed while it receives: the second restore goes on, completes, and leaves nothing" {
    in_the_middle KILL
    [[ $status -eq 137 ]]
    second_run_completes
}

@test "SIGTERM while it receives: the second restore goes on, completes, and leaves nothing" {
    in_the_middle TERM
    [[ $status -eq 143 ]]
    second_run_completes
}

@test "SIGINT while it receives: the second restore goes on, completes, and leaves nothing" {
    in_the_middle INT
    [[ $status -eq 130 ]]
    second_run_completes
}

@test "btrfs receive killed: 74, no target, and the second restore completes" {
    stand_in btrfs <<'END'
[[ "$*" = *receive* ]] || exec "$real" "$@"
head -c 1500000 | "$real" "$@"
kill -KILL $$
END
    run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"ended by SIGKILL"* ]]
    [[ ! -e new/pod ]]
    no_stand_in
    restores third
}

@test "killed between the slots of the new subvolume: the second restore starts it anew" {
    stand_in ep-snap <<'END'
[[ "$*" = "adopt "*" root "* ]] || exec "$real" "$@"
kill -KILL "$PPID"
END
    run -137 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ ! -e new/pod ]]
    no_stand_in
    restores third
}

@test "killed when the target is in place: the next one says so, touches it not, and takes the rest away" {
    stand_in mv <<'END'
"$real" "$@"
kill -KILL "$PPID"
END
    run -137 timeout 60 escapepod restore ./pod.conf --to new/pod
    no_stand_in
    [[ $(<new/pod/note) = third && -d new/.escapepod-restore-pod ]]
    before=$(listing new/pod)
    run -74 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"it is there already: $PWD/new/pod"* ]]
    [[ $(listing new/pod) = "$before" ]]
    [[ $(ls -A new) = pod ]]
}

@test "a target that exists is left as it is: folder, file, symlink to nowhere" {
    mkdir new/folder
    echo mine >new/file
    ln -s nowhere new/symlink
    before=$(listing new)
    for target in folder file symlink; do
        run -74 escapepod restore ./pod.conf --to "new/$target"
        [[ $output = *"it is there already: $PWD/new/$target"*hint:* ]]
    done
    [[ $(listing new) = "$before" ]]
    run -69 escapepod restore ./pod.conf --to new/no/pod
    [[ $output = *"no such folder"* ]]
    run -65 escapepod restore ./pod.conf --to tmp/pod
    [[ $output = *"no btrfs"* ]]
}

@test "a damaged blob: 65, before the target is touched" {
    before=$(listing new)
    blob=store/escapepod/pod/blobs/${blobs[1]}
    printf '\0\0' | cmp -n 2 -i 0:2000000 - "$blob" && skip "two zero bytes, as it happens"
    printf '\0\0' | dd of="$blob" bs=1 seek=2000000 conv=notrunc status=none
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"verifying"*"${blobs[1]}"* && $output != *receiving* ]]
    [[ $(listing new) = "$before" ]]
    # The generation before it does not need it.
    run -0 escapepod restore ./pod.conf --to new/pod --generation 1
    [[ $(<new/pod/note) = first ]]
}

@test "a blob that is cut, and one that is missing: refused, before the target is touched" {
    before=$(listing new)
    truncate -s -100 "store/escapepod/pod/blobs/${blobs[0]}"
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(listing new) = "$before" ]]
    rm "store/escapepod/pod/blobs/${blobs[0]}"
    run timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $status -eq 65 || $status -eq 10 ]]
    [[ $(listing new) = "$before" ]]
}

@test "metadata missing in the middle of the chain, or of another generation in its place: 65" {
    before=$(listing new)
    folder=store/escapepod/pod/metadata
    cp "$folder/0000000001-${blobs[0]}" "$folder/0000000002-${blobs[1]}"
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    rm "$folder/0000000002-${blobs[1]}"
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(listing new) = "$before" ]]
}

@test "too little room: 74, before anything is made" {
    head -c 300M /dev/zero >new/ballast || :
    before=$(listing new)
    run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"not enough room: $PWD/new/ has "*"it takes 6."*MiB* ]]
    [[ $(listing new) = "$before" ]]
    rm new/ballast
    sync -f new
    restores third
}

@test "the target fills up while it receives: 74, and the second restore completes when there is room" {
    stand_in btrfs <<'END'
[[ "$*" != *receive* ]] || head -c 300M /dev/zero >"$here/new/ballast"
exec "$real" "$@"
END
    run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *receiving*"No space left"* ]]
    [[ ! -e new/pod ]]
    no_stand_in
    rm new/ballast
    sync -f new
    restores third
}

@test "two restores at once: one gets 75 and changes nothing, the other completes" {
    stand_in btrfs <<'END'
[[ "$*" = *receive* && ! -e "$here/waits" ]] || exec "$real" "$@"
touch "$here/waits"
for ((i = 0; i < 300; i++)); do [[ ! -e "$here/go" ]] || break; sleep 0.1; done
exec "$real" "$@"
END
    timeout 60 escapepod restore ./pod.conf --to new/pod &
    first=$!
    for ((i = 0; i < 300; i++)); do [[ ! -e waits ]] || break; sleep 0.1; done
    run -75 timeout 60 escapepod restore ./pod.conf --to new/second
    [[ $output = *"another run is at work"*hint:* ]]
    touch go
    wait "$first"
    [[ $(<new/pod/note) = third && $(ls -A new) = pod ]]
}
