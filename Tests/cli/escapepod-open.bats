#!/usr/bin/env bats
# contrib/escapepod-open, the reader for a machine without escapepod: it and the tools agree on every test vector.
# shellcheck disable=SC2094,SC2154

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    vectors=$EP_REPO/Tests/vectors
    (umask 077 && echo EPOD-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SYZF8XJ >key)
}

# opens OPTION…: it runs for as long as a test may wait.
opens() {
    timeout 60 "$EP_REPO/contrib/escapepod-open" "$@"
}

# field NAME FILE: a line of a vector's header.
field() {
    sed -n "/^\$/q; s/^$1: //p" "$2"
}

# body FILE: the stream behind a vector's header.
body() {
    tail -c "+$(($(sed '/^$/q' "$1" | wc -c) + 1))" "$1"
}

# What it says of an error of that class.
says() {
    case $1 in
    'not sealed') echo 'no sealed stream|no key file' ;;
    unknown) echo 'is unknown' ;;
    reserved) echo 'a reserved byte is not zero' ;;
    kind) echo 'this is sealed|no key file' ;;
    'another key') echo 'another key' ;;
    commitment) echo 'the salt or the commitment is not what was sealed' ;;
    chunk) echo 'chunk [0-9]+ is not what was sealed' ;;
    cut) echo 'the sealed stream is cut' ;;
    damaged) echo 'the wrapped key is damaged' ;;
    'wrong passphrase') echo 'wrong passphrase' ;;
    'out of bounds') echo 'is out of bounds' ;;
    *) echo "no such class: $1" >&2 && return 1 ;;
    esac
}

@test "it is one file of at most 120 lines, and needs python3-cryptography and nothing else" {
    (($(wc -l <"$EP_REPO/contrib/escapepod-open") <= 120))
    python3 - "$EP_REPO/contrib/escapepod-open" <<'END'
import ast, sys
names = set()
for node in ast.walk(ast.parse(open(sys.argv[1]).read())):
    if isinstance(node, ast.Import): names |= {name.name.split(".")[0] for name in node.names}
    if isinstance(node, ast.ImportFrom): names.add(node.module.split(".")[0])
assert names - set(sys.stdlib_module_names) == {"cryptography"}, names
END
}

@test "every test vector comes out as it says" {
    local vector expect status full wrong=0
    body "$vectors/hello" >hello
    body "$vectors/three-chunks" | opens --key key >plain
    for vector in "$vectors"/*; do
        expect=$(field expect "$vector") status=0
        body "$vector" >body
        if [[ $(field kind "$vector") == key ]]; then
            # A wrapped key opens a stream that is right.
            field passphrase "$vector" | xxd -r -p >words
            opens --key body --passphrase-file words <hello >out 2>err || status=$?
            [[ $expect != success || $(<out) == hello ]] || { echo "not opened: $vector" && wrong=1; }
        else
            opens --key key --kind "$(field kind "$vector")" <body >out 2>err || status=$?
            [[ $expect != success || $(sha256sum <out) == "$(field sha256 "$vector")  -" ]] ||
                { echo "other bytes: $vector" && wrong=1; }
        fi
        [[ $expect == success ]] && continue
        [[ $status -eq 65 ]] && grep -qE "^escapepod-open: .*($(says "$expect"))" err && [[ $(wc -l <err) -eq 1 ]] ||
            { echo "status $status: $vector: $(<err)" && wrong=1; }
        # Neither what was sealed last nor what nobody sealed.
        full=$((($(stat -c %s body) - 120) / 16400))
        (($(stat -c %s out) <= 16384 * (full > 1 ? full - 1 : 0))) || { echo "too much: $vector" && wrong=1; }
        cmp -n "$(stat -c %s out)" out plain || wrong=1
    done
    ((wrong == 0))
}

@test "the vectors are those that make-vectors writes, and small" {
    mkdir new
    "$EP_REPO/Tests/make-vectors" new
    diff -r new "$vectors"
    (($(find new -type f | wc -l) >= 100))
    [[ -z $(find new -size +40k) ]]
}

@test "what ep-seal seals it opens, whatever its length" {
    local length
    for length in 1 16383 16384 16385 32768 1048576 3000001; do
        head -c "$length" /dev/urandom >plain
        ep-seal --key key <plain >sealed
        opens --key key <sealed | cmp - plain
    done
    ep-seal --key key --kind metadata <plain | opens --key key --kind metadata | cmp - plain
}

@test "what ep-key wraps it opens, with the passphrase from a file or typed" {
    (umask 077 && echo correct horse >words)
    timeout 60 ep-key wrap --passphrase-file words key >wrapped
    echo hello | ep-seal --key key >sealed
    run -0 --separate-stderr opens --key wrapped --passphrase-file words <sealed
    [[ $output == hello && $stderr == "" ]]
    run -0 --separate-stderr timeout 60 "$EP_REPO/Tests/cli/on-terminal" 'correct  horse' -- \
        "$EP_REPO/contrib/escapepod-open" --key wrapped <sealed
    [[ $output == hello && $(tr -d '\r' <<<"$stderr" | grep -v '^$') == 'Password: ' ]]
    refuses 65 'wrong passphrase' timeout 60 "$EP_REPO/Tests/cli/on-terminal" 'correct house' -- \
        "$EP_REPO/contrib/escapepod-open" --key wrapped <sealed
}

@test "a key with a wrong letter anywhere is refused" {
    python3 - "$EP_REPO/contrib/escapepod-open" <<'END'
import importlib.machinery, sys
sys.dont_write_bytecode = True
opener = importlib.machinery.SourceFileLoader("opener", sys.argv[1]).load_module()
text = open("key").read().strip()
assert opener.parse_key(text.encode()) == opener.parse_key(b"# mine\r\n\r\n " + text.lower().encode()) == bytes(range(32))
wrong = [text[:i] + letter + text[i + 1:] for i in range(len(text)) for letter in "QPZRY9X8b1" if letter != text[i]]
for bad in wrong + [text[:-1], text + "Q", text + "\n" + text, "", text[:30] + text[30:].lower()]:
    try: opener.parse_key(bad.encode())
    except opener.Bad: continue
    raise SystemExit(f"taken: {bad}")
END
}

@test "a stream of any length takes bounded memory" {
    head -c 100M /dev/zero | ep-seal --key key |
        /usr/bin/time -f %M -o peak timeout 60 "$EP_REPO/contrib/escapepod-open" --key key | cmp -n 100M - /dev/zero
    (($(<peak) < 64 << 10))
}

@test "a wrapped key that asks for too much gets no memory" {
    body "$vectors/key-scrypt-20-32-16" >wrapped
    echo words >words
    refuses 65 'out of bounds' /usr/bin/time -f %M -o peak timeout 60 \
        "$EP_REPO/contrib/escapepod-open" --key wrapped --passphrase-file words
    (($(tail -n 1 peak) < 64 << 10))
    refuses 65 'out of range' /usr/bin/time -f %M -o peak timeout 60 \
        ep-key unwrap --passphrase-file words new <wrapped
    (($(tail -n 1 peak) < 24 << 10))
}

@test "usage, and files that are not there" {
    refuses 64 'required: --key' opens
    refuses 64 'invalid choice' opens --key key --kind key
    refuses 74 'nowhere' opens --key nowhere
    refuses 65 'no sealed stream' opens --key key </dev/null
    refuses 65 'no key file' opens --key /dev/null
}
