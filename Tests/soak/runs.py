"""Faults in whole runs of escapepod: in one of its stages, in itself, and signals to any of it."""
import os
import shutil
import signal
import subprocess
import time

import inject
from stages import Single
from world import TABLE, TRAPPED, TOOLS, TRAP, alike, heads, likeness, require, sane, settled, whole_head

SIGNALLED = {129, 130, 143, -signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL}


class Runs(Single):
    """backup, restore, verify, list, status and init, each with what must be true behind it."""

    commands = ["backup"] * 5 + ["restore"] * 3 + ["verify"] * 2 + ["list", "status", "init"]

    def __init__(self, world):
        super().__init__(world)
        self.calls = {}

    def draw(self, rng):
        self.place = rng.choice(list(self.world.places.values()))
        self.command = rng.choice(self.commands)
        self.damaged = None
        self.reset(rng)

    def reset(self, rng=None):
        world, place = self.world, self.place
        world.dirty = True
        world.reset(place)
        world.dirty = True
        if world.server:
            world.served_again()
        shutil.rmtree(world.path("init"), ignore_errors=True)
        if self.command == "verify" and rng and rng.random() < 0.5:
            files = dict(world.trees[place.kind])
            self.damaged = rng.choice(sorted(name for name in files if "/blobs/" in name))
            files[self.damaged] = files[self.damaged][:-30] + bytes([files[self.damaged][-30] ^ 1]) + files[self.damaged][-29:]
            place.put(files)
        if self.command == "init":
            os.makedirs(world.path("init"), mode=0o700)

    def argv(self):
        world, place = self.world, self.place
        conf = world.path(f"{place.kind}.conf")
        match self.command:
            case "restore":
                rest = [conf, "--to", f"{world.new}/pod"]
            case "init":
                rest = [world.path("init/pod.conf"), "--volume", world.vol, "--store", place.url, "--domain", "fresh" if not self.has_token() else "pod",
                        *place.options, "--key", world.path("init/pod.key" if not self.has_token() else "pod.key"),
                        "--passphrase-file", world.path("words")]
            case _:
                rest = [conf]
        return [world.path("bin/escapepod"), self.command, *rest]

    def has_token(self):
        """A token is for one domain, so init is held to that one."""
        return bool(self.place.options)

    def judge(self, rng, result, killed):
        """Behind a fault; then a plain second run, and what is true behind that."""
        world = self.world
        world.disarm()
        statuses = TABLE | (SIGNALLED if killed else set())
        require(not TRAP.search(result.err) and result.status not in TRAPPED, f"trapped: {result}")
        require(result.status in statuses, f"not in the table: {result}")
        hard = killed and result.status in (-signal.SIGKILL, 137)
        require(result.status == 0 or hard or result.err or killed, f"failed without a word: {result}")
        require(hard or not world.leftovers(), f"left behind {world.leftovers()}: {result}")
        getattr(self, self.command)(rng, result)
        # By itself: the stale folders in /run go with the next run that makes one.
        require(not world.leftovers(), f"left behind a plain second run: {world.leftovers()}")
        return result.status in (0, 3)

    def again(self):
        result = self.world.run(*self.argv())
        sane(result)
        return result

    def backup(self, rng, result):
        world, place = self.world, self.place
        files, old = place.tree(), world.trees[place.kind]
        there = settled(files)
        whole_head(there)
        before = len(heads(there))
        require(all(there.get(name) == content for name, content in old.items()), f"what was stored is another: {result}")
        require(before in (2, 3), f"heads: {heads(there)}: {result}")
        done = result.status in (0, 3)
        require((b"done:" in result.out) <= (before == 3), f"says done, and the head is the one before: {result}")
        require(not done or (b"done:" in result.out and before == 3), f"called done, and the head is the one before: {result}")
        again = self.again()
        require(again.status == 0 and b"done:" in again.out, f"a plain second run, behind {result}: {again}")
        there = place.tree()
        whole_head(there)
        require(settled(there) == there and len(heads(there)) == before + 1, f"behind a plain second run: {sorted(there)}, {result}: {again}")
        require(b"incremental backup" in again.out, f"the chain has ended, behind {result}: {again}")
        for taken in world.slots().values():
            require(set(taken) <= {"root", "last-parent", "current-parent"}, f"slots behind a plain second run: {taken}")
        if rng.random() < 0.2:
            self.compare(likeness(world.vol))

    def compare(self, wanted):
        world = self.world
        self.command, kept = "restore", self.command
        result = self.again()
        self.command = kept
        require(result.status == 0, f"a restore: {result}")
        alike(f"{world.new}/pod", wanted, result)

    def restore(self, rng, result):
        world, to = self.world, f"{self.world.new}/pod"
        there = os.path.exists(to)
        require(result.status != 0 or (there and b"done:" in result.out), f"called done, and it is not there: {result}")
        require((b"done:" in result.out) <= there, f"says done, and it is not there: {result}")
        if there:
            alike(to, world.committed(self.place), result)
        if result.status != 0:
            again = self.again()
            require(again.status == (74 if there else 0), f"a plain second run, behind {result}: {again}")
        alike(to, world.committed(self.place), result)
        require(os.listdir(world.new) == ["pod"], f"left in the new volume: {os.listdir(world.new)}: {result}")

    def verify(self, rng, result):
        if self.damaged:
            require(result.status != 0, f"called whole, and it is not: {result}")
        require(b"is missing" not in result.out and (self.damaged or b"is damaged" not in result.out), f"calls damaged what is whole: {result}")
        again = self.again()
        require(again.status == (65 if self.damaged else 0), f"a plain second run, {self.damaged} damaged, behind {result}: {again}")

    def list(self, rng, result):
        lines = result.out.count(b"\n")
        require(result.status not in (0, 3) or lines == 3, f"called done, with {lines} lines: {result}")
        require(self.again().status == 0, "a plain second run")

    def status(self, rng, result):
        # The store has no key in the beginning, and that is 3.
        require(result.status != 0 and result.status != 10, f"all well, it says: {result}")
        require(self.again().status == 3, "a plain second run")

    def init(self, rng, result):
        world = self.world
        conf = world.path("init/pod.conf")
        ready = os.path.exists(conf)
        require((result.status == 0) <= ready, f"called done, and there is no configuration: {result}")
        again = self.again()
        require(again.status == (74 if ready else 0), f"a plain second run, behind {result}: {again}")
        with open(conf) as file:
            said = dict(line.split("=", 1) for line in file.read().splitlines() if not line.startswith("#"))
        number = world.run("ep-key", "id", said["key"], check=True).out.strip()
        keys = [content for name, content in self.place.tree().items() if f"/{said['domain']}/keys/" in name and "partial" not in name]
        require(keys and any(content[16:32].hex().encode() == number for content in keys), f"the store has not this key: {result}")
        left = set(os.listdir(world.path("init"))) - {"pod.conf", "pod.key", "pod.conf.new"}
        # The staged files of a killed run go an hour later.
        require(not [name for name in left if not name.startswith((".pod.key.", ".escapepod-"))], f"left: {left}")


