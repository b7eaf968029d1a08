#!/usr/bin/env bats
# The key outlives the machine: a copy in a key space, and one in the store under a passphrase, for every kind of store.
# shellcheck disable=SC2016,SC2030,SC2031,SC2094,SC2154

load helper
load pod
load dunesea

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    helpers=()
    make_pod
    rm pod.conf pod.key
    mkfs.ext4 -q "$(make_image keys 16M)"
    mkdir keys
    mount -o loop keys.img keys
}

teardown() {
    local pid
    for pid in "${helpers[@]}"; do kill "$pid" 2>/dev/null || :; done
    cleanup
}

# make_image NAME SIZE: an empty one, whose path it prints.
make_image() { truncate -s "$2" "$1.img" && echo "$PWD/$1.img"; }

# begin [OPTION…]: init, whose words go into ./said.
begin() {
    local status=0
    timeout 60 escapepod init ./pod.conf --volume vol --store "$store" --domain pod --key-space keys "$@" >said || status=$?
    # The passphrase that init shows, where it made one.
    sed -n '/these ten words/{n;n;s/^ *//p}' said >words
    return "$status"
}

# begun: as init leaves it; the key is the one of which there is a wrapped copy that cost no scrypt.
begun() {
    configure
    echo "key_space=$PWD/keys" >>pod.conf
    pod_key >pod.key && chmod 600 pod.key
    cp pod.key keys/escapepod-pod.key
    keep_key --with "$EP_REPO"/contrib/{RECOVERY.txt,escapepod-open}
}

# on_drive, on_server: the store is one of these.
on_drive() {
    drives_alone
    mkfs.ext4 -q -L escapepod "$(make_image drive 64M)"
    losetup -f drive.img
    store=label:escapepod
}
on_server() {
    start_dunesea
    dunesea_token pod --append --read >token
    "$EP_REPO/Tests/cli/proxy" "${DUNESEA_URL##*:}" "record:$PWD/uploaded" >port 3>&- < <(exec tail -f /dev/null --pid=$$ 3>&-) &
    helpers+=("$!")
    eventually test -s port
    store=dunesea+http://127.0.0.1:$(head -n 1 port)
    DUNESEA_TOKEN=$(<token)
    export DUNESEA_TOKEN
}

# the_key_is_in FILE-OR-FOLDER…: the plain key, as text or as bytes.
the_key_is_in() {
    python3 - pod.key "$@" <<'END'
import os, sys
files = [f for a in sys.argv[2:] for f in ([a] if os.path.isfile(a) else
         [os.path.join(d, n) for d, _, names in os.walk(a) for n in names])]
text = [line.strip() for line in open(sys.argv[1]) if line.startswith("EPOD-KEY")][0]
letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
bits = "".join(format(letters.index(c), "05b") for c in text.lower()[len("epod-key-1"):-6])
raw = int(bits[:256], 2).to_bytes(32, "big")
words = [text.encode(), text.lower().encode(), raw, raw.hex().encode(), raw.hex().upper().encode()]
found = any(word in data for name in files for data in [open(name, "rb").read()] for word in words)
sys.exit(0 if found else 1)
END
}

# comes_back: from the store and the words alone, all is there again.
comes_back() {
    escapepod backup ./pod.conf
    echo second >vol/note
    escapepod backup ./pod.conf
    the_key_is_in keys/escapepod-pod.key
    rm pod.key
    umount keys
    new_machine
    ep-fetch key "$store" --domain pod | ep-key unwrap found.key --passphrase-file words
    timeout 60 escapepod restore --store "$store" --domain pod --key found.key --to new/pod
    [[ $(<new/pod/note) = second ]]
}

@test "in a directory: a plain copy in the key space, one under ten words in the store, and no plain key there" {
    begin
    [[ $(wc -w <words) = 10 ]]
    cmp pod.key keys/escapepod-pod.key
    [[ $(stat -c %a keys/escapepod-pod.key) = 600 ]]
    grep -x "key_space=$PWD/keys" pod.conf
    cmp store/RECOVERY.txt "$EP_REPO/contrib/RECOVERY.txt"
    cmp store/escapepod-open "$EP_REPO/contrib/escapepod-open"
    cp pod.key kept.key
    comes_back
    mv kept.key pod.key
    run ! the_key_is_in store
    # The test can fail.
    cp pod.key store/oops
    the_key_is_in store
}

