#!/usr/bin/env bats
# ep-meta as a person runs it: create, show, check, and what they refuse.
# shellcheck disable=SC2086,SC2094,SC2154

load helper
load records

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    echo '[]' >none
    snapshot current-state $one >snapshot1
    snapshot current-state $two >snapshot2
    report full $one null >report1
    report incremental $two "\"$one\"" >report2
    # 1000000 bytes in 62 chunks: prefix, trailer and a tag for each.
    receipt $((1000000 + 120 + 16 + 62 * 16)) a >receipt1
    receipt $((1000000 + 120 + 16 + 62 * 16)) b >receipt2
    ep-plan --domain $domain --snapshots none </dev/null >plan1
    create 1 >meta1
    echo "[$(snapshot current-parent $one)]" >snapshots
    ep-plan --domain $domain --snapshots snapshots <meta1 >plan2
    create 2 >meta2
    cat meta1 meta2 >chain
}

report() {
    printf '{"stream":"btrfs","type":"%s","uuid":"%s","parentUuid":%s,"protocol":1,"bytes":1000000,"complete":true}\n' "$@"
}

receipt() {
    printf '{"size":%s,"sha256":"%s","sha512":"%s"}\n' \
        "$1" "$(printf '%s' "$2" | sha256sum | cut -d' ' -f1)" "$(printf '%s' "$2" | sha512sum | cut -d' ' -f1)"
}

meta() {
    timeout 60 ep-meta "$@"
}

create() {
    timeout 60 ep-meta create --domain $domain --plan "plan$1" --snapshot "snapshot$1" --report "report$1" \
        --receipt "receipt$1" --btrfs-progs 6.2 "${@:2}"
}

@test "create prints one line that check and jq take, and that the next plan is made on" {
    [[ $(wc -l <meta1) -eq 1 ]]
    ep-meta check <meta1
    [[ $(jq -r .producer.kernel meta1) == "$(uname -r)" ]]
    [[ $(jq -r '.producer["btrfs-progs"]' meta1) == 6.2 ]]
    [[ $(jq -c keys_unsorted meta2) == '["version","domain","generation","type","uuid","date","size","sha512","sha256","producer","previous","parent"]' ]]
}

@test "create knows the btrfs command that is here, and writes the line of show" {
    ep-meta create --domain $domain --plan plan2 --snapshot snapshot2 --report report2 --receipt receipt2 --line line >meta
    ep-meta show --format line <meta | cmp - line
    [[ "btrfs-progs v$(jq -r '.producer["btrfs-progs"]' meta)" = "$(btrfs --version | head -n 1)" ]]
    mkdir bin
    printf '#!/bin/sh\n%s\n' "printf 'btrfs-progs v6.14\n-EXPERIMENTAL +ZSTD v9\n'" >bin/btrfs
    chmod +x bin/btrfs
    PATH=$PWD/bin:$PATH run -0 ep-meta create --domain $domain --plan plan2 --snapshot snapshot2 --report report2 --receipt receipt2
    [[ $(jq -r '.producer["btrfs-progs"]' <<<"$output") = 6.14 ]]
    printf '#!/bin/sh\necho nothing\n' >bin/btrfs
    PATH=$PWD/bin:$PATH refuses 69 "states no version" ep-meta create --domain $domain --plan plan2 --snapshot snapshot2 \
        --report report2 --receipt receipt2
    refuses 74 "absent/line" create 2 --line absent/line
}

@test "previous is the digest of the document without its final newline" {
    [[ $(jq -r .previous.metadataSha512 meta2) == "$(head -c -1 meta1 | sha512sum | cut -d' ' -f1)" ]]
}

