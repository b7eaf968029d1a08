"""Faults in one stage by itself: its system calls, signals, and too little of everything."""
import hashlib
import json
import os
import resource
import signal
import subprocess
import threading
import time

import inject
from world import TABLE, Violation, heads, require, sane, settled, tree

# A wrapped key, and where a store has it.
with open(os.path.join(os.path.dirname(__file__), "../vectors/key-good"), "rb") as vector:
    KEY = vector.read().split(b"\n\n", 1)[1]
KEY_NAME = f"escapepod/pod/keys/0000000001-{hashlib.sha256(KEY).hexdigest()}"


class Stage:
    """One run of one tool: what it gets, and what is there before and, if all went well, behind it."""

    def __init__(self, name, argv, stdin=b"", place=None, before=None, after=None, out=None, made=()):
        self.name, self.argv, self.stdin, self.place = name, argv, stdin, place
        self.before, self.after, self.out, self.made = before, after, out, made

    def __str__(self):
        return f"{self.name}{' in a ' + self.place.kind if self.place else ''}"


def without(files, *starts):
    return {name: content for name, content in files.items() if not name.startswith(tuple(f"escapepod/pod/{start}" for start in starts))}


def receipt(blob):
    def right(out):
        said = json.loads(out)
        return said == {"size": len(blob), "sha256": hashlib.sha256(blob).hexdigest(), "sha512": hashlib.sha512(blob).hexdigest()}
    return right


def record(**members):
    """What a tool prints of what it committed."""
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"


def series(*documents):
    """What ep-fetch history writes."""
    items = [b"EPODITEM" + len(document).to_bytes(8, "big") + bytes.fromhex(address) + document for address, document in documents]
    whole = b"".join(items) + b"EPODENDS" + len(items).to_bytes(8, "big") + bytes(32)
    # With one marked that could not be read, it does not end in 0.
    return lambda out: out == whole