@test "on a drive: the same" {
    on_drive
    begin
    cp pod.key kept.key
    comes_back
    mv kept.key pod.key
    run ! the_key_is_in drive.img
    mkdir drive
    mount "$(losetup -nO NAME -j drive.img)" drive
    cmp drive/RECOVERY.txt "$EP_REPO/contrib/RECOVERY.txt"
    cmp drive/escapepod-open "$EP_REPO/contrib/escapepod-open"
}

@test "on a server: the same, in every byte that was sent to it" {
    on_server
    begin
    cp pod.key kept.key
    comes_back
    mv kept.key pod.key
    [[ -s uploaded ]]
    grep -qa EPODDONE uploaded
    # A server has no folder for a person.
    run ! grep -qa -e RECOVERY -e escapepod-open uploaded
    run ! the_key_is_in uploaded "$DUNESEA_DIR"
}

@test "a key space on the volume or in the store is refused, with the reason, and nothing is made" {
    mkdir vol/keys store/keys
    btrfs -q subvolume create vol/apart
    local space
    for space in vol/keys vol/apart "file://$PWD/vol/keys"; do
        refuses 64 "is on the file system of this folder: $PWD/vol" timeout 60 escapepod init ./pod.conf --volume vol \
            --store "$store" --domain pod --key-space "$space"
    done
    ln -s store/keys link
    for space in store store/keys link "file:$PWD/store"; do
        refuses 64 "the store $store is on the file system of this folder: " timeout 60 escapepod init ./pod.conf --volume vol \
            --store "$store" --domain pod --key-space "$space"
    done
    on_drive
    mkdir drive
    mount "$(losetup -nO NAME -j drive.img)" drive
    mkdir drive/space bound && mount --bind drive/space bound
    local url
    for url in "$store" label:EscapePod "file:$PWD/drive"; do
        for space in drive bound; do
            refuses 64 "the store $url is on the file system of this folder: " timeout 60 escapepod init ./pod.conf \
                --volume vol --store "$url" --domain pod --key-space "$space"
        done
    done
    refuses 69 "no such folder" timeout 60 escapepod init ./pod.conf --volume vol --store "$store" --domain pod \
        --key-space absent
    [[ ! -e pod.conf && ! -e pod.key && ! -e store/escapepod && ! -e drive/escapepod ]]
}

@test "a store on the volume is refused, whatever it is called; status says so of one that is there" {
    mkdir vol/store bound
    mount --bind vol/store bound
    btrfs -q subvolume create vol/apart
    drives_alone
    # No other drive of this machine has this label.
    local url label=volume-$RANDOM
    btrfs -q filesystem label vol "$label"
    begun
    for url in "file:$PWD/vol/store" "file://$PWD/bound" "file:$PWD/vol/apart" "label:$label"; do
        refuses 64 "the store $url is on the file system of this folder: $PWD/vol" timeout 60 escapepod init ./another.conf \
            --volume vol --store "$url" --domain pod
        [[ ! -e another.conf && ! -e another.key ]]
        refuses 64 "the store $url is on the file system of this folder" timeout 60 escapepod backup ./pod.conf --store "$url"
    done
    [[ -z $(ls -A vol/store) && -z $(ls -A vol/apart) && ! -e vol/.escapepod ]]
    # From before this was refused.
    escapepod backup ./pod.conf
    cp -r store/. vol/store
    run -3 --separate-stderr timeout 60 escapepod status ./pod.conf --store "file:$PWD/vol/store"
    [[ $stderr == *"is on the file system of this folder: $PWD/"* ]]
    run -0 timeout 60 escapepod status ./pod.conf
}

