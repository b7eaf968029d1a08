#!/usr/bin/env bats
# ep-key as a person runs it, and what every tool that reads a key file makes of a bad one.
# shellcheck disable=SC2030,SC2031,SC2154

load helper

# A key, its id, what is sealed with it, and what it is wrapped in, under the passphrase in the file words.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || exit
    ep-key generate key >id
    echo secret >plain
    timeout 20 ep-seal --key key <plain >sealed
    (umask 077 && echo correct horse >words)
    # Each scrypt takes a second or two.
    timeout 60 ep-key wrap --passphrase-file words key >wrapped
    # Of another key, under the same passphrase, at a cost that takes no time.
    sed '1,/^$/d' "$EP_REPO/Tests/vectors/key-good" >cheap
}

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    cp -p "$BATS_FILE_TMPDIR"/* .
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
    every 65 'the key file contains no key: empty' empty
    grep '^#' key >comments
    every 65 'the key file contains no key: comments' comments
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
    every 65 'not a key file: two' two
    head -c 1000 /dev/urandom >noise
    every 65 'not a key file: noise' noise
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
    [[ $stderr == 'ep-key: warning: others can read the key file key, mode 0640; chmod 600 fixes that' ]]
    timeout 20 ep-seal --key key <plain 2>err >sealed
    grep -q '^ep-seal: warning: others can read the key file key, mode 0640' err
    timeout 20 ep-unseal --key key <sealed 2>err | cmp - plain
    grep -q '^ep-unseal: warning: others can read the key file key, mode 0640' err
}

@test "a key file that may not be read" {
    needs_root
    # Its descriptor, since the way to the tool may be closed to others.
    exec 7<"$(command -v ep-key)"
    refuses 77 'cannot open: permission denied' setpriv --reuid 65534 --clear-groups /proc/self/fd/7 id "$PWD/key"
}

on_terminal() {
    timeout 60 "$EP_REPO/Tests/cli/on-terminal" "$@"
}

@test "a wrapped key comes back whole, by file, by command, and with other white space" {
    [[ $(stat -c %s wrapped) -eq 184 ]]
    run -0 --separate-stderr timeout 60 ep-key unwrap --passphrase-file words new <wrapped
    [[ $output == "$(<id)" && $stderr == "" ]]
    cmp new key
    [[ $(stat -c %a new) == 600 ]]
    run -0 timeout 60 ep-key unwrap --id "$(<id)" --passphrase-command 'printf "\n correct\t\n"; echo horse' other <wrapped
    cmp other key
}

@test "wrong passphrase, damaged, another key: three errors, and no key file" {
    refuses 65 'ep-key: wrong passphrase: standard input' \
        timeout 60 ep-key unwrap --passphrase-command 'echo correct house' new <cheap
    { head -c 130 cheap && printf X && tail -c 53 cheap; } >damaged
    refuses 65 'ep-key: the wrapped key is damaged' timeout 60 ep-key unwrap --passphrase-file words new <damaged
    # Nobody is asked for the passphrase of what is not the right one.
    refuses 65 "another key: its id is $(<id), not 0123456789abcdef0123456789abcdef" \
        timeout 60 ep-key unwrap --id 0123456789abcdef0123456789abcdef --passphrase-command 'touch asked' new <wrapped
    refuses 65 'a sealed stream of kind blob, not key' timeout 60 ep-key unwrap --passphrase-command 'touch asked' new <sealed
    refuses 65 'empty input' timeout 60 ep-key unwrap --passphrase-command 'touch asked' new </dev/null
    [[ ! -e new && ! -e asked ]]
}

@test "unwrap never overwrites a key file" {
    cp key before
    refuses 74 'will not overwrite a key file: key' timeout 60 ep-key unwrap --passphrase-file words key <cheap
    cmp key before
}

@test "a passphrase that cannot be had" {
    local wrap=(timeout 60 ep-key wrap key)
    refuses 69 'the passphrase command exited with status 3: exit 3' "${wrap[@]}" --passphrase-command 'exit 3'
    refuses 69 'the passphrase command exited with status 1' "${wrap[@]}" --passphrase-command 'echo words; false'
    refuses 65 'the passphrase is empty: output of /bin/sh' "${wrap[@]}" --passphrase-command 'echo'
    refuses 65 'too long for a passphrase: 4096 bytes or more' "${wrap[@]}" --passphrase-command 'yes'
    refuses 74 'no such file or directory: nowhere' "${wrap[@]}" --passphrase-file nowhere
    printf ' \n' >blank && chmod 600 blank
    refuses 65 'the passphrase is empty: blank' "${wrap[@]}" --passphrase-file blank
    refuses 64 'not both' "${wrap[@]}" --passphrase-file blank --passphrase-command true
    refuses 64 'no terminal' timeout 60 setsid ep-key wrap key
}

@test "a passphrase file that others may read gets a warning" {
    chmod 644 words
    timeout 60 ep-key unwrap --passphrase-file words new <cheap 2>err
    [[ $(<err) == 'ep-key: warning: others can read the passphrase file words, mode 0644; chmod 600 fixes that' ]]
}

@test "a person types the passphrase, twice for a new one, and nobody sees it" {
    on_terminal 'correct horse' ' correct  horse' -- ep-key wrap key >wrapped 2>shown
    [[ $(tr -d '\r' <shown | grep -v '^$') == $'New passphrase: \nRepeat it: ' ]]
    run -0 on_terminal 'correct horse' -- ep-key unwrap new <wrapped
    cmp new key
    refuses 65 'the two passphrases differ' on_terminal one two -- ep-key wrap key
    refuses 65 'wrong passphrase' on_terminal 'correct house' -- ep-key unwrap other <cheap
    [[ ! -e other ]]
}

@test "the terminal echoes again when a prompt is interrupted" {
    # That it does not is seen.
    run -99 on_terminal word -- sh -c 'stty -echo </dev/tty; printf ": " >/dev/tty; read -r _ </dev/tty'
    run -130 on_terminal '^C' -- ep-key wrap key
    run -130 on_terminal words '^C' -- ep-key wrap key
    run -143 on_terminal 'kill TERM' -- ep-key wrap key
    run -129 on_terminal 'kill HUP' -- ep-key wrap key
}

@test "a new passphrase is ten words, and another one each time" {
    run -0 --separate-stderr ep-key passphrase
    [[ $output =~ ^([a-z]{3,8}\ ){9}[a-z]{3,8}$ && $stderr == "" ]]
    [[ $output != "$(ep-key passphrase)" ]]
}

@test "a passphrase that is asked for is passed on as it was typed" {
    on_terminal "a  b " "a  b " -- ep-key passphrase --ask >typed 2>shown
    cmp typed <<<"a  b "
    grep -q "Repeat it" shown && run ! grep -q "a  b" shown
    run -65 on_terminal "a  b" "a b" -- ep-key passphrase --ask
    ep-key passphrase --passphrase-command "printf ' x  y'" >typed
    cmp typed <<<" x  y"
    refuses 65 'the passphrase is empty' ep-key passphrase --passphrase-command echo
    refuses 64 'no terminal' setsid -w ep-key passphrase --ask
}

@test "the memory of a passphrase is wiped" {
    needs_root
    # So long that what follows cannot overwrite all of it by chance.
    yes battery staple | head -n 250 >words
    timeout 60 python3 - <<'END'
import os, re, subprocess, time
reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True: os.write(writer, b"x" * 512)
except BlockingIOError:
    os.set_blocking(writer, True)
# The wrapped key does not fit into the pipe, so the tool waits at the end of its work.
tool = subprocess.Popen(["ep-key", "wrap", "--passphrase-file", "words", "key"], stdout=writer)
while open(f"/proc/{tool.pid}/syscall").read().split()[:2] != ["1", "0x1"]: time.sleep(0.05)
found = set()
with open(f"/proc/{tool.pid}/mem", "rb", 0) as memory:
    for line in open(f"/proc/{tool.pid}/maps"):
        start, end, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
        if not mode.startswith("rw") or "[v" in line: continue
        memory.seek(int(start, 16))
        bytes = memory.read(int(end, 16) - int(start, 16))
        found |= {text for text in (b"battery staple", b"--passphrase-file", b"EPODSEAL") if text in bytes}
tool.kill()
tool.wait()
assert found == {b"--passphrase-file", b"EPODSEAL"}, found
END
}

@test "wrap takes the 256 MiB of scrypt and little more, and says so where they are not to be had" {
    /usr/bin/time -f %M -o peak timeout 60 ep-key unwrap --passphrase-file words new <wrapped >/dev/null
    (($(<peak) > 256 << 10 && $(<peak) < 280 << 10))
    (ulimit -v 200000 && refuses 69 'not enough memory for scrypt, which needs 256 MiB' timeout 60 ep-key wrap --passphrase-file words key)
}

# sheet OPTION…: the recovery sheet of a backup.
sheet() {
    timeout 60 ep-key sheet key --domain pod.example.org --store label:escapepod "$@"
}

# scan IMAGE: what its QR code says. It needs no bus, and says that it found none.
scan() {
    timeout 60 zbarimg -q --raw "$1" 2>/dev/null
}

the_key() { grep -v '^#' key; }

@test "the recovery sheet is a page with the key, as a person can type it, and the way back" {
    local sum
    sum=$(sha256sum <id)
    sheet --generation 41 --date 2026-11-23T06:10:00Z --opener id >page
    grep -qFx "  ${sum%% *}" page
    (($(wc -l <page) <= 60 && $(wc -L <page) <= 80))
    local line
    for line in 'Domain    pod.example.org' 'Store     label:escapepod' "Key id    $(<id)" \
        'Newest    generation 41 of 2026-11-23T06:10:00Z when this was printed'; do
        grep -qFx "$line" page
    done
    grep -qF 'python3 escapepod-open --key KEYFILE' page
    (umask 077 && grep '^  EPOD-KEY-1 ' page >typed)
    [[ $(ep-key id typed) == "$(<id)" && $(tr -d ' ' <typed) == "$(the_key)" ]]
    run -0 sheet
    [[ $output == *'Newest    not known when this was printed'* && $output != *--at-least-generation* ]]
}

@test "the command on the sheet is one that a shell takes as it was meant" {
    local store=$'file:///srv/a b\'s "$(x)" \\~#&/\xc3\xa4' domain
    printf -v domain 'pod%.0s' {1..80}
    timeout 60 ep-key sheet key --domain "$domain" --store "$store" --generation 7 --date today >page
    (($(wc -l <page) <= 70 && $(wc -L <page) <= 80))
    sed -n '/^  escapepod restore/,/^$/p' page >typed
    escapepod() { printf '%s\n' "$@"; }
    # shellcheck source=/dev/null
    source ./typed >words
    printf '%s\n' restore --store "$store" --domain "$domain" --key KEYFILE --to DIR --at-least-generation 7 | diff - words
}

@test "the QR code of the sheet is the key, as text" {
    sheet >page
    # Each character is two modules, one above the other.
    python3 - <<'END'
rows = [line for line in open("page").read().split("THE KEY AS A QR CODE\n")[1].splitlines()]
width, scale = max(map(len, rows)) + 4, 6
modules = [[char in lit for char in row.ljust(width)] for row in [""] * 2 + rows + [""] * 2 for lit in ("█▀", "█▄")]
with open("code.pgm", "wb") as image:
    image.write(f"P5 {width * scale} {len(modules) * scale} 255\n".encode())
    for row in modules:
        image.write(b"".join((b"\0" if dark else b"\xff") * scale for dark in row) * scale)
END
    [[ $(scan code.pgm) == "$(the_key)" ]]
}

@test "the sheet as PDF is one page for its owner alone, and its QR code is the key" {
    umask 000
    run -0 --separate-stderr sheet --generation 41 --date 2026-11-23T06:10:00Z --pdf page.pdf
    [[ $output == "" && $stderr == "" && $(stat -c %a page.pdf) == 600 ]]
    [[ $(pdfinfo page.pdf | sed -n 's/^Pages: *//p') == 1 ]]
    pdftoppm -r 150 -png -singlefile page.pdf page
    [[ $(scan page.png) == "$(the_key)" ]]
    # Word for word what the text says.
    pdftotext -layout page.pdf - | tr -d '\f' | xargs -d ' ' | tr -s ' \n' '\n' >printed
    sheet --generation 41 --date 2026-11-23T06:10:00Z | sed '/QR CODE/q' | tr -s ' \n' '\n' | diff - <(grep . printed)
    cp page.pdf before
    refuses 74 'file exists: page.pdf' sheet --pdf page.pdf
    cmp page.pdf before
}

