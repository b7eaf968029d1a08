#!/usr/bin/env bats
# ep-key as a person runs it, and what every tool that reads a key file makes of a bad one.
# shellcheck disable=SC2030,SC2031,SC2154

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    ep-key generate key >id
    echo secret >plain
    timeout 20 ep-seal --key key <plain >sealed
}

# every STATUS TEXT FILE: all that read a key file refuse this one, say that text and write nothing.
every() {
    refuses "$1" "$2" timeout 20 ep-key id "$3"
    refuses "$1" "$2" timeout 20 ep-seal --key "$3" <plain
    refuses "$1" "$2" timeout 20 ep-unseal --key "$3" <sealed
}

@test "generate makes a file for its owner alone, and prints the id that id prints" {
    umask 000
    run -0 --separate-stderr ep-key generate new
    [[ $output =~ ^[0-9a-f]{32}$ && $stderr == "" ]]
    [[ $(ep-key id new) == "$output" ]]
    [[ $(stat -c %a new) == 600 ]]
    [[ $(grep -cE '^EPOD-KEY-1[A-Z0-9]{58}$' new) -eq 1 ]]
    [[ $output != "$(<id)" ]]
    [[ -z $(find . -name '.new*') ]]
}

@test "a sealed stream names its key by the id" {
    [[ $(od -An -v -tx1 -j16 -N16 sealed | tr -d ' ') == "$(<id)" ]]
}

@test "the key of the man page has the id of the man page" {
    echo EPOD-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SYZF8XJ >known
    chmod 600 known
    run -0 ep-key id known
    [[ $output == 6b2b0ffe09d06d02726376b3d7c53fee ]]
}

@test "generate never overwrites, whatever is there" {
    cp key before
    refuses 74 'will not overwrite a key file: key' ep-key generate key
    cmp key before
    ln -s nowhere link
    refuses 74 '' ep-key generate link
    [[ -L link && ! -e nowhere ]]
    mkdir folder
    refuses 74 '' ep-key generate folder
    refuses 74 'no such file or directory: nowhere' ep-key generate nowhere/key
    [[ -z $(find . -name '.key*' -o -name '.link*' -o -name '.folder*') ]]
}

@test "a key that was typed: lower case, spaces, without the comments" {
    grep -v '^#' key | tr '[:upper:]' '[:lower:]' | sed 's/.\{10\}/& /g' >typed
    printf '\r\n\n' >>typed
    chmod 600 typed
    run -0 ep-key id typed
    [[ $output == "$(<id)" ]]
}

@test "a missing key file" {
    every 74 'cannot open: no such file or directory: nowhere' nowhere
}

@test "an empty key file, or one of comments alone" {
    : >empty
    every 65 'no key in the key file: empty' empty
    grep '^#' key >comments
    every 65 'no key in the key file: comments' comments
}

@test "a damaged key file, of which no message shows a letter" {
    local line
    line=$(grep -v '^#' key)
    # The letter in the middle becomes another one of the alphabet.
    sed '/^EPOD/s/^\(.\{40\}\)Q/\1P/; t; /^EPOD/s/^\(.\{40\}\)./\1Q/' key >damaged
    every 65 'the key is damaged: damaged' damaged
    run ! grep -F "${line:12:8}" err
    sed '/^EPOD/s/.$//' key >short
    every 65 'the key is damaged: short' short
    { cat key && echo "$line"; } >two
    every 65 'no key file: two' two
    head -c 1000 /dev/urandom >noise
    every 65 'no key file: noise' noise
    head -c 100000 /dev/zero >large
    every 65 'larger than 65536 bytes: large' large
}

@test "a directory" {
    mkdir folder
    every 74 'cannot read: is a directory: folder' folder
}

@test "a key file that others may read gets a warning, and works" {
    chmod 640 key
    run -0 --separate-stderr ep-key id key
    [[ $output == "$(<id)" ]]
    [[ $stderr == 'ep-key: warning: others may read the key file key, mode 0640; chmod 600 mends it' ]]
    timeout 20 ep-seal --key key <plain 2>err >sealed
    grep -q '^ep-seal: warning: others may read the key file key, mode 0640' err
    timeout 20 ep-unseal --key key <sealed 2>err | cmp - plain
    grep -q '^ep-unseal: warning: others may read the key file key, mode 0640' err
}

@test "a key file that may not be read" {
    needs_root
    # Its descriptor, since the way to the tool may be closed to others.
    exec 7<"$(command -v ep-key)"
    refuses 77 'cannot open: permission denied' setpriv --reuid 65534 --clear-groups /proc/self/fd/7 id "$PWD/key"
}

@test "usage" {
    refuses 64 '<file>' ep-key generate
    refuses 64 '<file>' ep-key id
    refuses 64 'unexpected argument' ep-key id key key
    refuses 64 '' ep-key destroy key
}
