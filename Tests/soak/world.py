"""What the faults happen to: a volume, its stores with two backups each, and what must be true of them."""
import contextlib
import ctypes
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

TABLE = {0, 3, 10, 64, 65, 69, 70, 74, 75, 77}
TOOLS = ["ep-config", "ep-snap", "ep-seal", "ep-unseal", "ep-key", "ep-meta", "ep-plan", "ep-store", "ep-fetch"]
KINDS = ["directory", "label", "server"]
# A trap, in whatever words; and what no run may end in: SIGILL, SIGABRT, SIGSEGV, as a status or from a shell.
TRAP = re.compile(rb"Fatal|fatal error|backtrace|Illegal instruction|Traceback|core dumped")
TRAPPED = {132, 134, 135, 136, 139, -signal.SIGILL, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGSEGV}

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MNT_DETACH = 1, 2


class Violation(Exception):
    """An invariant that does not hold."""


def die_with_parent():
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def require(truth, text):
    if not truth:
        raise Violation(text)


def mount(source, at, kind, flags=0, options=None):
    os.makedirs(at, exist_ok=True)
    if libc.mount(source.encode(), at.encode(), kind.encode(), flags, options and options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {source} at {at}: {os.strerror(ctypes.get_errno())}")


def unmount(at, flags=0):
    if libc.umount2(at.encode(), flags) != 0:
        raise OSError(ctypes.get_errno(), f"cannot unmount {at}: {os.strerror(ctypes.get_errno())}")


class Loop:
    """A loop device for a file; it goes when this descriptor and the last mount of it have gone, whatever ends us."""

    def __init__(self, path):
        with open("/dev/loop-control", "rb") as control, open(path, "r+b") as backing:
            while True:
                self.path = f"/dev/loop{fcntl.ioctl(control, 0x4C82)}"  # LOOP_CTL_GET_FREE
                self.number = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                # struct loop_config with LO_FLAGS_AUTOCLEAR
                info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, 4, path[-63:].encode(), b"", b"", 0, 0)
                config = struct.pack("=2I", backing.fileno(), 0) + info + bytes(64)
                try:
                    fcntl.ioctl(self.number, 0x4C0A, config)  # LOOP_CONFIGURE
                    return
                except OSError:  # somebody was faster
                    os.close(self.number)

    def is_mounted(self):
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_EXCL))
            return False
        except OSError:
            return True

    def close(self):
        os.close(self.number)


class Result:
    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.out, self.err = argv, status, out, err

    def __str__(self):
        said = (self.err + (self.out if self.out[:8] != b"EPODSEAL" and len(self.out) < 5000 else b"")).decode(errors="replace")
        return f"{' '.join(map(str, self.argv))}: status {self.status}: {said.strip()[-900:]}"


def sane(result, killed=False, statuses=TABLE, trap=True):
    """What is true of every process, whatever happened to it; `killed` is that it was sent a signal."""
    require(not trap or (result.status not in TRAPPED and not TRAP.search(result.err)), f"trapped: {result}")
    require(result.status in statuses or (killed and result.status < 0) or not trap, f"not in the table: {result}")


class Place:
    """A store, its URL, and a look at its files."""

    def __init__(self, world, kind):
        self.world, self.kind, self.options, self.loop = world, kind, [], None
        if kind == "directory":
            self.root = world.path("store")
            os.makedirs(self.root)
            self.url = f"file://{self.root}"
        elif kind == "label":
            self.root = world.path("drive")
            label = f"eps{os.getpid()}-{random.randrange(10**6)}"
            self.url = f"label:{label}"
            world.image("drive.img", 24 << 20, "mkfs.ext4", "-q", "-L", label, "-m", "0", "-O", "^has_journal")
            self.loop = Loop(world.path("drive.img"))
        else:
            world.serve()
            self.root = world.path("served")
            self.url = f"dunesea+http://127.0.0.1:{world.port}"
            self.options = ["--token-file", world.path("token"), "--patience", "10"]
        self.words = [self.url, "--domain", "pod", *self.options]

    @contextlib.contextmanager
    def files(self):
        """The folder of the store's files, for as long as it is looked at."""
        if not self.loop:
            yield self.root
            return
        require(not self.loop.is_mounted(), "the drive is still mounted")
        mount(self.loop.path, self.root, "ext4")
        try:
            yield self.root
        finally:
            unmount(self.root)

    def tree(self):
        with self.files() as root:
            return tree(root)

    def put(self, wanted):
        with self.files() as root:
            there = tree(root)
            if there == wanted:
                return
            if self.kind == "server":
                # It knows by heart what it has: nobody else may write there while it runs.
                self.world.stop_server()
                shutil.rmtree(f"{root}/dunesea/uploads", ignore_errors=True)
            for name in there.keys() - wanted.keys():
                os.remove(f"{root}/{name}")
            for name, content in wanted.items():
                if there.get(name) != content:
                    os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
                    with open(f"{root}/{name}", "wb") as file:
                        file.write(content)
            if self.kind == "server":
                self.world.serve()


