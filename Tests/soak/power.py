"""Drives that lose their power, fail, vanish or stall: a network block device that records what is written and flushed."""
import os
import socket
import struct
import subprocess
import threading
import time

import inject
import world as names
from stages import Single
from world import Loop, Violation, alike, heads, likeness, require, sane, settled, tree, whole_head

# What a drive writes whole or not at all.
SECTOR = 4096


class Disk:
    """A block device over nbdfuse and a loop device, of which `log` knows each write and each flush.

    Of several disks that share one log it is known what was written before what.
    """

    def __init__(self, world, name, image, log):
        self.world, self.name, self.log = world, name, log
        self.path, self.first = image, image + ".first"
        world.copy(image, self.first)
        self.size = os.path.getsize(image)
        self.file = os.open(image, os.O_RDWR)
        self.mode, self.after, self.requests = None, 0, 0
        self.gone = threading.Event()
        socket_path = world.path(f"{name}.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(socket_path)
        self.listener.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()
        self.folder = world.path(f"{name}.fuse")
        os.makedirs(self.folder, exist_ok=True)
        self.fuse = subprocess.Popen(
            ["nbdfuse", f"{self.folder}/disk", f"nbd+unix:///?socket={socket_path}"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 20
        while not os.path.exists(f"{self.folder}/disk"):
            if time.monotonic() > end or self.fuse.poll() is not None:
                raise RuntimeError("nbdfuse does not start")
            time.sleep(0.002)
        self.loop = Loop(f"{self.folder}/disk")

    def fail(self, mode, after):
        """From so many requests on: eio, ro (eio for writes), gone, or stall for a second."""
        self.mode, self.after, self.requests = mode, after, 0

    def close(self):
        self.loop.close()
        # The kernel lets go of the file a moment behind the loop device.
        end = time.monotonic() + 10
        while True:
            try:
                names.unmount(self.folder)
                break
            except OSError:
                if time.monotonic() > end:
                    names.unmount(self.folder, names.MNT_DETACH)
                    break
                time.sleep(0.005)
        try:
            self.fuse.wait(10)
        except subprocess.TimeoutExpired:
            self.fuse.kill()
            self.fuse.wait()
        self.gone.wait(5)
        self.listener.close()
        os.close(self.file)
        for path in [self.first, self.world.path(f"{self.name}.sock")]:
            os.remove(path)

    # --- The protocol: doc/proto.md of NBD

    def serve(self):
        try:
            client, _ = self.listener.accept()
            with client:
                self.greet(client)
                while self.answer(client):
                    pass
        except (OSError, EOFError):
            pass
        finally:
            self.gone.set()

    def greet(self, client):
        client.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        take(client, 4)
        while True:
            _, option, length = struct.unpack(">QII", take(client, 16))
            take(client, length)
            if option == 7:  # NBD_OPT_GO
                info = struct.pack(">HQH", 0, self.size, 1 | 4 | 8)  # flags, flush, fua
                client.sendall(struct.pack(">QIII", 0x3E889045565A9, option, 3, len(info)) + info)
                client.sendall(struct.pack(">QIII", 0x3E889045565A9, option, 1, 0))
                return
            client.sendall(struct.pack(">QIII", 0x3E889045565A9, option, 0x80000001, 0))

    def answer(self, client):
        magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", take(client, 28))
        data = take(client, length) if kind == 1 else b""
        self.requests += 1
        error = 0
        if self.mode and self.requests > self.after:
            if self.mode == "gone":
                return False
            if self.mode == "stall":
                self.mode = None
                time.sleep(1)
            elif self.mode == "eio" or kind != 0:
                error = 5
        if kind == 2:  # NBD_CMD_DISC
            return False
        if not error and kind == 0:
            data = os.pread(self.file, length, offset)
        elif not error and kind == 1:
            os.pwrite(self.file, data, offset)
            self.log.append((self, offset, data))
        if not error and (kind == 3 or flags & 1):
            self.log.append((self, None, b""))
        client.sendall(struct.pack(">IIQ", 0x67446698, error, handle) + (data if kind == 0 and not error else b""))
        return True


def take(client, count):
    found = b""
    while len(found) < count:
        more = client.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def crash(rng, log, disk, at, target):
    """The image of a disk that lost its power behind `at` entries of the log: what was flushed, and of the rest what chance says."""
    flushed = max((index for index in range(at) if log[index][0] is disk and log[index][1] is None), default=-1)
    later = [entry for entry in log[flushed + 1 : at] if entry[0] is disk]
    style = rng.choice(["none", "all", "some", "some", "torn", "late"])
    with open(target, "r+b") as file:
        for owner, offset, data in log[: flushed + 1]:
            if owner is disk and offset is not None:
                os.pwrite(file.fileno(), data, offset)
        if style == "late":
            # One alone of those that came last.
            later = later[-1:]
        elif style == "none":
            later = []
        else:
            rng.shuffle(later) if style != "all" else None
        for _, offset, data in later:
            if style in ("some", "torn") and rng.random() < 0.5:
                continue
            if style == "torn":
                sectors = range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1)
                begin = max(offset, rng.choice(sectors) * SECTOR)
                data = data[begin - offset : rng.choice(sectors) * SECTOR + SECTOR - offset]
                offset = begin
            os.pwrite(file.fileno(), data, offset)
    return style


class Recorded(Single):
    """What was recorded of a run, until it has been used up."""

    uses = 120

    def __init__(self, world):
        super().__init__(world)
        self.records = {}

    def record(self, key):
        kept = self.records.get(key)
        if kept is None or kept["left"] == 0:
            kept = self.records[key] = {**self.make(key), "left": self.uses}
        kept["left"] -= 1
        return kept

    def store_image(self, kind, name):
        path = self.world.path(name)
        if kind == "ext4":
            self.world.image(name, 16 << 20, "mkfs.ext4", "-q", "-m", "0", "-e", "remount-ro")
        else:
            self.world.image(name, 32 << 20, "mkfs.btrfs", "-q", "--mixed", "-m", "single", "-d", "single")
        return path

    def fill(self, at, files):
        for name, content in files.items():
            os.makedirs(os.path.dirname(f"{at}/{name}"), exist_ok=True)
            with open(f"{at}/{name}", "wb") as file:
                file.write(content)
        os.sync()


class Commit(Recorded):
    """The power goes while a blob and its metadata are stored, or right behind."""

    name = "power cuts of a store"

    def parts(self):
        world = self.world
        place = next(iter(world.places.values()))
        files = world.trees[place.kind]
        (_, one), (second, two) = heads(files)
        old = {name: content for name, content in files.items() if two not in name}
        return old, files, one, two, files[f"escapepod/pod/blobs/{two}"], files[f"escapepod/pod/metadata/{second}"]

    def make(self, kind):
        world = self.world
        old, files, one, two, blob, document = self.parts()
        image = self.store_image(kind, "cut.img")
        at, log = world.path("cut"), []
        loop = Loop(image)
        names.mount(loop.path, at, kind)
        self.fill(at, old)
        names.unmount(at)
        loop.close()
        disk = Disk(world, "cut", image, log)
        first = world.path(f"cut.{kind}.first")
        world.copy(image, first)
        names.mount(disk.loop.path, at, kind)
        try:
            world.run("ep-store", "blob", f"file://{at}", "--domain", "pod", stdin=blob, check=True)
            stored = len(log)
            world.run("ep-store", "metadata", f"file://{at}", "--domain", "pod", "--blob", two, "--follows", one, "--parent", one,
                      stdin=document, check=True)
            committed = len(log)
            # Power may go long after, too; whatever comes from the file system by then.
            os.sync()
        finally:
            names.unmount(at)
            disk.close()
        require(any(entry[1] is None for entry in log), "nothing was ever flushed")
        return {"log": log, "disk": disk, "first": first, "stored": stored, "committed": committed}

    def fault(self, rng):
        world = self.world
        world.reset()
        kind = rng.choice(["ext4", "ext4", "btrfs"])
        kept = self.record(kind)
        at = rng.randrange(len(kept["log"]) + 1)
        if rng.random() < 0.3:
            at = rng.choice([kept["stored"], kept["committed"]])
        image, point = world.path("crashed.img"), world.path("crashed")
        world.copy(kept["first"], image)
        style = crash(rng, kept["log"], kept["disk"], at, image)
        world.told = f"{kind}, behind {at} of {len(kept['log'])} requests (blob: {kept['stored']}, metadata: {kept['committed']}), later ones: {style}"
        loop = Loop(image)
        try:
            names.mount(loop.path, point, kind)
            try:
                return self.judge(rng, point, kept, at)
            finally:
                names.unmount(point)
        except OSError as error:
            raise Violation(f"the file system is gone: {error}") from None
        finally:
            loop.close()

    def judge(self, rng, point, kept, at):
        world = self.world
        old, files, one, two, blob, document = self.parts()
        there = settled(tree(point))
        whole_head(there)
        done = len(heads(there)) == 2
        allowed = [old, {**old, f"escapepod/pod/blobs/{two}": blob}, files]
        require(there in allowed, f"neither as before nor as it should be: {sorted(there)}")
        require(at < kept["stored"] or f"escapepod/pod/blobs/{two}" in there, "there was a receipt, and the blob is not there")
        require(at < kept["committed"] or done, "the metadata was called stored, and it is not there")
        if rng.random() < 0.15:
            url = f"file://{point}"
            world.run("ep-store", "blob", url, "--domain", "pod", stdin=blob, check=True)
            world.run("ep-store", "metadata", url, "--domain", "pod", "--blob", two, "--follows", one, "--parent", one, stdin=document, check=True)
            require(tree(point) == files, f"behind a plain second run: {sorted(tree(point))}")
        return done


class Failing(Commit):
    """A drive that fails, turns read-only, vanishes, stalls or is unmounted in the middle."""

    name = "failing stores"

    def fault(self, rng):
        world = self.world
        world.reset()
        kind = rng.choice(["ext4", "btrfs"])
        mode, after = rng.choice(["eio", "ro", "gone", "stall", "detached"]), int(rng.random() ** 2 * 60)
        old, files, one, two, blob, document = self.parts()
        world.told = f"{kind}: {mode} behind {after} requests"
        if kind not in self.records:
            image = self.store_image(kind, f"failing.{kind}.img")
            loop = Loop(image)
            names.mount(loop.path, world.path("failing"), kind)
            self.fill(world.path("failing"), old)
            names.unmount(world.path("failing"))
            loop.close()
            self.records[kind] = image
        image, at = world.path("failing.img"), world.path("failing")
        world.copy(self.records[kind], image)
        disk = Disk(world, "failing", image, [])
        results = []
        try:
            names.mount(disk.loop.path, at, kind)
            try:
                if mode == "detached":
                    process = subprocess.Popen(
                        ["ep-store", "blob", f"file://{at}", "--domain", "pod"], executable=world.real["ep-store"], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=world.env, start_new_session=True)
                    # It has opened the store by then, and goes on with that.
                    inject.waits(process.pid)
                    process.stdin.write(blob[: after * 8])
                    process.stdin.flush()
                    names.unmount(at, names.MNT_DETACH)
                    results.append(world.finish(process, ["ep-store", "blob"], blob[after * 8 :]))
                else:
                    disk.fail(mode, after)
                    results.append(world.run("ep-store", "blob", f"file://{at}", "--domain", "pod", stdin=blob))
                    results.append(world.run("ep-store", "metadata", f"file://{at}", "--domain", "pod", "--blob", two, "--follows", one, "--parent", one, stdin=document))
            finally:
                if os.path.ismount(at):
                    names.unmount(at)
        finally:
            disk.close()
        for result in results:
            sane(result)
            require(mode not in ("stall", "detached") or result.status in (0, 69), f"it would have been done: {result}")
        loop = Loop(image)
        try:
            names.mount(loop.path, at, kind)
            try:
                there = settled(tree(at))
                whole_head(there)
                statuses = [result.status for result in results]
                require(there in [old, {**old, f"escapepod/pod/blobs/{two}": blob}, files], f"neither as before nor as it should be: {sorted(there)}, {statuses}")
                require(statuses[0] != 0 or f"escapepod/pod/blobs/{two}" in there, f"there was a receipt, and the blob is not there: {results[0]}")
                require(statuses[1:] != [0] or there == files, f"called stored, and it is not there: {results[-1]}")
                world.run("ep-store", "blob", f"file://{at}", "--domain", "pod", stdin=blob, check=True)
                world.run("ep-store", "metadata", f"file://{at}", "--domain", "pod", "--blob", two, "--follows", one, "--parent", one, stdin=document, check=True)
                require(tree(at) == files, f"behind a plain second run: {sorted(tree(at))}")
                return statuses[-1] == 0
            finally:
                names.unmount(at)
        finally:
            loop.close()


class Machine(Recorded):
    """The power goes in a whole backup, at once for the volume, the store, and what the machine knows; or in a restore."""

    name = "power cuts of a machine"
    uses = 25

    def make(self, command):
        world = self.world
        place = next(iter(world.places.values()))
        log, disks, points = [], {}, {}
        world.dirty = True
        world.reset()
        world.unmount_volume()
        try:
            for name, kind in [("vol", "btrfs"), ("new", "btrfs"), ("state", "ext4"), ("store", "ext4")]:
                image = world.path(f"machine.{name}.img")
                if kind == "btrfs":
                    world.copy(world.images[f"{name}.img"], image)
                else:
                    self.store_image("ext4", os.path.basename(image))
                    loop = Loop(image)
                    names.mount(loop.path, world.path("filling"), kind)
                    files = world.trees[place.kind] if name == "store" else world.state
                    self.fill(world.path("filling"), {(file if name == "store" else os.path.relpath(file, "state")): content for file, content in files.items()})
                    names.unmount(world.path("filling"))
                    loop.close()
                disks[name] = Disk(world, name, image, log)
                world.copy(image, f"{image}.{command}")
                points[name] = (kind, f"{image}.{command}")
            paths = self.mount({name: disk.loop.path for name, disk in disks.items()}, points)
            try:
                result = self.run(command, place)
                require(result.status == 0, f"without a fault: {result}")
                done = len(log)
                os.sync()
            finally:
                for path in paths:
                    names.unmount(path)
                for disk in disks.values():
                    disk.close()
        finally:
            world.mount_volume()
            world.dirty = True
        return {"log": log, "disks": disks, "points": points, "done": done}

    def mount(self, devices, points):
        """Each in its own place, where the configuration has it."""
        world, paths = self.world, []
        for name, device in devices.items():
            path = {"vol": world.vol, "new": world.new, "state": world.path("state"), "store": world.path("store")}[name]
            names.mount(device, path, points[name][0])
            paths.append(path)
        return paths

    def run(self, command, place):
        conf = self.world.path(f"{place.kind}.conf")
        if command == "backup":
            return self.world.escapepod("backup", conf)
        return self.world.escapepod("restore", conf, "--to", f"{self.world.new}/pod")

    def fault(self, rng):
        world = self.world
        place = world.places["directory"]
        command = rng.choice(["backup", "backup", "restore"])
        kept = self.record(command)
        at = rng.randrange(len(kept["log"]) + 1) if rng.random() < 0.8 else kept["done"]
        world.reset()
        world.unmount_volume()
        styles, loops, paths = [], {}, []
        try:
            for name, (_, first) in kept["points"].items():
                image = world.path(f"crashed.{name}.img")
                world.copy(first, image)
                styles.append(crash(rng, kept["log"], kept["disks"][name], at, image))
                loops[name] = Loop(image)
            world.told = f"{command}, behind {at} of {len(kept['log'])} requests (done: {kept['done']}), later ones: {', '.join(styles)}"
            try:
                paths = self.mount({name: loop.path for name, loop in loops.items()}, kept["points"])
            except OSError as error:
                raise Violation(f"the file system is gone: {error}") from None
            done = at >= kept["done"]
            return (self.backed_up if command == "backup" else self.restored)(rng, place, done)
        finally:
            for path in reversed(paths):
                names.unmount(path)
            for loop in loops.values():
                loop.close()
            world.mount_volume()
            world.dirty = True

    def backed_up(self, rng, place, done):
        world = self.world
        there = settled(tree(place.root))
        whole_head(there)
        before = len(heads(there))
        require(before == 3 or (before == 2 and not done), f"called done, and the head is another: {heads(there)}")
        again = self.run("backup", place)
        require(again.status == 0, f"a plain second run: {again}")
        there = tree(place.root)
        whole_head(there)
        require(len(heads(there)) == before + 1 and settled(there) == there, f"behind a plain second run: {sorted(there)}")
        for taken in world.slots().values():
            require(set(taken) <= {"root", "last-parent", "current-parent"}, f"slots behind a plain second run: {taken}")
        left = world.leftovers(place.root, world.path("state"))
        require(not left, f"left behind: {left}")
        if rng.random() < 0.3:
            result = self.run("restore", place)
            require(result.status == 0, f"a restore: {result}")
            alike(f"{world.new}/pod", likeness(world.vol), result)
        return before == 3

    def restored(self, rng, place, done):
        world = self.world
        to = f"{world.new}/pod"
        before = os.path.exists(to)
        require(before or not done, f"called done, and it is not there: {os.listdir(world.new)}")
        again = self.run("restore", place)
        require(again.status == (74 if before else 0), f"a plain second run: {again}")
        alike(to, world.committed(place), again)
        require(os.listdir(world.new) == ["pod"], f"left behind: {os.listdir(world.new)}")
        return before