@test "the members of a machine: in its document, in what is shown of it, and in what is kept of them" {
    local member
    for member in home root; do
        sed "s/$domain/$member.$domain/" meta1 >"$member"
        meta member --label $member --folder usb-1 <"$member" >>members
    done
    create 2 --members members >meta3
    jq -c '{domain, generation, sha256}' members | diff <(jq -c '.members[]' meta3) -
    jq -c 'del(.members)' meta3 | diff meta2 -
    [[ $(jq -c 'keys_unsorted[-2:]' meta3) = '["parent","members"]' ]]
    meta check < <(cat meta1 meta3)
    run -0 meta show <meta3
    [[ $output = *"  home.$domain, generation 1"$'\n'"  root.$domain, generation 1" ]]
    refuses 74 absent create 2 --members absent
    refuses 65 "the new document" create 2 --members /dev/null
    head -c 100 members >half
    refuses 65 "half, line 1" create 2 --members half
    { cat members && meta member --label x --folder usb-1 <meta1; } >other
    refuses 65 "member members[2].domain is $domain, which is not below $domain" create 2 --members other

    history() { for member; do printf '%s %s\n' "$(jq -r .sha256 "$member")" "$(<"$member")"; done && echo "end $#"; }
    retain() { timeout 60 ep-meta retain --store s --minimum-age 0 --now 1800000000 "$@"; }
    # What belongs to the first is not known.
    history meta1 meta3 >sets
    refuses 65 "generation 1 does not name the backups of its members, as others do: s" \
        retain --domain $domain --keep-last 1 --named named <sets
    [[ ! -e named ]]
    sed -i 's/"generation":2,"type":"incremental"/"generation":1,"type":"full"/; s/"previous":.*"members"/"members"/' meta3
    history meta3 >sets
    retain --domain $domain --keep-last 1 --named named <sets
    jq -r '"\(.domain) \(.generation) \(.sha256) 1"' members | cat - <(echo "end 2") | diff named -
    history home >home.history
    run -0 retain --domain home.$domain --by-sets named <home.history
    [[ $output = *"stays: generation 1 of the machine needs it; "* ]]
    sed -i 's/ 1 [0-9a-f]* 1$/ 7 '"$(printf '%064d' 0)"' 1/' named
    refuses 65 "generation 1 of the machine needs generation 7 of home.$domain, with the blob 000" \
        retain --domain home.$domain --by-sets named <home.history
    sed -i '$d' named
    refuses 65 "not what sets name: named" retain --domain home.$domain --by-sets named <home.history
}

@test "create refuses records that contradict one another" {
    sed s/$two/$one/ snapshot2 >s && cp snapshot2 keep && cp s snapshot2
    refuses 65 "the snapshot has $one" create 2
    cp keep snapshot2
    report full $two null >report2
    refuses 65 "the send stream is full, but the plan is incremental" create 2
    report incremental $two "\"$two\"" >report2
    refuses 65 "the send stream builds on $two, but the plan on $one" create 2
    report incremental $two "\"$one\"" | sed 's/"complete":true/"complete":false/' >report2
    refuses 65 "report2" create 2
    echo '{"stream":"other","bytes":1000000,"complete":true}' >report2
    refuses 65 "no send stream was sealed" create 2
    report incremental $two "\"$one\"" >report2
    receipt 1001127 b >receipt2
    refuses 65 "the blob in the store has 1001127 bytes, but the sealed stream has 1001128" create 2
    receipt 1001128 b >receipt2
    create 2 | cmp - meta2
    domain=other refuses 65 "the plan is for pod.example.org, not for other" create 2
}

@test "create names the record that is missing, empty, cut or damaged" {
    for file in plan2 snapshot2 report2 receipt2; do
        cp $file keep
        rm $file
        refuses 74 $file create 2
        : >$file
        refuses 65 $file create 2
        head -c 40 keep >$file
        refuses 65 $file create 2
        echo '[]' >$file
        refuses 65 "not a JSON object: $file" create 2
        cp keep $file
    done
    create 2 >/dev/null
}

@test "show is a page with human sizes next to exact bytes" {
    run -0 ep-meta show <meta2
    [[ ${lines[0]} == "pod.example.org, generation 2: incremental backup" ]]
    [[ $output == *"977.7 KiB, sealed (1001128 bytes)"* ]]
    [[ $output == *"Builds on generation 1, full:"* ]]
    [[ $output == *"2026-11-23 06:10:00 UTC"* ]]
}

