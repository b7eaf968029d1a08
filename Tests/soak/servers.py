"""Faults between a stage and its server, and in the server."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import inject
from stages import Single, judge
from world import require


# What libdispatch reads, to see whether a thread waits or runs.
OF_A_THREAD = re.compile(r'"/proc/\d+/stat"')
# What wakes another thread. The kernel gives no error there, and SwiftNIO then waits for ever.
WAKING = re.compile(r'write\(\d+, "\\1(\\0){7}", 8')

# What accept(2) gives when there are too few of something.
ACCEPTED = {("accept4", "EMFILE"), ("accept4", "ENOMEM")}


class Line:
    """What carries the bytes of one fault to the server: it cuts, holds up or drops a connection at a byte."""

    def __init__(self, port, way, at, what):
        self.target, self.way, self.at, self.what = port, way, at, what
        self.passed = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                for way, source, sink in [("up", client, server), ("down", server, client)]:
                    threading.Thread(target=self.carry, args=(way, source, sink), daemon=True).start()

    def carry(self, way, source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if self.what and way == self.way and self.passed + len(data) >= self.at:
                    what, self.what = self.what, None
                    sink.sendall(data[: max(0, self.at - self.passed)])
                    if what == "cut":
                        break
                    time.sleep({"pause": 0.5, "stall": 6}[what])
                    data = data[max(0, self.at - self.passed) :]
                self.passed += len(data) if way == self.way else 0
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


class Server(Single):
    """A server that is killed, stopped, cut off, or in which a system call fails."""

    name = "the server"

    def __init__(self, world):
        super().__init__(world)
        self.kept = [stage for stage in self.stages if stage.place and stage.place.kind == "server"]
        self.found = {}

    def fault(self, rng):
        stage = rng.choice(self.kept)
        self.ready(stage)
        return getattr(self, rng.choice(["line", "line", "killed", "stopped", "calls", "calls", "calls"]))(rng, stage)

    def line(self, rng, stage):
        world = self.world
        way, what = rng.choice(["up", "down"]), rng.choice(["cut", "cut", "cut", "pause", "stall"] if rng.random() < 0.2 else ["cut", "pause"])
        length = len(stage.stdin) if way == "up" else len(stage.out) if isinstance(stage.out, bytes) else 0
        at = rng.choice([rng.randrange(length + 1200), rng.randrange(1200)])
        self.say(stage, f"{what} behind {at} bytes {way}")
        line = Line(world.port, way, at, what)
        try:
            argv = [word.replace(f":{world.port}", f":{line.port}") for word in stage.argv]
            return self.judged(stage, world.run(*argv, stdin=stage.stdin))
        finally:
            line.close()

    def judged(self, stage, result):
        """What a server that is back does not heal is a violation: a client waits for ten seconds."""
        self.world.served_again()
        done = judge(self.world, stage, result)
        require(done, f"the server was back, and it was given up: {result}")
        return done

    def start(self, stage):
        return subprocess.Popen(
            stage.argv, executable=self.world.real[stage.argv[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.world.env, cwd=self.world.base, start_new_session=True)

    def killed(self, rng, stage):
        world = self.world
        number, pause = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]), rng.random() ** 2 * 0.15
        self.say(stage, f"{number.name} to the server after {pause:.3f} s")
        process = self.start(stage)

        def again():
            time.sleep(pause)
            world.server.send_signal(number)
            world.server.wait()
            world.serve()

        return self.finished(stage, process, again)

    def stopped(self, rng, stage):
        world = self.world
        pause, length = rng.random() ** 2 * 0.1, rng.choice([0.3, 0.3, 2])
        self.say(stage, f"the server stopped after {pause:.3f} s, for {length} s")
        process = self.start(stage)

        def stop():
            time.sleep(pause)
            world.server.send_signal(signal.SIGSTOP)
            time.sleep(length)
            world.server.send_signal(signal.SIGCONT)

        return self.finished(stage, process, stop)

    def finished(self, stage, process, meanwhile):
        """How the stage ended, with that done to the server meanwhile."""
        thread = threading.Thread(target=meanwhile)
        thread.start()
        try:
            result = self.world.finish(process, stage.argv, stage.stdin)
        finally:
            thread.join()
        return self.judged(stage, result)

    def calls(self, rng, stage):
        world = self.world
        if stage not in self.found:
            log = world.path("server.log")
            self.traced(["-f", "-qq", "-o", log], stage)
            self.found[stage] = inject.attached(log)
            self.ready(stage)
        call, number, fault = inject.draw(rng, self.found[stage])
        if call.startswith("epoll") or call in ("timerfd_settime", "eventfd2"):
            fault = "KILL"  # they give no such errors
        elif call in ("read", "accept4") and fault not in ("KILL", "EINTR") and (call, fault) not in ACCEPTED:
            fault = "EINTR"  # nor do sockets and counters of events
        log = world.path("injected.log")
        options = inject.words(call, number, fault, log)
        self.say(stage, f"strace {' '.join(options[4:])} -p, at the server")
        result = self.traced(options, stage)
        if fault != "KILL" and was_hit(log, WAKING):
            world.stop_server()
        if not world.is_served():
            # libdispatch that cannot look at its threads ends its process by design.
            require(world.server.returncode == -signal.SIGKILL or was_hit(log, OF_A_THREAD), f"the server has ended with {world.server.returncode}: {open(world.path('dunesea.log')).read()[-500:]}{hits(log)}")
        world.served_again()
        return judge(world, stage, result)

    def traced(self, options, stage):
        """The stage, while strace is attached to the server; which is started again where that ends it."""
        world = self.world
        tracer = inject.attach(world.server.pid, options, world.env)
        process = self.start(stage)
        over = threading.Event()

        def watch():
            while not over.is_set():
                if world.server.poll() is not None and world.server.returncode == -signal.SIGKILL:
                    return world.serve()
                time.sleep(0.005)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            return world.finish(process, stage.argv, stage.stdin)
        finally:
            over.set()
            thread.join()
            if tracer.poll() is None:
                os.kill(tracer.pid, signal.SIGINT)
            try:
                tracer.wait(20)
            except subprocess.TimeoutExpired:
                # It has lost count of threads that died.
                tracer.kill()
                tracer.wait()


def hits(log):
    """What was injected, with the call that each hit."""
    with open(log, errors="replace") as file:
        return "".join(line for line in file if "INJECTED" in line or "unfinished" in line or "killed by" in line)[-1500:]


def was_hit(log, call):
    """Whether a fault was injected into such a call."""
    unfinished = {}
    with open(log, errors="replace") as file:
        for line in file:
            thread = line.split(None, 1)[0] if line.strip() else ""
            if "<unfinished" in line:
                unfinished[thread] = line
            elif "INJECTED" in line and call.search(unfinished.get(thread, "") if "resumed>" in line else line):
                return True
    return False