class RunSignals(Runs):
    """A signal to a process of a run, or to all of them, at a random moment."""

    name = "signals to a run"

    def fault(self, rng):
        self.draw(rng)
        world = self.world
        key = self.place.kind, self.command
        if key not in self.calls:
            started = time.monotonic()
            result = world.run(*self.argv())
            require(result.status in (0, 3, 65), f"without a fault: {result}")
            self.calls[key] = time.monotonic() - started
            self.reset()
            self.damaged = None
        number = rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
        moment, whom = rng.random() * 1.1 * self.calls[key], rng.choice(["group", "script", "stage", "stage"])
        world.told = f"{self.place.kind}, {self.command}: {number.name} to {whom} after {moment:.3f} s"
        process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=world.env, cwd=world.base, start_new_session=True)
        time.sleep(moment)
        if process.poll() is None:
            self.send(rng, process.pid, whom, number)
        result = world.finish(process, self.argv())
        # Those that outlive their script hold its locks.
        end = time.monotonic() + 20
        while world.session(process.pid):
            require(time.monotonic() < end, f"processes that outlive their run: {world.session(process.pid)}: {result}")
            time.sleep(0.01)
        return self.judge(rng, result, True)

    def send(self, rng, leader, whom, number):
        members = self.world.session(leader)
        stages = [pid for pid in members if pid != leader]
        if whom == "group":
            os.killpg(leader, number)
        else:
            try:
                os.kill(rng.choice(sorted(stages)) if whom == "stage" and stages else leader, number)
            except ProcessLookupError:
                pass


