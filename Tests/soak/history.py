"""history: one volume, backed up and pruned through years in which clocks jump and runs die; what is kept comes back.

usage: history.py [--generations N] [--seed S] [--kinds KIND,…] [--restore N]

Every fifth generation the store is pruned, and every third of those runs is killed at each of its steps first. In the end each
backup that is listed as kept, or so many of them, is restored and held against what the volume was then. The clock and the time
zone that the tools see are the campaign's. Tools and server are found as those of soak are. Root only.
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from world import KINDS, Violation, World, alike, die_with_parent, likeness, require, sane

DAY = 86400
RULES = "keep=3h 5d 3w 4m 2y\nkeep_last=2\nminimum_age=2d\nfull_every=12w\ndifferential_every=2w\n"
ZONES = ["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"]
# What every tool does before anything else: it counts, and at the step that is to be the last it ends the whole run, or lets the
# tool begin and ends it a moment later.
COUNT = """
step=$(($(cat {base}/step) + 1)); echo "$step" >{base}/step
if [ "$step" = "$(cat {base}/last)" ]; then
    moment=$(cat {base}/moment)
    [ "$moment" != 0 ] || kill -KILL 0
    (sleep "$moment"; kill -KILL 0) &
fi
"""
# And what those do that would look at the clock.
CLOCKS = {
    "ep-plan": 'exec "$real" "$@" --now "$(cat {base}/clock)"\n',
    "ep-meta": '[ "$1" != retain ] || exec "$real" "$@" --now "$(cat {base}/clock)"\n',
    "ep-snap": """