@test "show --format line: what a script reads word by word" {
    meta show --format line <meta2 >line
    [[ $(wc -l <line) -eq 1 ]]
    [[ $(ep-meta show --format line --domain pod.example.org <meta2) = "$(<line)" ]]
    refuses 65 "the metadata of pod.example.org instead of pea" meta show --format line --domain pea <meta2
    read -r generation type date size blob id of on readable <line
    [[ $generation == 2 && $type == incremental && $date == 2026-11-23T06:10:00Z && $size == 1001128 ]]
    [[ $blob == "$(jq -r .sha256 meta2)" && $id == "$two" && $of == "$domain" && $on == "$(jq -r .parent.sha256 meta2)" && $readable == "977.7 KiB" ]]
}

@test "a history: a list, a chain, an audit, what a fault takes down; cut it is none" {
    blobs=("$(jq -r .sha256 meta1)" "$(jq -r .sha256 meta2)")
    of=(--domain "$domain" --store store)
    { echo "${blobs[0]} $(<meta1)" && echo "${blobs[1]} $(<meta2)" && echo "end 2"; } >history
    ep-meta list "${of[@]}" <history >list
    [[ $(wc -l <list) -eq 3 && $(tail -n 1 list) == *" 2  incremental   2026-11-23T06:10:00Z "*"${blobs[1]:0:16}" ]]
    ep-meta chain "${of[@]}" <history >chain
    read -r generation _ id count bytes _ newest readable <chain
    [[ $generation == 2 && $id == "$two" && $count == 2 && $newest == yes && $readable == *iB && $(wc -l <chain) -eq 3 ]]
    [[ $bytes -eq $(($(jq .size meta1) + $(jq .size meta2))) ]]
    cmp chain <(ep-meta chain "${of[@]}" --blob "${blobs[1]}" <history)
    refuses 65 "generation 2 of $domain is not the one that was wanted" ep-meta chain "${of[@]}" --blob "${blobs[0]}" <history
    refuses 10 "no generation 3 of $domain: store" ep-meta chain "${of[@]}" --generation 3 <history
    refuses 65 "there was a generation 3: store" ep-meta chain "${of[@]}" --at-least-generation 3 <history
    ep-meta audit "${of[@]}" --tasks tasks <history >said
    [[ $(head -n 1 tasks) == *"Z 2 $bytes" && $(wc -l <tasks) -eq 3 && $(wc -l <said) -eq 1 ]]
    read -ra task < <(tail -n 1 tasks)
    wanted="${blobs[1]} $(jq .size meta1) --size $(jq .size meta2) --sha512 $(jq -r .sha512 meta2)"
    [[ ${task[*]} == "$wanted" ]]
    judge() { ep-meta fault "${of[@]}" --fetched "$1" --opened "$2" --faults faults "${blobs[0]}" <history; }
    for statuses in "10 65 missing" "65 65 damaged" "74 0 unreadable" "0 65 forged"; do
        # shellcheck disable=SC2086 # words
        [[ $(judge $statuses) == *"takes down generations 1 to 2" && $(tail -n 1 faults) == "${blobs[0]} ${statuses##* }" ]]
    done
    # No fault of the blob: who failed has said why.
    run -69 judge 69 65
    run -77 judge 0 77
    [[ $output = "" && $(wc -l <faults) -eq 4 ]]
    # Kept, it is a holder's of the key; and it ends in 65, since there is a fault.
    ep-key generate key >/dev/null
    echo "${blobs[0]} missing" >faults
    ep-meta audit "${of[@]}" --tasks tasks --pass pass <history >/dev/null
    [[ -s pass ]]
    run -65 --separate-stderr ep-meta record verify "${of[@]}" --pass pass --tasks tasks --faults faults --key key --state state/x <history
    [[ $(jq -c '[.problems, .damaged[0].takesDown, .blobs]' <<<"$output") == '[1,[1,2],2]' && $output == "$(<state/x/verified.json)" && ! -e pass ]]
    printf %s "${output%,\"mac\"*}}" | ep-key mac key --check "$(jq -r .mac <<<"$output")"
    ep-key passphrase >words
    ep-key wrap key --passphrase-file words >sealed 2>/dev/null
    mkdir space
    run -3 ep-meta status "${of[@]}" --key key --state state/x --sealed-key sealed --key-space space <history
    [[ $output == *"the key is not in the key space: space"* ]]
    [[ $output == *"in the store, under a passphrase; not seen in space"* ]]
    ep-key copy key "space/escapepod-$domain.key" >/dev/null
    : >none
    run -3 ep-meta status "${of[@]}" --key key --state state/x --sealed-key none --key-space space <history
    [[ $output == *"no copy of the key is in the store"* && $output == *"not in the store; in space"* ]]
    run -3 ep-meta status "${of[@]}" --key key --state state/x --sealed-key sealed --key-space space/absent <history
    [[ $output == *"verify found 1 damaged or missing on 20"* && $output == *"  chain          2 backups to read, "* ]]
    # Names of files are foreign.
    printf 'RECOVERY.txt\nopen\e[2J\n' >differing
    run -3 --separate-stderr ep-meta status "${of[@]}" --key key --state state/x --sealed-key sealed --differing differing --json <history
    [[ $stderr == *"warning: not the installed version: open\x1b[2J in store"*"hint: "* ]]
    [[ $(jq '[.warnings[] | select(startswith("not the installed"))] | length' <<<"$output") -eq 2 ]]
    run -3 ep-meta audit "${of[@]}" --tasks tasks --differing differing <history
    [[ $output == *"not the installed version: RECOVERY.txt in store"* ]]
    : >differing
    ep-meta audit "${of[@]}" --tasks tasks --differing differing <history >/dev/null
    # Whoever asks for the newest, and knows of none, is told so.
    for known in "--generation 2" "--at-least-generation 2" "--witness meta2" ""; do
        # shellcheck disable=SC2086 # words
        ep-meta chain "${of[@]}" --witness absent $known <history >chain 2>err
        [[ $(grep -c "nothing here can tell" err) -eq $((${#known} == 0)) ]]
    done
    for verb in list chain "audit --tasks tasks" "status --key key --state state/x"; do
        # shellcheck disable=SC2086 # words
        head -n 2 history | refuses 65 "not a complete history" ep-meta $verb "${of[@]}"
    done
}

@test "lock names a file in a folder of ours alone; work removes what is ours and of no process" {
    mkdir -m 0755 volume
    lock=$(ep-meta lock volume)
    [[ $lock == */escapepod/$(stat -c %d-%i volume).lock && $(stat -c %a "${lock%/*}") == 700 ]]
    refuses 69 "no such folder: absent" ep-meta lock absent
    refuses 77 "others can change or read this folder: volume" ep-meta lock volume --own
    ep-meta lock our/state --own >/dev/null
    [[ $(stat -c %a our our/state) == $'700\n700' ]]
    ln -s our link
    refuses 77 "and not a link" ep-meta lock link --own
    true &
    wait "$!"
    # Of one that is no more, of one that is, with other names, and a link.
    mkdir -p work.{$!.abcdefg1,$$.abcdefg1,$!.abc,x.abcdefg1,$!.abcdefg1.y} work.$!.abcdefg1/inside
    ln -s our "work.$!.abcdefg2"
    ep-meta work work.$$.abcdefg3
    refuses 74 "cannot create a folder" ep-meta work work.$$.abcdefg3
    [[ $(stat -c %a work.$$.abcdefg3) = 700 ]] && rmdir work.$$.abcdefg3
    [[ ! -e work.$!.abcdefg1 && $(echo work.*) == *work.$$.abcdefg1* && $(compgen -G 'work.*' | wc -l) -eq 5 ]]
}

@test "piped: the last stage knows best, but for one that was cut" {
    local wanted stages
    while read -r wanted stages; do
        # shellcheck disable=SC2086 # words
        run -"$wanted" ep-meta piped $stages
    done <<'END'
0 0 0 0
74 74 0 0
75 74 75 65
69 69 65 65
65 0 65 0
137 0 137 65
65 65 0 65
END
}

@test "a document cannot steer the terminal" {
    jq -c '.producer.kernel = "\u001b]0;owned\u0007\u009b2J\nhint: \u202eabc"' meta1 >evil
    ep-meta show <evil >page
    grep -qF 'Linux \x1b]0;owned\x07\xc2\x9b2J\x0ahint: \xe2\x80\xaeabc' page
    run ! grep -qP '[^\x20-\x7e]' page
    jq -c '.date = "\u001b[2J"' meta1 >evil
    refuses 65 "member date is not a date" meta show <evil
    jq -c '.domain = "\u001b[2J"' meta1 >evil
    refuses 65 "member domain is not a valid domain" meta check <evil
    run ! grep -q $'\e' err
    jq -c '.type = "\u001b[2J"' meta1 | sed 's/^{/{"\\u001b[2J":1,"\\u001b[2J":2,/' >evil
    refuses 65 'duplicate member "\u001b[2J"' meta show <evil
    run ! grep -q $'\e' err
}

# Which members there are, and what each may be, is what the tests of Catalog go through.
@test "show and check refuse a document with a member missing or ill-typed, and name it" {
    for name in size producer.kernel parent; do
        filter=$(jq -rn --arg p "$name" '$p | split(".") | tojson')
        jq -c "delpaths([$filter])" meta2 >bad
        refuses 65 "member $name is missing" meta show <bad
        refuses 65 "member $name is missing" meta check <bad
        for value in null true '[1]' 1.5; do
            jq -c "setpath($filter; $value)" meta2 >bad
            refuses 65 "member $name is " meta show <bad
        done
    done
}

@test "huge, deep, doubled and broken documents are refused in bounded time" {
    : | refuses 65 "empty instead of a metadata document: standard input" meta show
    : | refuses 65 "empty input: standard input" meta check
    echo | refuses 65 "empty" meta check
    { head -c -2 meta1 && echo ',"size":1}'; } | refuses 65 'duplicate member "size"' meta check
    { head -c -2 meta1 && echo ',"x":{"a":1,"\u0061":1}}'; } | refuses 65 'duplicate member "a"' meta show
    sed 's/"size":[0-9]*/"size":99999999999999999999/' meta1 | refuses 65 "member size is not a 64-bit integer" meta show
    sed 's/"size":[0-9]*/"size":1e400/' meta1 | refuses 65 "member size is not a 64-bit integer" meta show
    sed 's/"size":[0-9]*/"size":9223372036854775807/' meta1 | refuses 65 "member size is out of range" meta show
    head -c 1048576 /dev/zero | tr '\0' '[' | refuses 65 "nested deeper than 32 levels" meta show
    yes '{"a":' | head -n 200000 | tr -d '\n' | refuses 65 "nested deeper" meta check
    yes '1,' | head -n 200000 | tr -d '\n' | sed 's/^/[/' | refuses 65 "more than 16384 values" meta check
    head -c 1048578 /dev/zero | refuses 65 "larger than" meta show
    head -c 3000000 /dev/zero | refuses 65 "longer than 1 MiB: standard input, line 1" meta check
    head -c 100000 /dev/urandom | refuses 65 "standard input" meta show
    { printf '\xef\xbb\xbf' && cat meta1; } | refuses 65 "invalid JSON" meta check
    sed 's/6\.2/\xff/' meta1 | refuses 65 "not UTF-8" meta check
    cat meta1 meta1 | refuses 65 "more than one line" meta show
    head -c -2 meta1 | refuses 65 "invalid JSON" meta show
}

@test "check: a chain is whole, or the message names the line" {
    run -0 ep-meta check --domain $domain <chain
    [[ -z $output ]]
    head -c -1 chain | ep-meta check
    ep-meta check <meta2
    refuses 65 "generation 1 follows generation 2: standard input, line 2" meta check < <(cat meta2 meta1)
    refuses 65 "generation 1 follows generation 1: standard input, line 2" meta check < <(cat meta1 meta1)
    refuses 65 "previous.metadataSha512 differs: standard input, line 2" \
        meta check < <(sed 's/06:10:00/06:10:01/' meta1 && cat meta2)
    # The same values in other bytes are another document.
    refuses 65 "previous.metadataSha512 differs" meta check < <(sed 's/,/, /' meta1 && cat meta2)
    refuses 65 "the parent in generation 2 does not match generation 1" \
        meta check < <(cat meta1 && jq -c '.parent.size += 1' meta2)
    refuses 65 "standard input, line 2" meta check < <(cat meta1 && echo && cat meta2)
    refuses 65 "the document belongs to pod.example.org, not to other" meta check --domain other <chain
}

@test "check takes a chain of any length in the memory of one document" {
    # 16 documents of 1 MB each, each made on the one before; one of them takes 34 MB of address space.
    pad=$(head -c 1000000 /dev/zero | tr '\0' ' ')
    : >newest
    : >long
    for _ in {1..16}; do
        ep-plan --domain $domain --snapshots none <newest >plan1
        { printf %s "$pad" && create 1; } >newest
        cat newest >>long
    done
    prlimit --as=44000000 timeout 120 ep-meta check <long
    sed '12s/06:10:00/06:10:01/' long | refuses 65 "standard input, line 13" meta check
}

@test "usage: 64, a hint, nothing on standard output" {
    refuses 64 "hint:" meta
    refuses 64 "hint:" meta frobnicate
    refuses 64 "--domain" meta create
    refuses 64 "hint:" meta show --format xml
    refuses 64 "not a valid domain: ../x" meta check --domain ../x
    domain=../x refuses 64 "not a valid domain: ../x" create 1
}

@test "a full disk is an error" {
    status=0
    ep-meta show <meta1 >/dev/full 2>err || status=$?
    [[ $status -eq 74 ]]
    grep -q "standard output" err
}

@test "keep puts a file in place whole, of the mode that is asked for, and follows no link" {
    echo one | ep-meta keep made/on/the/way --parents
    [[ $(<made/on/the/way) = one && $(stat -c %a made/on made/on/the/way) = $'700\n600' ]]
    echo two | ep-meta keep made/on/the/way --mode 0644
    [[ $(<made/on/the/way) = two && $(stat -c %a made/on/the/way) = 644 ]]
    echo three | refuses 74 "file exists: made/on/the/way" ep-meta keep made/on/the/way --new
    echo victim >victim
    ln -s victim to-victim
    echo three | ep-meta keep to-victim
    [[ ! -L to-victim && $(<to-victim) = three && $(<victim) = victim ]]
    refuses 65 "empty input" ep-meta keep to-victim </dev/null
    echo x | refuses 64 "not a file mode" ep-meta keep to-victim --mode 0888
    echo x | refuses 74 "no such file" ep-meta keep absent/x
    [[ $(<to-victim) = three && $(ls -A made/on/the) = way ]]
}

@test "keep does not follow a link on the way that somebody else can have put there" {
    needs_root
    mkdir theirs private
    chown 65534 theirs
    ln -s ../private theirs/link
    chown -h 65534 theirs/link
    echo x | refuses 77 "refusing to follow a symbolic link" ep-meta keep theirs/link/x
    echo x | refuses 77 "refusing to follow a symbolic link" ep-meta keep theirs/link/deeper/x --parents
    [[ -z $(ls -A private) ]]
    # Their folder itself may be written to.
    echo x | ep-meta keep theirs/x
}

@test "keep removes what a run left that was killed, an hour later, and nothing else" {
    touch -d '-2 hours' .escapepod-0123456789abcdef .escapepod-0123456789abcdeg .escapepod-restore-pod other
    touch .escapepod-fedcba9876543210
    mkdir .escapepod-0000000000000000
    touch -d '-2 hours' .escapepod-0000000000000000
    echo x | ep-meta keep file
    [[ ! -e .escapepod-0123456789abcdef && -e .escapepod-0123456789abcdeg && -e .escapepod-restore-pod && -e other ]]
    [[ -e .escapepod-fedcba9876543210 && -d .escapepod-0000000000000000 ]]
}

@test "printable prints lines that a terminal may show" {
    [[ $(printf 'a\nb\e[31mä\xff\n' | ep-meta printable) = $'a\nb\\x1b[31m\\xc3\\xa4\\xff' ]]
    [[ $(printf 'a\nb\0\0ä' | ep-meta printable --null) = $'a\\x0ab\n\nä' ]]
    [[ $(printf '' | ep-meta printable | wc -c) -eq 0 && $(echo | ep-meta printable | wc -l) -eq 1 ]]
}