class RunCalls(Runs):
    """A system call fails in one of the stages of a run, or in the script itself."""

    name = "system calls in a run"

    def fault(self, rng):
        self.draw(rng)
        world, key = self.world, (self.place.kind, self.command)
        if key not in self.calls:
            self.calls[key] = self.learn()
            self.reset()
            self.damaged = None
        tool, turn = rng.choice(sorted(self.calls[key]))
        call, number, fault = inject.draw(rng, self.calls[key][tool, turn])
        if tool == "bash" and (fault == "EAGAIN" and call in ("clone", "clone3", "fork", "vfork") or call in inject.MEMORY):
            fault = "KILL"  # it tries again for half a minute
        options = inject.words(call, number, fault)
        world.told = f"{self.place.kind}, {self.command}: strace {' '.join(options[4:])} at {tool}{f', start {turn}' if turn else ''}"
        if tool == "bash":
            options = [option for option in options if option != "-f"]
            argv = ["strace", *options, "bash", *self.argv()]
        else:
            world.arm(tool, self.armed(turn, "exec strace " + " ".join(f"'{option}'" for option in options) + ' "$real" "$@"'))
            argv = self.argv()
        result = world.run(*argv)
        # Where it gets no pipe, bash ends its own group by a signal.
        killed = fault == "KILL" or tool == "bash" and call in ("pipe", "pipe2")
        if call in inject.MEMORY:
            result.err = TRAP.sub(b"(memory)", result.err)
        return self.judge(rng, result, killed)

    def armed(self, turn, text):
        return (f'count="{self.world.path("count")}.${{real##*/}}"\necho >>"$count"\n'
                f'[ "$(wc -l <"$count")" -ne {turn} ] || {text}\n')

    def learn(self):
        """Which tools a run starts, and the calls of each: {(tool, nth start): [(call, N)]}, and of the script itself."""
        world = self.world
        log = world.path("log")
        for tool in TOOLS:
            world.arm(tool, f'count="{world.path("count")}.${{real##*/}}"\necho >>"$count"\n'
                            f'exec strace -f -qq -o "{log}.{tool}.$(($(wc -l <"$count")))" "$real" "$@"\n')
        result = world.run(*self.argv())
        require(result.status in (0, 3, 65), f"without a fault: {result}")
        found = {}
        for name in os.listdir(world.base):
            if name.startswith("log.ep-"):
                _, tool, turn = name.split(".")
                found[tool, int(turn)] = inject.catalogue(world.path(name))
                os.remove(world.path(name))
        world.disarm()
        self.reset()
        world.run("strace", "-qq", "-o", f"{log}.bash", "bash", *self.argv())
        with open(f"{log}.bash") as file:
            lines = [f"1 {line}" for line in file]
        with open(f"{log}.bash", "w") as file:
            file.writelines(lines)
        found["bash", 0] = inject.catalogue(f"{log}.bash")
        os.remove(f"{log}.bash")
        return found