@test "the sheet has the key, the store, the newest backup and the SHA-256 of the program for strangers, whose changes are noticed" {
    begun
    escapepod sheet ./pod.conf >sheet
    grep -qF "$store" sheet
    run ! grep -q "at-least-generation" sheet
    escapepod backup ./pod.conf
    escapepod sheet ./pod.conf >sheet
    grep -q "generation 1 of" sheet
    grep '^  EPOD-KEY-1 ' sheet >typed.key
    [[ $(ep-key id typed.key) = $(ep-key id pod.key) ]]
    local sum file
    sum=$(sha256sum <"$EP_REPO/contrib/escapepod-open")
    grep -qF "${sum%% *}" sheet
    escapepod sheet ./pod.conf --pdf sheet.pdf
    [[ $(head -c 5 sheet.pdf) = "%PDF-" ]]
    run -0 timeout 60 escapepod status ./pod.conf
    run -0 timeout 60 escapepod verify ./pod.conf
    for file in escapepod-open RECOVERY.txt; do
        echo 'print("the key, please")' >>store/$file
        run -3 --separate-stderr timeout 60 escapepod status ./pod.conf
        [[ $stderr == *"not the installed version: $file in $store"* ]]
        run -3 --separate-stderr timeout 60 escapepod verify ./pod.conf
        [[ $stderr == *"not the installed version: $file in $store"* ]]
        truncate -s 2M store/$file
        run -3 --separate-stderr timeout 60 escapepod status ./pod.conf
        # As the hint says.
        ep-fetch key "$store" --domain pod | ep-store key "$store" --domain pod --with "$EP_REPO"/contrib/{RECOVERY.txt,escapepod-open}
        run -0 timeout 60 escapepod status ./pod.conf
    done
    rm store/RECOVERY.txt
    run -0 timeout 60 escapepod status ./pod.conf
}

@test "another key in the key space is not overwritten" {
    ep-key generate keys/escapepod-pod.key
    cp keys/escapepod-pod.key before
    refuses 74 "will not overwrite another key" timeout 60 escapepod init ./pod.conf --volume vol --store "$store" \
        --domain pod --key-space keys
    cmp keys/escapepod-pod.key before
    [[ ! -e pod.conf ]]
}

@test "the passphrase is a file's, a command's, or is typed" {
    echo "correct horse battery staple" >mine
    begin --passphrase-file mine
    [[ ! -s words ]]
    ep-fetch key "$store" --domain pod | ep-key unwrap 1.key --passphrase-file mine
    cmp <(grep EPOD 1.key) <(grep EPOD pod.key)
    rm pod.conf
    begin --passphrase-command "echo another one"
    ep-fetch key "$store" --domain pod | ep-key unwrap 2.key --passphrase-command "echo another one"
    refuses 65 "wrong passphrase" ep-key unwrap 3.key --passphrase-file mine < <(ep-fetch key "$store" --domain pod)
    rm pod.conf
    timeout 60 "$EP_REPO/Tests/cli/on-terminal" "a third one" "a third one" -- escapepod init ./pod.conf --volume vol \
        --store "$store" --domain pod --ask-passphrase
    ep-fetch key "$store" --domain pod | ep-key unwrap 3.key --passphrase-command "echo a third one"
    cmp <(grep EPOD 3.key) <(grep EPOD pod.key)
    [[ $(find store/escapepod/pod/keys -type f | wc -l) = 3 ]]
}

@test "init again, with the same key: what the store has stays, and no words are shown" {
    begin
    cp words first
    rm pod.conf
    begin
    [[ ! -s words ]]
    [[ $(find store/escapepod/pod/keys -type f | wc -l) = 1 ]]
    ep-fetch key "$store" --domain pod | ep-key unwrap found.key --passphrase-file first
}

# words_open [STATUS]: whether the words that were shown last open what the store has.
words_open() {
    rm -f opened.key
    ep-fetch key "$store" --domain pod | timeout 60 ep-key unwrap opened.key --passphrase-file words >/dev/null
    cmp <(grep EPOD opened.key) <(grep EPOD pod.key)
}

@test "words that could not be shown seal nothing, and the next run shows new ones" {
    run -74 begin_to /dev/full
    [[ $output = *"cannot write: no space left on device: standard output"* ]]
    [[ $output = *"the ten words above are void"*hint:* ]]
    [[ ! -e store/escapepod && ! -e pod.conf ]]
    begin
    [[ $(wc -w <words) = 10 ]]
    words_open
}

begin_to() { timeout 60 escapepod init ./pod.conf --volume vol --store "$store" --domain pod --key-space keys >"$1"; }