@test "the longest sheet is still one page" {
    local domain store
    printf -v domain 'd%.0s' {1..253}
    printf -v store 's&%.0s' {1..123}
    timeout 60 ep-key sheet key --domain "$domain" --store "$store" --opener key --pdf long.pdf
    [[ $(pdfinfo long.pdf | sed -n 's/^Pages: *//p') == 1 ]]
    pdftoppm -r 150 -png -singlefile long.pdf long
    [[ $(scan long.png) == "$(the_key)" ]]
    refuses 64 'too long for one page' timeout 60 ep-key sheet key --domain "$domain$domain" --store x
}

@test "no program gets the key as an argument" {
    timeout 60 strace -f -s 1000 -e trace=execve -o trace ep-key sheet key --domain pod --store x --pdf page.pdf
    (($(grep -c '"qrencode"\|"groff"' trace) >= 2))
    run ! grep -F "$(the_key)" trace
}

@test "without qrencode there is no QR code, and without groff no PDF" {
    local here
    here=$(command -v ep-key)
    run -0 --separate-stderr env PATH=/nowhere "$here" sheet key --domain pod --store x
    [[ $output == *EPOD-KEY-1* && $output != *'QR CODE'* ]]
    [[ $stderr == 'ep-key: warning: no QR code on the sheet: that needs qrencode, Debian'* ]]
    refuses 69 'no such program: groff' timeout 60 env PATH=/nowhere "$here" sheet key --domain pod --store x --pdf page.pdf
    [[ ! -e page.pdf ]]
}

