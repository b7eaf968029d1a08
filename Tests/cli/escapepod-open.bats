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

# body FILE: the stream behind a vector's header.
body() {
    tail -c "+$(($(sed '/^$/q' "$1" | wc -c) + 1))" "$1"
}

@test "it is one file of at most 120 lines, and imports python3-cryptography and nothing else" {
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
    # All run in processes of one interpreter, whose start would take most of the time.
    python3 - "$EP_REPO/contrib/escapepod-open" "$vectors" <<'END'
import hashlib, os, re, runpy, signal, sys
program, folder = sys.argv[1:]
# So that it imports them here, and no child anew.
runpy.run_path(program)

# What it says of an error of that class.
SAYS = {
    "not sealed": "no sealed stream|no key file",
    "unknown": "is unknown",
    "reserved": "a reserved byte is not zero",
    "kind": "this is sealed|no key file",
    "another key": "another key",
    "commitment": "the salt or the commitment is not what was sealed",
    "chunk": "chunk [0-9]+ is not what was sealed",
    "cut": "the sealed stream is cut",
    "compressed": "cannot be decompressed",
    "damaged": "the wrapped key is damaged",
    "wrong passphrase": "wrong passphrase",
    "out of bounds": "is out of bounds",
}

def read(path):
    with open(path, "rb") as file: return file.read()

def write(path, data):
    with open(path, "wb") as file: file.write(data)

def vector(name):
    header, _, body = read(f"{folder}/{name}").partition(b"\n\n")
    return dict(line.split(": ", 1) for line in header.decode().splitlines()), body

# Status, standard output and standard error of the program; it runs for as long as a test may wait.
def opens(stream, *options):
    write("in", stream)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        for number, (path, how) in enumerate((("in", os.O_RDONLY), ("out", 0o1101), ("err", 0o1101))):
            os.dup2(os.open(path, how, 0o600), number)
        sys.argv = [program, *options]
        runpy.run_path(program, run_name="__main__")
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), read("out"), read("err").decode()

hello, plain = vector("hello")[1], opens(vector("three-chunks")[1], "--key", "key")[1]
wrong = []
for name in sorted(os.listdir(folder)):
    fields, body = vector(name)
    expect = fields["expect"]
    if fields["kind"] == "key":
        # A wrapped key opens a stream that is right.
        write("body", body)
        write("words", bytes.fromhex(fields["passphrase"]))
        status, out, err = opens(hello, "--key", "body", "--passphrase-file", "words")
        right = out == b"hello"
    else:
        status, out, err = opens(body, "--key", "key", "--kind", fields["kind"])
        right = hashlib.sha256(out).hexdigest() == fields.get("sha256")
    if expect == "success":
        if not right or status != 0: wrong.append(f"status {status}, or other bytes: {name}: {err}")
        continue
    # zstd has its say, too.
    err = "".join(line for line in err.splitlines(True) if "stdin" not in line)
    if status != 65 or err.count("\n") != 1 or not re.search(f"^escapepod-open: .*({SAYS[expect]})", err):
        wrong.append(f"status {status}: {name}: {err}")
    # Neither what was sealed last nor what nobody sealed.
    full = (len(body) - 120) // 16400
    if expect == "compressed" and b"hello".startswith(out): continue
    if len(out) > 16384 * max(full - 1, 0) or not plain.startswith(out): wrong.append(f"too much: {name}")
assert len(plain) > 32768
assert not wrong, "\n".join(wrong)
END
}

@test "the vectors are those that make-vectors writes, and small" {
    mkdir new
    "$EP_REPO/Tests/make-vectors" new
    diff -r new "$vectors"
    (($(find new -type f | wc -l) >= 100))
    [[ -z $(find new -size +40k) ]]
}

@test "what ep-seal seals it opens, whatever its length" {
    local length compress
    for length in 1 16383 16384 16385 32768 1048576 3000001; do
        head -c "$length" /dev/urandom >plain
        for compress in none 1; do
            ep-seal --key key --compress "$compress" <plain >sealed
            opens --key key <sealed | cmp - plain
        done
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
    # At a cost that takes no time.
    body "$vectors/key-good" >wrapped
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