@test "whatever fails behind the words, the next run shows new ones or says that these hold" {
    ln -s "$EP_REPO/contrib" contrib
    # The store takes nothing.
    stand_in ep-store <<<'[[ $1 != key ]] || exit 74; exec "$real" "$@"'
    run -74 begin
    [[ $output = *"the store may have the key sealed under the ten words above: keep them"*hint:* ]]
    cp said first
    # It takes the key, and dies before it says so.
    stand_in ep-store <<<'"$real" "$@" || exit; [[ $1 != key ]] || kill -9 "$$"'
    run -74 begin
    [[ $output = *"under the ten words above: keep them"*hint:* && ! -e pod.conf ]]
    sed -n '/these ten words/{n;n;s/^ *//p}' first >before
    sed -n '/these ten words/{n;n;s/^ *//p}' said >words
    run -1 cmp -s before words
    no_stand_in
    cp words last
    begin
    [[ ! -s words ]]
    grep -qF "The store has the key already, sealed under the ten words that init showed last" said
    cp last words
    words_open
    # What lies beside it is there, too, wherever the run before ended.
    cmp store/RECOVERY.txt "$EP_REPO/contrib/RECOVERY.txt"
    # Nor is it believed that a store has what it does not show.
    rm -r pod.conf store/escapepod
    stand_in ep-store <<<'[[ $1 = key ]] || exec "$real" "$@"; echo "{\"keyId\":\"$(ep-key id "$here/pod.key")\",\"size\":184}"'
    run -74 begin
    [[ $output = *"under the ten words above: keep them"* && ! -e pod.conf ]]
}

@test "on a terminal, a person types two of the words before anything is sealed under them" {
    cat >person <<'END'
import os, pty, re, sys, time
# As a person does: reads the words, and gives those that are asked for, the first of them wrong at first; or goes away.
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
shown, answered, wrong = b"", 0, 0
while True:
    try: data = os.read(terminal, 1000)
    except OSError: break
    if not data: break
    shown += data
    asked = re.findall(rb"Word (\d+): ", shown)
    if len(asked) > answered:
        words = shown.split(b"shown only once:")[1].split()
        if sys.argv[1] == "leaves": os.write(terminal, b"\x04")
        elif answered == 0: os.write(terminal, b"nonsense\n")
        else: os.write(terminal, words[int(asked[-1]) - 1] + b"\n")
        answered += 1
        assert not os.path.exists("store/escapepod"), "stored too early"
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
    init=(timeout 60 escapepod init ./pod.conf --volume vol --store "$store" --domain pod)
    run -64 python3 person leaves "${init[@]}"
    [[ $output = *"the ten words were not confirmed"*"the ten words above are void"* ]]
    [[ ! -e store/escapepod && ! -e pod.conf ]]
    run -0 python3 person stays "${init[@]}"
    [[ $(grep -o 'Word [0-9]*: ' <<<"$output" | wc -l) -eq 3 ]]
    sed -n '/these ten words/{n;n;s/^ *//p}' <<<"${output//$'\r'/}" >words
    words_open
}

@test "what lies there: in a key space it is not written through, in a store an older text is replaced and all else stays" {
    echo mine >victim
    ln -s ../victim keys/escapepod-pod.key.new
    ln -s victim pod.conf.new
    echo old >store/RECOVERY.txt
    : >store/.partial-0000000000000000
    begin
    cmp store/RECOVERY.txt "$EP_REPO/contrib/RECOVERY.txt"
    # The folder is a person's: what is not ours stays.
    [[ -e store/.partial-0000000000000000 ]]
    [[ $(ls store) = $'RECOVERY.txt\nescapepod\nescapepod-open' ]]
    [[ $(<victim) = mine ]]
    cmp pod.key keys/escapepod-pod.key
    [[ $(stat -c %a keys/escapepod-pod.key) = 600 ]]
    # Nor is a link there taken for the copy.
    rm pod.conf keys/escapepod-pod.key
    ln -s ../victim keys/escapepod-pod.key
    refuses 74 "will not overwrite another key" begin_to /dev/stdout
    [[ $(<victim) = mine && ! -e pod.conf ]]
}