# costly LOG_N R P: the wrapped key ./wrapped says that it takes that much, with a checksum that is right.
costly() {
    python3 - "$@" <<'END'
import hashlib, sys
key = bytearray(open("wrapped", "rb").read())
key[32:35] = map(int, sys.argv[1:])
key[40:48] = hashlib.sha256(key[:40] + key[48:88]).digest()[:8]
open("wrapped", "wb").write(key)
END
}

@test "a wrapped key that takes longer than usual says so; one that takes minutes is refused" {
    costly 18 8 2
    refuses 65 "trying the passphrase; with this key it takes 2 times as long as usual" \
        timeout 60 ep-key unwrap --passphrase-file words new <wrapped
    grep -q "wrong passphrase" err
    costly 20 8 16
    refuses 65 "scrypt parameters out of range: N = 2^20, r = 8, p = 16" timeout 5 ep-key unwrap --passphrase-file words new <wrapped
    [[ ! -e new ]]
}

@test "copy writes a key to a new file and never over another" {
    [[ $(ep-key copy key copied) = $(ep-key id key) && $(stat -c %a copied) = 600 ]]
    cmp key copied
    ep-key generate other
    refuses 74 "will not overwrite a key file: other" ep-key copy key other
    run -1 cmp -s key other
    ln -s victim link
    refuses 74 "file exists: link" ep-key copy key link
    [[ ! -e victim ]]
}