def tree(root, below="escapepod"):
    """Every file below a folder but the locks and what is only there to be given up: its name and content."""
    found = {}
    for folder, _, names in os.walk(f"{root}/{below}"):
        for name in set(names) - {".lock", ".reserve"}:
            with open(f"{folder}/{name}", "rb") as file:
                found[os.path.relpath(f"{folder}/{name}", root)] = file.read()
    return found


def settled(files):
    """Without what writers have staged."""
    return {name: content for name, content in files.items() if "/.partial-" not in name}


def heads(files):
    """(name, address) of every backup of a store, the oldest first."""
    return sorted((name.rsplit("/", 1)[1], name[-64:]) for name in settled(files) if name.startswith("escapepod/pod/metadata/"))


def whole_head(files):
    """Every backup names a blob that is there, and is what its name says."""
    for entry, address in heads(files):
        blob = files.get(f"escapepod/pod/blobs/{address}")
        require(blob is not None, f"backup {entry} has no blob")
        require(hashlib.sha256(blob).hexdigest() == address, f"the blob of backup {entry} is not what its name says")
        document = files[f"escapepod/pod/metadata/{entry}"]
        require(document[-16:-8] == b"EPODDONE" and int.from_bytes(document[-8:], "big") == len(document), f"backup {entry} is not whole")


def likeness(root):
    """All of a volume that a person would miss, but for its slots and its root's own time."""
    found = {}
    for folder, folders, names in os.walk(root):
        if folder == root and ".escapepod" in folders:
            folders.remove(".escapepod")
        for name in folders + names:
            path = f"{folder}/{name}"
            status = os.lstat(path)
            content = b""
            if os.path.islink(path):
                content = os.readlink(path).encode()
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            extra = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
            found[os.path.relpath(path, root)] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, extra)
    return found


def alike(root, wanted, result):
    """A volume is what it should be; else the first names that are not, and what was said."""
    there = likeness(root)
    other = sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))
    require(not other, f"what came back is another: {[(name, there.get(name), wanted.get(name)) for name in other[:3]]}: {result}")