def build(world):
    """Every stage, in every store."""
    stages = []
    for place in world.places.values():
        files = world.trees[place.kind]
        (first, one), (second, two) = heads(files)
        blobs = {address: files[f"escapepod/pod/blobs/{address}"] for address in (one, two)}
        documents = {address: files[f"escapepod/pod/metadata/{entry}"] for entry, address in ((first, one), (second, two))}
        lone = without(files, f"blobs/{two}", f"metadata/{second}")
        waiting = without(files, f"metadata/{second}")
        keyed = {**files, KEY_NAME: KEY}
        none = {}
        store, fetch = ["ep-store"], ["ep-fetch"]
        stages += [
            Stage("ep-store blob, first and large", [*store, "blob", *place.words], blobs[one], place, none,
                  {f"escapepod/pod/blobs/{one}": blobs[one]}, receipt(blobs[one])),
            Stage("ep-store blob", [*store, "blob", *place.words], blobs[two], place, lone, waiting, receipt(blobs[two])),
            Stage("ep-store blob, again", [*store, "blob", *place.words], blobs[two], place, files, files, receipt(blobs[two])),
            Stage("ep-store metadata", [*store, "metadata", *place.words, "--blob", two, "--follows", one, "--parent", one], documents[two],
                  place, waiting, files, record(blob=two, follows=one, parent=one, size=len(documents[two]))),
            Stage("ep-store metadata, again", [*store, "metadata", *place.words, "--blob", two, "--follows", one, "--parent", one], documents[two],
                  place, files, files, record(blob=two, follows=one, parent=one, size=len(documents[two]))),
            Stage("ep-store key", [*store, "key", *place.words], KEY, place, files, keyed,
                  record(keyId=KEY[16:32].hex(), size=len(KEY))),
            Stage("ep-fetch last", [*fetch, "last", *place.words], place=place, before=files, out=documents[two]),
            Stage("ep-fetch document", [*fetch, "document", *place.words, one], place=place, before=files, out=documents[one]),
            Stage("ep-fetch history", [*fetch, "history", *place.words], place=place, before=files,
                  out=series((one, documents[one]), (two, documents[two]))),
            Stage("ep-fetch list", [*fetch, "list", *place.words], place=place, before=files, out=f"{one}\n{two}\n".encode()),
            Stage("ep-fetch blob", [*fetch, "blob", *place.words, one], place=place, before=files, out=blobs[one]),
            Stage("ep-fetch key", [*fetch, "key", *place.words], place=place, before=keyed, out=KEY),
        ]
    place = next(iter(world.places.values()))
    files, secret = world.trees[place.kind], world.path("pod.key")
    (_, one), (second, _) = heads(files)
    blob, document = files[f"escapepod/pod/blobs/{one}"], files[f"escapepod/pod/metadata/{second}"]
    plain = world.run("ep-unseal", "--key", secret, stdin=blob, check=True).out
    text = world.run("ep-unseal", "--key", secret, "--kind", "metadata", stdin=document, check=True).out
    page = world.run("ep-meta", "show", "--format", "line", stdin=text, check=True).out
    slots = next(name for name, taken in sorted(world.slots().items()) if taken)
    listed = world.run("ep-snap", "list", world.vol, "--name", slots, "--json", check=True).out
    with open(world.path("listed"), "wb") as file:
        file.write(listed)
    plan = world.run("ep-plan", "--domain", "pod", "--snapshots", world.path("listed"), stdin=text, check=True).out
    mac = world.run("ep-key", "mac", secret, stdin=b"said", check=True).out
    number = world.run("ep-key", "id", secret, check=True).out

    many = world.run("ep-fetch", "history", *place.words, check=True).out
    history = world.run("ep-unseal", "--key", secret, "--kind", "metadata", stdin=many, check=True).out
    table = world.run("ep-meta", "list", "--domain", "pod", "--store", "store", stdin=history, check=True).out
    chain = world.run("ep-meta", "chain", "--domain", "pod", "--store", "store", stdin=history, check=True).out

    def opens(out):
        return world.run("ep-unseal", "--key", secret, stdin=out).out == plain

    return stages + [
        Stage("ep-seal", ["ep-seal", "--key", secret], plain, out=opens),
        Stage("ep-seal --report", ["ep-seal", "--key", secret, "--report", world.path("made")], plain, out=opens, made=[world.path("made")]),
        Stage("ep-unseal", ["ep-unseal", "--key", secret], blob, out=plain),
        Stage("ep-unseal --check", ["ep-unseal", "--key", secret, "--check"], blob, out=b""),
        Stage("ep-unseal --kind metadata", ["ep-unseal", "--key", secret, "--kind", "metadata"], document, out=text),
        Stage("a series, ep-unseal", ["ep-unseal", "--key", secret, "--kind", "metadata"], many, out=history),
        Stage("ep-meta list", ["ep-meta", "list", "--domain", "pod", "--store", "store"], history, out=table),
        Stage("ep-meta chain", ["ep-meta", "chain", "--domain", "pod", "--store", "store"], history, out=chain),
        Stage("ep-meta show", ["ep-meta", "show", "--format", "line"], text, out=page),
        Stage("ep-meta check", ["ep-meta", "check", "--domain", "pod"], text, out=b""),
        Stage("ep-plan", ["ep-plan", "--domain", "pod", "--snapshots", world.path("listed")], text, out=plan),
        Stage("ep-key mac", ["ep-key", "mac", secret], b"said", out=mac),
        Stage("ep-key id", ["ep-key", "id", secret], out=number),
        Stage("ep-key generate", ["ep-key", "generate", world.path("made")], out=lambda out: len(out) == 33, made=[world.path("made")]),
        Stage("ep-snap list", ["ep-snap", "list", world.vol, "--name", slots, "--json"], out=listed),
        Stage("ep-snap nested", ["ep-snap", "nested", world.vol], out=b""),
        Stage("ep-snap compare", ["ep-snap", "compare", f"{world.vol}/.escapepod/{slots}/root", f"{world.vol}/.escapepod/{slots}/root"], out=b""),
    ]


def is_right(stage, out):
    if callable(stage.out):
        try:
            return stage.out(out)
        except ValueError:
            return False
    return out == stage.out