@test "copy --keep leaves a copy of the same key, and --check only looks" {
    ep-key generate other
    before=$(<other)
    ep-key copy key copied --check
    [[ ! -e copied ]]
    [[ $(ep-key copy key copied --keep) = $(ep-key id key) ]]
    inode=$(stat -c %i copied)
    [[ $(ep-key copy key copied --keep) = $(ep-key id key) && $(stat -c %i copied) = "$inode" ]]
    ep-key copy key copied --check
    ln -s other link
    ln -s nowhere dangling
    echo text >text
    for there in other link dangling text; do
        for option in --keep --check; do refuses 74 "will not overwrite another key: $there" ep-key copy key "$there" "$option"; done
        # One that is there is the copy of no key that is not.
        refuses 74 "will not overwrite another key: $there" ep-key copy absent "$there" --check
    done
    ep-key copy absent new --check
    [[ $(<other) = "$before" && ! -e new && ! -e nowhere ]]
}

@test "wrap --new-words shows words that open what it writes; words that cannot be shown seal nothing" {
    timeout 60 ep-key wrap --new-words kept key >said
    [[ $(stat -c '%a %s' kept) = "600 184" ]]
    sed -n '/these ten words/{n;n;s/^ *//p}' said >words
    [[ $(wc -w <words) = 10 ]]
    timeout 60 ep-key unwrap new --passphrase-file words <kept
    cmp <(grep EPOD new) <(grep EPOD key)
    rm kept
    run -74 --separate-stderr bash -c 'ep-key wrap --new-words kept key >/dev/full'
    [[ $stderr = *"no space left on device: standard output"*"the ten words above are void"*hint:* && ! -e kept ]]
    # Shown, and not kept.
    run -74 --separate-stderr timeout 60 ep-key wrap --new-words absent/wrapped key
    [[ $output = *"these ten words"* && $stderr = *"the ten words above are void"*hint:* ]]
    refuses 64 "give no other" ep-key wrap --new-words kept --passphrase-file words key
}

