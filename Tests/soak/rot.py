"""Every bit and every length of a small store."""
import os

from stages import KEY, KEY_NAME, Single
from world import alike, heads, require, sane


class Rot(Single):
    """One bit of one object is another, or the object is cut."""

    name = "rotten stores"

    def fault(self, rng):
        world = self.world
        place = rng.choice(list(world.places.values()))
        files = {**world.trees[place.kind], KEY_NAME: KEY}
        name = rng.choice(sorted(files))
        content = files[name]
        # As often one near an end, where the headers and trailers are.
        at = rng.choice([rng.randrange(len(content)), min(rng.randrange(160), len(content) - 1), max(0, len(content) - 1 - rng.randrange(40))])
        if rng.random() < 0.7:
            bit = rng.randrange(8)
            files[name] = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            what = f"bit {bit} of byte {at} of {len(content)}"
        else:
            files[name] = content[:at]
            what = f"cut from {len(content)} to {at} bytes"
        world.told = f"{place.kind}: {what}: {name}"
        world.reset()
        if world.server:
            world.served_again()
        place.put(files)
        if name == KEY_NAME:
            got = world.run("ep-fetch", "key", *place.words)
            sane(got)
            require(got.status == 65 and not got.out, f"a rotten key is 65: {got}")
            return False
        (_, one), _ = heads(world.trees[place.kind])
        address, kind = name[-64:], name.split("/")[2]
        fetch = ["ep-fetch", "blob", *place.words, address] if kind == "blobs" else \
            ["ep-fetch", "document", *place.words, address]
        got = world.run(*fetch)
        sane(got)
        require(got.out != content, f"gives what is not there: {got}")
        if kind == "blobs":
            require(got.status == 65, f"a rotten blob is 65: {got}")
        elif got.status != 65:
            require(got.status == 0 and got.out == files[name], f"a rotten document is 65, or given as it is: {got}")
        opened = world.run("ep-unseal", "--key", world.path("pod.key"), "--kind", "blob" if kind == "blobs" else "metadata", stdin=got.out)
        require(opened.status == 65, f"opened, although it is rotten: {opened}")
        sane(opened)
        if rng.random() < 0.08:
            self.verify(place, kind, 1 if address == one else 2)
        if rng.random() < 0.08:
            self.restore(place, rng.random() < 0.5)
        return False

    def verify(self, place, kind, generation):
        result = self.world.escapepod("verify", self.world.path(f"{place.kind}.conf"))
        self.world.dirty = True
        sane(result)
        object_ = "blob" if kind == "blobs" else "metadata"
        require(result.status == 65 and f"generation {generation}: the {object_} ".encode() in result.out,
                f"verify does not name the {object_} of generation {generation}: {result}")

    def restore(self, place, verified_first):
        world = self.world
        world.dirty = True
        to = f"{world.new}/pod"
        result = world.escapepod("restore", world.path(f"{place.kind}.conf"), "--to", to, *["--verify-first"] * verified_first)
        sane(result)
        if result.status == 0:
            alike(to, world.committed(place), result)
        else:
            left = os.listdir(world.new)
            # What is whole is kept for the next run, where nobody takes it for a volume.
            fine = not left if verified_first else all(name.startswith(".escapepod-") for name in left)
            require(result.status == 65 and fine, f"refused with 65, and nothing that one could take for whole: {left}: {result}")