def judge(world, stage, result, killed=False, trap=True, silent=False):
    """What is true behind any fault; and then that the same goes well without one. Returns whether it was called done."""
    sane(result, killed, TABLE, trap)
    done = result.status == 0
    require(done or killed or silent or not trap or result.err, f"failed without a word: {result}")
    require(result.status not in (10, 64, 70) or killed, f"says what is not so: {result}")
    if done:
        require(is_right(stage, result.out), f"called done, and what it printed is not right ({len(result.out)} bytes): {result}")
    elif isinstance(stage.out, bytes):
        require(stage.out.startswith(result.out), f"printed what is not right: {result}")
    for path in stage.made if done else ():
        require(os.path.getsize(path) > 0, f"called done, and it is not there: {path}")
    if stage.place and stage.after is not None:
        files = stage.place.tree()
        there = settled(files)
        require(there in (stage.before, stage.after), f"neither as before nor as it should be ({sorted(there)}): {result}")
        require(not done or there == stage.after, f"called done, and it is not in the store: {result}")
    elif stage.place:
        require(stage.place.tree() == stage.before, f"a reader has changed the store: {result}")
    for path in stage.made:
        # A key that is not there whole is in the way of the next one.
        require(not (os.path.exists(path) and "generate" in stage.name) or done or killed or os.path.getsize(path) > 30,
                f"left half of {path}: {result}")
        if os.path.exists(path):
            os.remove(path)
    if done and stage.after is None:
        return True
    again = world.run(*stage.argv, stdin=stage.stdin)
    require(again.status == 0 and is_right(stage, again.out), f"a plain second run: {again}")
    if stage.place and stage.after is not None:
        files = stage.place.tree()
        require(files == stage.after, f"behind a plain second run: {sorted(files.keys() ^ stage.after.keys())}")
    for path in stage.made:
        os.remove(path)
    return done


class Single:
    """What all classes of single stages share."""

    def __init__(self, world):
        self.world = world
        if "stages" not in world.clean:
            world.clean["stages"] = build(world)
        self.stages = world.clean["stages"]

    def ready(self, stage):
        self.world.reset()
        if self.world.server:
            self.world.served_again()
        if stage.place:
            stage.place.put(stage.before)
        for path in stage.made:
            if os.path.exists(path):
                os.remove(path)

    def say(self, stage, what):
        self.world.told = f"{stage}: {what}: {' '.join(stage.argv)}"