@test "a signal behind the new words: they are void, and it says so" {
    local status=0
    mkfifo shown
    timeout 60 ep-key wrap --new-words kept key >shown 2>err 3>&- &
    read -r line <shown
    [[ $line = *"these ten words"* ]]
    # Sealing takes a second.
    kill -TERM "$!"
    wait "$!" || status=$?
    [[ $status -eq 143 || $status -eq 124 ]]
    grep -qF "the ten words above are void" err
    [[ ! -e kept ]]
}

@test "usage" {
    refuses 64 '<file>' ep-key generate
    refuses 64 '<file>' ep-key id
    refuses 64 'unexpected argument' ep-key id key key
    refuses 64 '<file>' ep-key wrap
    refuses 64 '<file>' ep-key unwrap
    refuses 64 "a key's id has 32 lower-case hexadecimal digits" ep-key unwrap --id 0123 new
    refuses 64 'unexpected argument' ep-key passphrase 12
    refuses 64 "'--domain <domain>'" ep-key sheet key
    refuses 64 "'--generation' and '--date' must be given together" sheet --generation 7
    refuses 74 "no such file or directory: 12" sheet --opener 12
    refuses 64 'cannot be printed' sheet --generation 7 --date $'to\nday'
    refuses 64 'cannot be printed' ep-key sheet key --domain пример --store x --pdf page.pdf
    refuses 64 '' ep-key destroy key
}

@test "a MAC is of one text and one key, and anything else is refused" {
    mac=$(timeout 20 ep-key mac key <plain)
    [[ $mac =~ ^[0-9a-f]{64}$ && $mac == "$(timeout 20 ep-key mac key <plain)" ]]
    run -0 --separate-stderr timeout 20 ep-key mac key --check "$mac" <plain
    [[ -z $output && -z $stderr ]]
    refuses 65 'the MAC does not match this text and this key' timeout 20 ep-key mac key --check "$mac" </dev/null
    local last=$((16#${mac: -1} ^ 1))
    printf -v other %s%x "${mac%?}" "$last"
    refuses 65 'the MAC does not match this text' timeout 20 ep-key mac key --check "$other" <plain
    ep-key generate another
    refuses 65 'the MAC does not match this text' timeout 20 ep-key mac another --check "$mac" <plain
    refuses 64 '64 lower-case hexadecimal digits' timeout 20 ep-key mac key --check "${mac^^}" <plain
    refuses 65 'larger than' timeout 20 ep-key mac key < <(head -c 2M /dev/zero)
}

@test "the MAC of the man page's construction, as OpenSSL makes it" {
    echo EPOD-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SYZF8XJ >known
    chmod 600 known
    # The key is the bytes 0 to 31.
    key=$(openssl kdf -keylen 32 -kdfopt digest:SHA512 -kdfopt mode:EXPAND_ONLY -kdfopt info:escapepod/v1/receipt \
        -kdfopt "hexkey:$(printf %02x {0..31})" HKDF | tr -d ':\n')
    run -0 openssl mac -digest SHA256 -macopt "hexkey:$key" -in plain HMAC
    [[ ${output,,} == "$(timeout 20 ep-key mac known <plain)" ]]
}
