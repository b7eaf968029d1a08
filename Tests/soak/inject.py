"""System calls that fail, or kill: strace's injection, behind the loader."""
import collections
import os
import re
import subprocess
import time

ERRORS = ["EIO", "ENOSPC", "EINTR", "EAGAIN", "ENOMEM", "EMFILE", "EDQUOT"]
FAULTS = [*ERRORS, "KILL"]
# Calls of which the kernel gives no such errors, and glibc or the language ends a process that gets them: death alone. Of
# close(2) it gives some, but strace leaves open what it says cannot be closed, so that a reader waits for ever. Of dup2(2) it
# gives some for a high number, and bash, which gets its descriptors back with it, has low ones.
DEATH_ALONE = re.compile(
    r"futex|rt_sig|sig|exit|set_|rseq|arch_prctl|madvise|munmap|mprotect|mremap|sched_|clock_|restart_|getpid|gettid|prlimit|"
    r"get.?[ug]id|execve|vfork|kill|tgkill|umask|prctl|wait|brk|lseek|close|dup2|dup3")
# What a process that cannot be made fails with: fork(2).
FORKED = ["EAGAIN", "ENOMEM", "KILL"]
# Memory that is refused: nothing can be promised but that what is stored stays right, since Swift itself ends there.
MEMORY = {"mmap"}
READ, POLL = ("63", ["73"]) if os.uname().machine == "aarch64" else ("0", ["7", "271"])
LINE = re.compile(r"^(\d+) +(\w+)\(")


def catalogue(path):
    """From a log of strace -f: [(call, N)], N counted in each thread, from the first behind the loader."""
    calls = collections.defaultdict(collections.Counter)
    before, main = None, None
    # For bash, the script is one more thing to load.
    loading = re.compile(r'openat\(AT_FDCWD, "[^"]*(\.so[.0-9]*", O_RDONLY\|O_CLOEXEC|ld\.so\.cache", O_RDONLY\|O_CLOEXEC|/bin/escapepod", O_RDONLY)\)')
    with open(path, errors="replace") as file:
        for line in file:
            match = LINE.match(line)
            if not match:
                continue
            pid, call = match.groups()
            main = main or pid
            calls[pid][call] += 1
            if pid == main and loading.search(line):
                before = dict(calls[pid])
                tail = 12  # of the last library: read, newfstatat, mmap …, close
            elif pid == main and before is not None and tail and call in ("read", "pread64", "newfstatat", "fstat", "mmap", "close", "mprotect", "munmap", "arch_prctl"):
                before, tail = dict(calls[pid]), tail - 1
            elif pid == main:
                tail = 0
    return choices(calls, main, before or {})


def choices(calls, main, before):
    found = set()
    for pid, counts in calls.items():
        for call, count in counts.items():
            if call == "restart_syscall":  # what tracing itself brings about
                continue
            first = before.get(call, 0) if pid == main else 0
            # What is counted in a thread would hit the loader in the main one.
            first = max(first, before.get(call, 0))
            found.update((call, number) for number in range(first + 1, min(count, first + 60) + 1))
    return sorted(found)


def attached(path):
    """The same from a log of a process that was attached to, where everything counts from the beginning."""
    calls = collections.defaultdict(collections.Counter)
    with open(path, errors="replace") as file:
        for line in file:
            match = LINE.match(line)
            if match:
                calls[match.group(1)][match.group(2)] += 1
    return choices(calls, None, {})


def draw(rng, found):
    """(call, N, fault): each call that is made gets its turn, however often it is made."""
    call = rng.choice(sorted({call for call, _ in found}))
    number = rng.choice([number for name, number in found if name == call])
    if DEATH_ALONE.match(call):
        fault = "KILL"
    elif call.startswith(("clone", "fork")):
        fault = rng.choice(FORKED)
    else:
        fault = rng.choice(["ENOMEM", "KILL"] if call in MEMORY else FAULTS)
    return call, number, fault


def words(call, number, fault, log="/dev/null"):
    """The options of strace."""
    what = "signal=KILL" if fault == "KILL" else f"error={fault}"
    return ["-f", "-qq", "-o", log, "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}"]


def attach(pid, options, env):
    """strace, attached to every thread of a process."""
    tracer = subprocess.Popen(
        ["strace", *options, "-p", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=env, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if all(traced(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")):
                return tracer
        except (FileNotFoundError, ProcessLookupError):
            return tracer
        time.sleep(0.001)
    raise RuntimeError("strace does not attach")


def traced(pid, thread):
    """Whether it is, or was until it ended."""
    with open(f"/proc/{pid}/task/{thread}/status") as file:
        status = file.read()
    return "TracerPid:\t0\n" not in status or "State:\tZ" in status


def waits(pid, timeout=10):
    """Waits until a process waits for its standard input; false where it ended before."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/syscall") as file:
                    words = file.read().split()
                if words[0] == READ and words[1] == "0x0" or words[0] in POLL:
                    return True
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return False
        time.sleep(0.001)
    return False