class Calls(Single):
    """A system call of a stage fails, or it dies there."""

    name = "system calls"

    def __init__(self, world):
        super().__init__(world)
        self.found = {}

    def fault(self, rng):
        stage = rng.choice(self.stages)
        # Attached to while it waits for its input, it has calls that the loader had in front of them.
        late = bool(stage.stdin) and rng.random() < 0.5
        if (stage, late) not in self.found:
            self.found[stage, late] = self.learn(stage, late)
        call, number, fault = inject.draw(rng, self.found[stage, late])
        options = inject.words(call, number, fault)
        self.say(stage, f"strace {' '.join(options[4:])}{' -p, while it waits for its input' if late else ''}")
        self.ready(stage)
        result = self.run(stage, options, late)
        silent = call in ("write", "writev", "mmap") or fault == "KILL"
        return judge(self.world, stage, result, fault == "KILL", call not in inject.MEMORY, silent)

    def learn(self, stage, late):
        self.ready(stage)
        log = self.world.path("calls.log")
        result = self.run(stage, ["-f", "-q", "-o", log], late)
        require(result.status == 0, f"without a fault: {result}")
        self.ready(stage)
        return (inject.attached if late else inject.catalogue)(log)

    def run(self, stage, options, late):
        world = self.world
        if not late:
            argv = ["strace", *options, world.real[stage.argv[0]], *stage.argv[1:]]
            result = world.run(*argv, stdin=stage.stdin)
        else:
            process = subprocess.Popen(
                stage.argv, executable=world.real[stage.argv[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=world.env, cwd=world.base, start_new_session=True)
            tracer = inject.attach(process.pid, options, world.env) if inject.waits(process.pid) else None
            try:
                result = world.finish(process, stage.argv, stage.stdin)
            finally:
                if tracer:
                    tracer.wait(20)
        # strace ends itself as its child was ended.
        return result


class Signals(Single):
    """A signal at a random moment, while the input comes or behind it."""

    name = "signals to a stage"

    def fault(self, rng):
        world, stage = self.world, rng.choice(self.stages)
        number = rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
        share, pause = rng.random() * 1.3, rng.random() ** 2 * 0.08
        self.say(stage, f"{number.name} {pause * 1000:.1f} ms behind {min(share, 1):.0%} of its input")
        self.ready(stage)
        process = subprocess.Popen(
            stage.argv, executable=world.real[stage.argv[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=world.env, cwd=world.base, start_new_session=True)
        part = stage.stdin[: int(len(stage.stdin) * share)]

        def feed():
            try:
                process.stdin.write(part)
                process.stdin.flush()
                if share >= 1:
                    process.stdin.close()
            except (BrokenPipeError, ValueError):
                pass

        outputs = {}
        readers = [threading.Thread(target=lambda name=name, pipe=pipe: outputs.update({name: pipe.read()}))
                   for name, pipe in [("out", process.stdout), ("err", process.stderr)]]
        feeder = threading.Thread(target=feed)
        for thread in [*readers, feeder]:
            thread.start()
        time.sleep(pause)
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Violation(f"lives on behind {number.name}") from None
        for thread in [*readers, feeder]:
            thread.join()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        import world as names
        result = names.Result(stage.argv, process.returncode, outputs["out"], outputs["err"])
        return judge(world, stage, result, killed=True)


class Limits(Single):
    """Too few descriptors, files that may not grow, outputs that are full or closed, an input that is cut."""

    name = "limits"

    def fault(self, rng):
        world, stage = self.world, rng.choice(self.stages)
        kind = rng.choice(["files", "size", "full", "cut", "noise"] if stage.stdin else ["files", "full"])
        limit = rng.randrange(3, 24) if kind == "files" else rng.randrange(len(stage.stdin) + 1000)
        stdin, out = stage.stdin, subprocess.PIPE
        if kind == "cut":
            stdin = stdin[: min(limit, len(stdin) - 1)]
        elif kind == "noise":
            at = limit % len(stdin)
            stdin = stdin[:at] + bytes([stdin[at] ^ 1 << rng.randrange(8)]) + stdin[at + 1 :]
        elif kind == "full":
            out = open("/dev/full", "wb")
        self.say(stage, {"files": f"ulimit -n {limit}", "size": f"ulimit -f, {limit} bytes, SIGXFSZ ignored", "full": "> /dev/full",
                         "cut": f"input cut to {len(stdin)} bytes", "noise": f"a bit of byte {limit % max(1, len(stdin))} of its input"}[kind])
        self.ready(stage)

        def narrow():
            if kind == "files":
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            elif kind == "size":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        process = subprocess.Popen(
            stage.argv, executable=world.real[stage.argv[0]], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE,
            env=world.env, cwd=world.base, start_new_session=True, preexec_fn=narrow)
        if kind == "full":
            out.close()
        result = world.finish(process, stage.argv, stdin)
        if kind == "files" and result.status == 127:
            # The loader has no descriptor for a library: nothing of ours has run.
            return False
        if kind == "full" and result.status == 0:
            require(stage.out == b"", f"called done with nowhere to write to: {result}")
        if kind in ("cut", "noise"):
            return self.judge_input(stage, result, kind)
        if kind == "size" and stage.place and stage.place.kind != "server":
            return self.judge_parts(stage, result)
        return judge(world, stage, result)

    def judge_input(self, stage, result, kind):
        """An input that is not whole, or not as it was, is refused where that can be known."""
        sane(result)
        done = result.status == 0
        knows = stage.name.startswith("ep-unseal") or kind == "cut" and stage.name.startswith(("ep-seal", "ep-store"))
        require(not done or not knows, f"called done, with an input that was {kind}: {result}")
        if stage.place and stage.after is not None:
            files = stage.place.tree()
            require(not [name for name in files if "/.partial-" in name], f"left what it had staged: {result}")
            new = {name for name in files if files[name] != stage.before.get(name)}
            require(stage.before.keys() <= files.keys() and (done or not new), f"refused, and the store is another: {result}")
        if stage.name == "ep-unseal":
            require(stage.out.startswith(result.out), f"printed what is not right: {result}")
        return done

    def judge_parts(self, stage, result):
        """A file that may not grow has parts."""
        sane(result)
        files = settled(stage.place.tree())
        whole = {}
        for name in sorted(files):
            base = name.rsplit(".", 1)[0] if "/blobs/" in name and name[-4] == "." else name
            whole[base] = whole.get(base, b"") + files[name]
        if result.status == 0:
            require(whole == (stage.after or stage.before), f"called done, and it is not in the store: {result}")
        else:
            require(whole == stage.before or whole == stage.after, f"neither as before nor as it should be ({sorted(files)}): {result}")
        return result.status == 0


class Room(Single):
    """A store on a file system that is full, or gets full in the middle."""

    name = "full stores"

    def __init__(self, world):
        super().__init__(world)
        self.at = world.path("small")
        self.kept = [stage for stage in self.stages if stage.place and stage.place.kind == "directory" and stage.after is not None]
        import world as names
        self.names = names

    def fault(self, rng):
        world, names = self.world, self.names
        stage = rng.choice(self.kept)
        argv = [word if word != stage.place.url else f"file://{self.at}" for word in stage.argv]
        size = sum(-(-len(content) // 4096) * 4096 for content in stage.before.values())
        room, shrinks = rng.randrange(0, len(stage.stdin) + 24576), rng.random() < 0.3
        self.world.told = f"{stage}: {room} bytes of room{', gone in the middle' if shrinks else ''}: {' '.join(argv)}"
        world.reset()
        names.mount("none", self.at, "tmpfs", 0, "size=64m")
        try:
            for name, content in stage.before.items():
                os.makedirs(os.path.dirname(f"{self.at}/{name}"), exist_ok=True)
                with open(f"{self.at}/{name}", "wb") as file:
                    file.write(content)
            if not shrinks:
                subprocess.run(["mount", "-o", f"remount,size={max(4096, size + room)}", self.at], check=True)
                result = world.run(*argv, stdin=stage.stdin)
            else:
                process = subprocess.Popen(
                    argv, executable=world.real[argv[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=world.env, cwd=world.base, start_new_session=True)
                part = min(room, len(stage.stdin))
                try:
                    process.stdin.write(stage.stdin[:part])
                    process.stdin.flush()
                except BrokenPipeError:
                    pass
                with open(f"{self.at}/ballast", "wb") as file:
                    try:
                        os.posix_fallocate(file.fileno(), 0, 80 << 20)
                    except OSError:
                        used = os.statvfs(self.at)
                        os.posix_fallocate(file.fileno(), 0, max(1, used.f_bavail * used.f_bsize))
                result = world.finish(process, argv, stage.stdin[part:])
            sane(result)
            there = settled(tree(self.at))
            require(there in (stage.before, stage.after), f"neither as before nor as it should be ({sorted(there)}): {result}")
            require(result.status != 0 or there == stage.after, f"called done, and it is not in the store: {result}")
            require(result.status == 0 or result.status == 74, f"no room is 74: {result}")
            if os.path.exists(f"{self.at}/ballast"):
                os.remove(f"{self.at}/ballast")
            subprocess.run(["mount", "-o", "remount,size=64m", self.at], check=True)
            again = world.run(*argv, stdin=stage.stdin)
            require(again.status == 0 and is_right(stage, again.out), f"a plain second run: {again}")
            require(tree(self.at) == stage.after, f"behind a plain second run: {sorted(tree(self.at).keys() ^ stage.after.keys())}")
            return result.status == 0
        finally:
            names.unmount(self.at, names.MNT_DETACH)