if [ "$1" = create ]; then
    said=$("$real" "$@") || exit
    echo "$said" | sed "s/\\"created\\":\\"[^\\"]*\\"/\\"created\\":\\"$(date -u -d "@$(cat {base}/clock)" +%Y-%m-%dT%H:%M:%SZ)\\"/"
    exit
fi
""",
}


class Years:
    """The history of one store."""

    def __init__(self, world, place, rng):
        self.world, self.place, self.rng = world, place, rng
        self.conf = world.path(f"{place.kind}.conf")
        with open(self.conf, "a") as file:
            file.write(RULES)
        self.put(step=0, last=0, moment=0, clock=int(time.time()))
        for tool in world.real:
            world.arm(tool, (COUNT + CLOCKS.get(tool, "")).format(base=world.base))
        # The two that every world begins with.
        self.volumes = {}
        self.newest = 2
        self.pruned = set()
        self.killed = self.refused = 0

    def put(self, **values):
        for name, value in values.items():
            with open(self.world.path(name), "w") as file:
                file.write(f"{value}\n")

    def clock(self):
        with open(self.world.path("clock")) as file:
            return int(file.read())

    def pass_time(self):
        """Mostly forward by hours or days; sometimes far, sometimes back."""
        span = self.rng.choices([(0, 2 * 3600), (3600, 30 * 3600), (DAY, 9 * DAY), (20 * DAY, 70 * DAY), (-3 * DAY, 0)],
                                [20, 50, 20, 3, 7])[0]
        self.put(clock=self.clock() + self.rng.randint(*span))
        self.world.env["TZ"] = self.rng.choice(ZONES)

    def back_up(self):
        name = f"small-{self.rng.randrange(12)}"
        self.world.write(name, self.rng.randbytes(self.rng.randrange(1, 3000)))
        if self.rng.random() < 0.1:
            os.remove(f"{self.world.vol}/{name}")
        result = self.world.escapepod("backup", self.conf)
        require(result.status == 0, f"a backup: {result}")
        self.newest += 1
        self.volumes[self.newest] = likeness(self.world.vol)

    def escapepod(self, *words, last=0, moment="0"):
        self.put(step=0, last=last, moment=moment)
        result = self.world.escapepod(words[0], self.conf, *words[1:])
        sane(result, killed=last > 0)
        return result

    def listed(self):
        """The generations that the list shows as pruned; all are in it."""
        result = self.escapepod("list")
        lines = [line.split() for line in result.out.decode().splitlines()[1:]]
        require([int(line[0]) for line in lines] == list(range(1, self.newest + 1)), f"not every backup is listed: {result}")
        return {int(line[0]) for line in lines if "pruned" in line}

    def prune(self, is_killed):
        """Kills it at each step, if that is wanted, then lets it end; what was pruned once stays so."""
        step = 1
        while is_killed:
            result = self.escapepod("prune", last=step, moment=self.rng.choice(["0", "0.004", "0.02"]))
            if result.status >= 0:
                break
            self.killed += 1
            step += 1
        age = self.rng.choice(["0", "7d"])
        before = self.listed()
        result = self.escapepod("prune", "--trash-age", age)
        if result.status == 65 and b"but the newest backup is of" in result.err:
            self.refused += 1
            require(self.listed() == before, f"no decision, and yet something changed: {result}")
            return
        require(result.status == 0, f"a prune: {result}")
        pruned = self.listed()
        require(self.pruned <= pruned and self.newest not in pruned, f"what was pruned is not: {result}")
        if age != "0" and pruned != self.pruned and self.rng.random() < 0.3:
            result = self.escapepod("prune", "--undo")
            require(result.status == 0, f"an undo: {result}")
            back = self.listed()
            require(back < pruned, f"nothing came back: {result}")
            result = self.escapepod("prune", "--trash-age", age)
            require(result.status == 0 and self.listed() == pruned, f"again, and it is another decision: {result}")
        self.pruned = pruned

    def prove(self, most):
        """Every backup that is listed as kept comes back as it was, or so many of them."""
        kept = sorted(set(self.volumes) - self.listed())
        result = self.escapepod("verify")
        require(result.status == 0, f"verify: {result}")
        for generation in sorted(self.rng.sample(kept, min(most or len(kept), len(kept)))):
            at = f"{self.world.new}/back"
            result = self.escapepod("restore", "--to", at, "--generation", str(generation))
            require(result.status == 0, f"generation {generation}: {result}")
            alike(at, self.volumes[generation], result)
            subprocess.run(["btrfs", "-q", "subvolume", "delete", *(f"{folder}/{name}" for folder, names, _ in os.walk(f"{at}/.escapepod")
                            for name in names if folder.count("/") == at.count("/") + 2), at], check=True)
        return kept

    def run(self, generations, most):
        prunes = 0
        while self.newest < generations:
            self.pass_time()
            self.back_up()
            if self.newest % 5 == 0:
                prunes += 1
                if self.rng.random() < 0.2:
                    self.put(clock=self.clock() - self.rng.randint(1, 2 * DAY))
                self.prune(prunes % 3 == 0)
        kept = self.prove(most)
        print(f"{self.place.kind}: {self.newest} generations, {len(kept)} kept, {prunes} prunes, {self.killed} killed, "
              f"{self.refused} refused for the clock", flush=True)
        require(prunes < 3 or self.killed > 5, "no run was killed")


def main():
    parser = argparse.ArgumentParser(prog="history.py", description=__doc__.split("\n")[0])
    parser.add_argument("--generations", type=int, default=400)
    parser.add_argument("--seed", default=None)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS, help="stores: directory, label, server")
    parser.add_argument("--restore", type=int, help="so many in the end; without it all that are kept")
    parser.add_argument("--base", help=argparse.SUPPRESS)
    said = parser.parse_args()
    seed = said.seed or str(random.randrange(10**9))
    if os.geteuid() != 0:
        raise SystemExit("history: it mounts and attaches: run it as root")
    if said.base:
        os.umask(0o077)
        try:
            for kind in said.kinds:
                world = World(f"{said.base}/{kind}", [kind], serving=["--keep-at-least", "0", "--prune-share", "100%"])
                Years(world, world.places[kind], random.Random(f"{seed}/{kind}")).run(said.generations, said.restore)
                if world.server:
                    world.stop_server()
        except Violation as violation:
            raise SystemExit(f"VIOLATION: {violation}\n  again: python3 Tests/soak/history.py --seed {seed} --kinds {kind} "
                             f"--generations {said.generations}")
        return
    base = tempfile.mkdtemp(prefix="escapepod-history.", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {seed}", flush=True)
    inside = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
         os.path.abspath(__file__), *sys.argv[1:], "--seed", seed, "--base", base], preexec_fn=die_with_parent)
    try:
        raise SystemExit(inside.wait())
    finally:
        inside.kill()
        inside.wait()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