class World:
    """One job's own: nothing in it is seen from outside, and all of it goes when the job ends."""

    def __init__(self, base, kinds, serving=()):
        """`serving` are further options of the server."""
        self.base, self.serving = base, serving
        self.server = self.port = None
        self.stored = {}
        self.clean = {}  # what the modules learn from runs without a fault
        os.makedirs(base)
        mount("none", "/run", "tmpfs", 0, "size=64m,mode=755")
        self.real = {tool: shutil.which(tool) for tool in [*TOOLS, "btrfs"]}
        if "server" in kinds:
            self.real["dunesea"] = os.environ.get("EP_DUNESEA") or shutil.which("dunesea")
        for tool, path in self.real.items():
            if not path:
                raise SystemExit(f"soak: no {tool} in PATH")
        self.stand_ins()
        self.env = {
            "PATH": f"{self.path('bin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": base, "LC_ALL": "C", "ESCAPEPOD_STATE": self.path("state"), "SWIFT_BACKTRACE": "enable=no",
        }
        self.run("ep-key", "generate", self.path("pod.key"), check=True)
        with open(self.path("words"), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(b"ten words")
        self.image("vol.img", 128 << 20, "mkfs.btrfs", "-q")
        self.image("new.img", 160 << 20, "mkfs.btrfs", "-q")
        self.vol, self.new = self.path("vol"), self.path("new")
        self.mount_volume()
        self.places = {kind: Place(self, kind) for kind in kinds}
        self.fill_volume()
        for place in self.places.values():
            with open(self.path(f"{place.kind}.conf"), "w") as file:
                file.write(f"domain=pod\nvolume={self.vol}\nstore={place.url}\nkey={self.path('pod.key')}\n")
                for name, value in zip(place.options[::2], place.options[1::2]):
                    file.write(f"{name[2:].replace('-', '_')}={value}\n")
            self.write("note", b"first")
            self.backup(place, check=True)
            self.write("note", b"second")
            self.backup(place, check=True)
            self.stored[place.kind] = likeness(self.vol)
        self.write("note", b"third")
        self.trees = {kind: place.tree() for kind, place in self.places.items()}
        self.state = tree(base, "state")
        self.unmount_volume()
        self.images = {name: self.path(f"{name}.pristine") for name in ["vol.img", "new.img"]}
        for name, kept in self.images.items():
            self.copy(self.path(name), kept)
        self.mount_volume()
        self.likeness = likeness(self.vol)
        self.dirty = False

    def path(self, name):
        return f"{self.base}/{name}"

    # --- Processes

    def run(self, *argv, stdin=b"", check=False, timeout=60, env=None, cwd=None):
        """Runs a command to its end; one that does not end is a violation."""
        process = subprocess.Popen(
            argv, executable=self.real.get(argv[0]), stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env or self.env, cwd=cwd or self.base, start_new_session=True)
        return self.finish(process, argv, stdin, check, timeout)

    def finish(self, process, argv, stdin=b"", check=False, timeout=60):
        try:
            out, err = process.communicate(stdin or None, timeout)
        except subprocess.TimeoutExpired:
            self.kill_session(process.pid)
            out, err = process.communicate()
            raise Violation(f"it does not end: {Result(argv, 'none', out, err)}") from None
        result = Result(argv, process.returncode, out or b"", err)
        require(not check or result.status == 0, f"without a fault: {result}")
        return result

    def session(self, leader):
        """The processes that are left of a session."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
                if int(fields[3]) == leader and fields[0] not in "ZX":
                    found.append(int(name))
        return found

    def kill_session(self, leader, number=signal.SIGKILL):
        for pid in self.session(leader):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def escapepod(self, *argv, **options):
        return self.run(self.path("bin/escapepod"), *argv, **options)

    def backup(self, place, **options):
        return self.escapepod("backup", self.path(f"{place.kind}.conf"), **options)

    def stand_ins(self):
        """Beside a copy of escapepod, a stand-in for each tool: it runs what $SOAK_FAULT.TOOL has, where that is, and then the tool."""
        script = os.path.realpath(shutil.which("escapepod") or "")
        repo = os.path.dirname(os.path.dirname(script))
        os.makedirs(self.path("bin"))
        shutil.copy(script, self.path("bin/escapepod"))
        for part in ["lib", "contrib", "share"]:
            if os.path.isdir(f"{repo}/{part}"):
                os.symlink(f"{repo}/{part}", self.path(part))
        for tool, real in self.real.items():
            with open(self.path(f"bin/{tool}"), "w") as file:
                file.write(f"#!/bin/sh\nreal='{real}' fault='{self.path('fault')}.{tool}'\n"
                           '[ ! -e "$fault" ] || . "$fault"\nexec "$real" "$@"\n')
            os.chmod(self.path(f"bin/{tool}"), 0o755)

    def arm(self, tool, text):
        """From here on `text` is run by a shell in front of each start of the tool."""
        with open(self.path(f"fault.{tool}"), "w") as file:
            file.write(text)

    def disarm(self):
        for name in os.listdir(self.base):
            if name.startswith(("fault.", "count.")):
                os.remove(self.path(name))

    # --- The server

    def serve(self):
        folder = self.path("served")
        if not os.path.isdir(folder):
            os.makedirs(folder)
            token = self.run("dunesea", "token", "add", "--dir", folder, "--append", "--read", "--prune", "pod", check=True)
            with open(self.path("token"), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(token.out)
        log = self.path("dunesea.log")
        with open(log, "wb") as file:
            self.server = subprocess.Popen(
                ["dunesea", "serve", "--dir", folder, "--listen", f"127.0.0.1:{self.port or 0}", "--uploads", "1000",
                 "--upload-age", "30s", "--patience", "5s", *self.serving],
                executable=self.real["dunesea"], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self.env, start_new_session=True)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with open(log) as file:
                found = re.search(r"listening on .* port (\d+)", file.read())
            if found:
                self.port = int(found.group(1))
                return
            require(self.server.poll() is None, f"the server does not start: {open(log).read()}")
            time.sleep(0.01)
        raise Violation("the server does not start")

    def stop_server(self):
        self.server.kill()
        self.server.wait()

    def is_served(self):
        """Whether the server runs. One that was killed may not have ended yet, but it answers nobody."""
        if self.server.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
                    if client.recv(1):
                        return True
            except OSError:
                pass
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                raise Violation("the server runs and does not answer") from None
        return False

    def served_again(self):
        """The server runs; a new one where it was ended."""
        if not self.is_served():
            self.serve()

    # --- The volume

    def image(self, name, size, *make):
        with open(self.path(name), "wb") as file:
            file.truncate(size)
        subprocess.run([*make, self.path(name)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def copy(self, source, target):
        subprocess.run(["cp", "--sparse=always", source, target], check=True)

    def mount_volume(self):
        self.loops = [Loop(self.path("vol.img")), Loop(self.path("new.img"))]
        mount(self.loops[0].path, self.vol, "btrfs")
        mount(self.loops[1].path, self.new, "btrfs")

    def unmount_volume(self):
        for at in [self.vol, self.new]:
            unmount(at)
        for loop in self.loops:
            loop.close()

    def write(self, name, content):
        with open(f"{self.vol}/{name}", "wb") as file:
            file.write(content)

    def fill_volume(self):
        self.write("big", os.urandom(1_200_000))
        os.makedirs(f"{self.vol}/folder/below")
        self.write("folder/below/file", b"x" * 5000)
        os.symlink("../note", f"{self.vol}/folder/link")
        os.link(f"{self.vol}/big", f"{self.vol}/folder/hard")
        os.setxattr(f"{self.vol}/folder", "user.color", b"blue")
        os.chmod(f"{self.vol}/folder/below/file", 0o640)
        os.chown(f"{self.vol}/folder/below", 1234, 4321)

    def reset(self, *places):
        """The volume, what the machine knows and these stores as they were in the beginning."""
        self.disarm()
        if self.dirty:
            self.unmount_volume()
            for name, kept in self.images.items():
                self.copy(kept, self.path(name))
            self.mount_volume()
            shutil.rmtree(self.path("state"), ignore_errors=True)
            for name, content in self.state.items():
                os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
                with open(self.path(name), "wb") as file:
                    file.write(content)
            for name in os.listdir("/run"):
                if name.startswith("escapepod."):
                    shutil.rmtree(f"/run/{name}")
            self.dirty = False
        for place in places:
            place.put(self.trees[place.kind])

    def committed(self, place):
        """What the newest backup of a store as it was in the beginning is of."""
        return self.stored[place.kind]

    # --- What is left behind

    def leftovers(self, *mine):
        """What a run leaves outside the store and the volume: folders in /run, and mounts other than those and `mine`."""
        found = [f"/run/{name}" for name in os.listdir("/run") if name not in ("mount", "blkid", "escapepod", "lock")]
        with open("/proc/self/mountinfo") as file:
            at = [line.split()[4] for line in file]
        known = {self.vol, self.new, "/run", *mine}
        found += [f"mount {point}" for point in at if point.startswith((self.base, "/run")) and point not in known]
        return found

    def slots(self):
        """The names of the snapshots in the volume, by store."""
        home = f"{self.vol}/.escapepod"
        # The record of inode flags lies beside them.
        return {name: sorted(os.listdir(f"{home}/{name}")) for name in os.listdir(home) if not name.startswith(".")}
