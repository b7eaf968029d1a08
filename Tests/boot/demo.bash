# The demonstration with a whole machine: sourced by Tests/demo, which has a store by then.
# shellcheck shell=bash disable=SC2153,SC2154

. "$BOOT/machine.bash"

step "A machine: a small Debian on a disk of 1 GiB, started by ${FIRMWARE^^}"
note "debootstrap, the first time; a minute or two"
make_machine old.img "$FIRMWARE" 1G
mount_machine old.img at
note "$(find at -xdev | wc -l) files, on $(btrfs subvolume list at | wc -l) subvolumes, with a swap area"
note "it starts in qemu, and prints what it is"
expected_report at >expected
unmount_machine at
boots old.img virtio

step "Set up, and backed up twice"
mount_machine old.img at
show escapepod init ./pod.conf --system --volume "$place/at" "${store[@]}" --domain pod.example.org
show escapepod backup ./pod.conf
seq 100000 >at/srv/data/later
rm at/home/bytes
show escapepod backup ./pod.conf
escapepod sheet ./pod.conf >paper
expected_report at >expected
unmount_machine at

step "The machine is gone"
rm old.img pod.conf pod.key
export ESCAPEPOD_STATE=$place/new-state
note "left are $said, and the sheet"

step "A new disk of 1.5 GiB: rebuilt from $said and the sheet alone"
(umask 077 && sed -n '/^  EPOD-KEY-1 /p' paper >KEYFILE)
truncate -s 1536M new.img
disk=$(losetup -f --show new.img)
read -ra command <<<"$(sed -n '/^  escapepod rebuild/,/--disk DISK/p' paper | tr -d '\\\n' | sed "s|--disk DISK.*|--disk $disk|")"
# What started this machine need not be what starts that one.
show "${command[@]}" "${store[@]:2}" --firmware "$FIRMWARE"
restored=$took
detach_disk "$disk"

step "It starts, from another kind of disk"
boots new.img nvme

printf '\n%sBack from total loss in %s, from %s and a sheet of paper; and it has started.%s\n' "$bold" "$(seconds "$restored")" "$said" \
    "$plain"
