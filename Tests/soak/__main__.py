"""soak: injects faults into real runs of the built tools, and holds what must be true against what is.

usage: soak [--seconds N] [--faults N] [--seed S] [--jobs N] [--only N] [--first] [--classes NAME,…] [--kinds KIND,…]

Fault N of a seed is always the same one: --seed S --only N makes it again. A violation is a line with how to do that, and
status 1. The tools are those in PATH, the server the one of EP_DUNESEA. Root only; on loop devices, in mount and process
namespaces of its own, so that nothing is left behind.
"""
import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import power
import rot
import runs
import servers
import stages
from world import KINDS, Violation, World, die_with_parent

# Each class, and how often it has its turn.
CLASSES = [(stages.Calls, 40), (stages.Signals, 12), (stages.Limits, 14), (stages.Room, 8), (rot.Rot, 20),
           (power.Commit, 30), (power.Failing, 5), (power.Machine, 3),
           (runs.RunSignals, 5), (runs.RunCalls, 6), (servers.Server, 12)]


def arguments():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--faults", type=int, help="stop after so many")
    parser.add_argument("--seed", default=None)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() + 1, help="at once")
    parser.add_argument("--only", type=int, help="this fault alone")
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    parser.add_argument("--classes", type=lambda text: text.split(","), help="these alone: " + ", ".join(kind.name for kind, _ in CLASSES))
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS, help="stores: directory, label, server")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    said = parser.parse_args()
    said.seed = said.seed or str(random.randrange(10**9))
    if said.only is not None:
        said.jobs, said.faults = 1, 1
    return said


def job(said):
    """Every said.jobs-th fault, from the one that is the job's number, each with a line of JSON on standard output."""
    # What the machine knows lies in folders that nobody else can look into.
    os.umask(0o077)
    number = int(said.job)
    world = World(f"{said.base}/{number}", said.kinds)
    drawn = [(kind, weight) for kind, weight in CLASSES if not said.classes or kind.name in said.classes]
    if "server" not in said.kinds:
        drawn = [(kind, weight) for kind, weight in drawn if kind is not servers.Server]
    made = {}
    signal.signal(signal.SIGALRM, hangs)
    end, index, count = time.monotonic() + said.seconds, number if said.only is None else said.only, 0
    while time.monotonic() < end and (said.faults is None or count < -(-said.faults // said.jobs)):
        rng = random.Random(f"{said.seed}/{index}")
        kind = rng.choices([kind for kind, _ in drawn], [weight for _, weight in drawn])[0]
        world.told, started = "", spent()
        line = {"fault": index, "class": kind.name}
        signal.alarm(300)
        try:
            if kind not in made:
                made[kind] = kind(world)
            line["done"] = bool(made[kind].fault(rng))
        except Violation as violation:
            line["violation"] = str(violation)
        except Exception:
            line["violation"] = "the campaign itself: " + traceback.format_exc(limit=-4)
        signal.alarm(0)
        line.update(told=world.told, seconds=spent() - started)
        print(json.dumps(line), flush=True)
        if "violation" in line:
            world.dirty = True
        index, count = index + said.jobs, count + 1
    if world.server:
        world.stop_server()


def hangs(*_):
    raise Violation("it hangs")


def spent():
    """Seconds of processor that this job and the processes that it has waited for took."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main():
    said = arguments()
    # In the background of a script, or behind nohup, these are ignored, and whatever is started here would inherit that.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if said.job is not None:
        return job(said)
    if os.geteuid() != 0:
        raise SystemExit("soak: it mounts and attaches: run it as root")
    base = tempfile.mkdtemp(prefix="escapepod-soak.", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started, lines = time.monotonic(), []
    print(f"seed {said.seed}, {said.jobs} jobs, stores: {', '.join(said.kinds)}, in {base}", flush=True)
    jobs = []
    try:
        for number in range(said.jobs):
            argv = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
                    sys.executable, os.path.dirname(os.path.abspath(__file__)), *sys.argv[1:], "--seed", said.seed,
                    "--jobs", str(said.jobs), "--job", str(number), "--base", base]
            with open(f"{base}/{number}.out", "wb") as out:
                jobs.append(subprocess.Popen(argv, stdout=out, preexec_fn=die_with_parent))
        files = [open(f"{base}/{number}.out") for number in range(said.jobs)]
        while True:
            alive = [process.poll() is None for process in jobs]
            lines += [tell(said, json.loads(line)) for file in files for line in whole_lines(file)]
            if not any(alive) or said.first and any("violation" in line for line in lines):
                break
            time.sleep(0.2)
    finally:
        for process in jobs:
            process.kill()
            process.wait()
        shutil.rmtree(base, ignore_errors=True)
    return report(said, lines, time.monotonic() - started, not said.first and any(process.returncode for process in jobs))


def whole_lines(file):
    while True:
        at = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(at)
            return
        yield line


def tell(said, line):
    if "violation" in line:
        kinds = "" if said.kinds == KINDS else f" --kinds {','.join(said.kinds)}"
        classes = f" --classes {','.join(said.classes)!r}" if said.classes else ""
        print(f"VIOLATION: {line['violation']}\n  {line['class']}: {line['told']}\n"
              f"  again: python3 Tests/soak --seed {said.seed} --only {line['fault']}{kinds}{classes}", flush=True)
    return line


def report(said, lines, seconds, broken):
    counts = collections.defaultdict(collections.Counter)
    for line in lines:
        for name in (line["class"], "all"):
            counts[name]["faults"] += 1
            counts[name]["done"] += line.get("done", False)
            counts[name]["violations"] += "violation" in line
            counts[name]["seconds"] += line["seconds"]
    print(f"{'class':26} {'faults':>7} {'called done':>12} {'refused':>8} {'violations':>11} {'CPU ms':>8}")
    for name in sorted(counts, key=lambda name: (name == "all", name)):
        count = counts[name]
        refused = count["faults"] - count["done"] - count["violations"]
        print(f"{name:26} {count['faults']:7} {count['done']:12} {refused:8} {count['violations']:11} "
              f"{count['seconds'] * 1000 / count['faults']:8.0f}")
    total = counts["all"]
    print(f"{total['faults']} faults in {seconds:.0f} s, {total['faults'] * 3600 / seconds:.0f} in an hour, {total['violations']} violations")
    if broken or not total["faults"]:
        print("soak: a job has ended early", file=sys.stderr)
        return 1
    return 1 if total["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
