#!/usr/bin/env bats
# The fault campaign: most of a minute of it, and whether it sees what it is there to see.
# shellcheck disable=SC2016,SC2154

load helper
load dunesea

years() { EP_DUNESEA=$EP_DUNESEA timeout 300 python3 "$EP_REPO/Tests/soak/history.py" --seed 1 "$@"; }
soak() { EP_DUNESEA=$EP_DUNESEA timeout 300 python3 "$EP_REPO/Tests/soak" "$@"; }

# catches WORDS CLASS: a violation is found that says so, in a store in a directory.
catches() {
    run -1 soak --seed 1 --first --seconds 60 --jobs 1 --kinds directory --classes "$2"
    [[ $output = *"VIOLATION: $1"*"again: python3 Tests/soak --seed 1 --only "* ]] || { echo "$output" && return 1; }
    [[ $output != *"the campaign itself"* ]]
}

# instead_of TOOL: from here on the text on standard input runs in its place, with `real` as the tool's own path.
instead_of() {
    mkdir -p planted
    { printf '#!/bin/bash\nreal=%q\n' "$(command -v "$1")" && cat; } >"planted/$1"
    chmod +x "planted/$1"
    PATH=$PWD/planted:$PATH
    hash -r
}

@test "faults of every class, in every store: what must be true is, and nothing is left behind" {
    needs_root
    run -0 soak --seed 1 --faults 120 --seconds 60
    [[ ${lines[-1]} = *" faults in "*", 0 violations" ]]
    base=${lines[0]##* in }
    [[ $base = */escapepod-soak.* && ! -e $base && $(losetup -nO BACK-FILE) != *"$base"* ]]
}

@test "backed up and pruned while clocks jump and runs die: what is kept comes back, from every store" {
    needs_root
    run -0 years --generations 15 --restore 2
    [[ ${#lines[@]} = 4 ]]
    for line in "${lines[@]:1}"; do [[ $line =~ ^[a-z]*": 15 generations, "[0-9]+" kept, 3 prunes, "[1-9][0-9]*" killed" ]]; done
}

@test "the campaign catches a pruning that takes more than it says" {
    needs_root
    instead_of ep-store <<'END'
[[ $1 = discard ]] || exec "$real" "$@"
{ cat; ep-fetch list "${@:2}" | tail -n 5 | head -n 1; } | "$real" "$@"
END
    run -1 years --generations 10 --kinds directory
    [[ $output = *"VIOLATION: verify: "*"the blob is missing"*"again: python3 Tests/soak/history.py --seed 1 --kinds directory "* ]] ||
        { echo "$output" && return 1; }
}

@test "the campaign catches a store that does not sync" {
    needs_root
    instead_of ep-store <<'END'
exec strace -f -qq -o /dev/null -e trace=fsync,sync_file_range -e inject=fsync,sync_file_range:retval=0 "$real" "$@"
END
    catches "there was a receipt, and the blob is not there" "power cuts of a store"
}

@test "the campaign catches a stage that does not hold its tail back" {
    needs_root
    instead_of ep-fetch <<'END'
[[ $1 != blob || $2 != file://* ]] || exec cat "${2#file://}/escapepod/$4/blobs/$5"
exec "$real" "$@"
END
    catches "a rotten blob is 65" "rotten stores"
}

@test "the campaign catches a script that does not heed the status of a pipeline" {
    needs_root
    cp -r "$EP_REPO"/{bin,lib,contrib} .
    sed -i 's/|| ep-meta piped .*/|| :/' lib/escapepod/restore.bash
    [[ $(diff lib/escapepod/restore.bash "$EP_REPO/lib/escapepod/restore.bash" | grep -c '^<') -eq 2 ]]
    PATH=$PWD/bin:$PATH
    hash -r
    catches "refused with 65" "rotten stores"
}
