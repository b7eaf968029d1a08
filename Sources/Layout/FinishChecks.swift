import CLinux
import Glibc
import Plumbing

/// Whether a machine that came back can start.
extension Finish {
    /// File systems that are named and not there.
    func missing(_ root: borrowing Descriptor) throws -> [String] {
        var known: Set<String> = []
        for partition in plan.partitions {
            let names = [
                partition.uuid, partition.name, partition.encryption?.uuid, partition.encryption?.label,
                partition.content?.uuid, partition.content?.label,
            ]
            for text in names {
                if let text, !text.isEmpty { known.insert(text.lowercased()) }
            }
            // The UUID that Linux makes up for a partition of a DOS table.
            known.insert("\(plan.machine.disk.id.dropFirst(2))-\(partition.number.padded(to: 2, radix: 16))")
        }
        var concerns: [String] = []
        for file in ["etc/fstab", "etc/crypttab"] {
            let text = String(decoding: try read(file, in: root) ?? [], as: UTF8.self)
            for name in FileSystemTable.sources(of: text, column: file == "etc/fstab" ? 0 : 1)
            where !known.contains(name.lowercased()) {
                concerns.append("/\(file) names \(printable(name)), which is not on this disk")
            }
        }
        let table = String(decoding: try read("etc/fstab", in: root) ?? [], as: UTF8.self)
        for name in FileSystemTable.subvolumes(of: table) {
            let isThere =
                plan.machine.subvolumes.contains { $0.path == name }
                || plan.machine.containers.contains { $0.path == name }
            if !isThere {
                concerns.append("/etc/fstab names the subvolume \(printable(name)), which has not come back")
            }
        }
        for (file, text) in try loaderFiles(root) {
            for name in Set(text.split { !($0.isHexDigit || $0 == "-") }.map(String.init).filter(\.isUUID))
                .sorted()
            where !known.contains(name.lowercased()) {
                concerns.append("/\(file) names \(name), which is not on this disk")
            }
            if text.contains("subvolid=") {
                concerns.append("/\(file) names a subvolume by its id, which is another one now")
            }
            if text.contains("resume_offset="), !plan.machine.swapFiles.isEmpty {
                concerns.append(
                    "/\(file) names the place of a swapfile, which is another one now: btrfs inspect-internal map-swapfile -r"
                )
            }
        }
        return concerns
    }

    /// What boot loaders read: the name of each file and its text, as far as it lies in the root, or in an archive.
    private func loaderFiles(_ root: borrowing Descriptor) throws -> [(String, String)] {
        var files: [(String, String)] = []
        for file in ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"] {
            if let bytes = try read(file, in: root) {
                files.append((file, String(decoding: bytes, as: UTF8.self)))
            }
        }
        for partition in plan.partitions {
            guard let archive = partition.content?.archive else { continue }
            let entries = try listing(archive).filter { name in
                ["grub/grub.cfg", "grub2/grub.cfg"].contains(name)
                    || name.hasPrefix("loader/entries/") && name.hasSuffix(".conf")
            }
            // A hostile archive may have any number.
            for entry in entries.prefix(64) {
                let command = [
                    "tar", "--extract", "--to-stdout", "--file=\(capsule)/\(archive)", "./\(entry)",
                ]
                guard let text = try? Program.output(of: command) else { continue }
                let name = "\((partition.mount ?? "/efi").dropFirst())/\(printable(entry))"
                files.append((name, String(decoding: text, as: UTF8.self)))
            }
        }
        return files
    }

    /// The UUID of the encrypted partition that a line of crypttab(5) is about; nil where it is none of this disk's.
    func encrypted(_ fields: [String]) -> String? {
        guard fields.count > 1 else { return nil }
        return plan.partitions.compactMap { $0.encryption?.uuid.lowercased() }.first {
            fields[1].lowercased().contains($0)
        }
    }

    /// What has opened an encrypted partition by itself, and is none of its keys any more.
    func keys(_ root: borrowing Descriptor) throws -> [String] {
        let text = String(decoding: try read("etc/crypttab", in: root) ?? [], as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let fields = FileSystemTable.fields(String(line)).map(String.init)
            guard let uuid = encrypted(fields) else { return nil }
            let device = "/dev/disk/by-uuid/\(uuid)"
            var command: [String]?
            if fields.count > 2, fields[2].first == "/" {
                command = ["cryptsetup", "luksAddKey", device, fields[2]]
            } else if fields.count > 3 {
                command =
                    fields[3].split(separator: ",").compactMap { option in
                        ["tpm2-device=", "fido2-device=", "pkcs11-uri="].contains { option.hasPrefix($0) }
                            ? [
                                "systemd-cryptenroll",
                                "--\(option.replacing("pkcs11-uri=", with: "pkcs11-token-uri="))", device,
                            ] : nil
                    }.first
            }
            return command.map {
                "/etc/crypttab opens \(printable(fields[0])) by what is no key of it any more; on the machine itself:  "
                    + printable(shellWords($0))
            }
        }
    }

    /// Every kernel needs its modules.
    func kernels(_ root: borrowing Descriptor) throws -> [String] {
        var names: [String] = []
        if let boot = plan.partitions.first(where: { $0.mount == "/boot" }),
            let archive = boot.content?.archive
        {
            names = try listing(archive)
        } else {
            let number = linux_open_beneath(root.number, "boot", O_RDONLY | O_DIRECTORY)
            if number >= 0 { names = try Descriptor(owning: number, name: "boot").names() }
        }
        let isOnEFI = try plan.partitions.compactMap { $0.content?.archive }.contains {
            try listing($0).contains { name in
                ["vmlinuz", "linux"].contains { name.lowercased().contains($0) }
            }
        }
        guard isOnEFI || names.contains(where: { ($0.split(separator: "/").last ?? "").hasPrefix("vmlinu") })
        else { return ["there is no kernel in /boot"] }
        let versions = names.compactMap { name -> String? in
            let last = String(name.split(separator: "/").last ?? "")
            return last.hasPrefix("vmlinuz-") ? String(last.dropFirst(8)) : nil
        }
        return versions.filter { version in
            version.isPlainPath
                && !["lib/modules", "usr/lib/modules"].contains { place in
                    let number = linux_open_beneath(
                        root.number, "\(place)/\(version)", O_RDONLY | O_DIRECTORY)
                    if number >= 0 { close(number) }
                    return number >= 0
                }
        }.map { "the kernel \(printable($0)) has no modules" }
    }

    private func listing(_ archive: String) throws -> [String] {
        let output = try Program.output(of: ["tar", "--list", "--file=\(capsule)/\(archive)"])
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map {
            $0.hasPrefix("./") ? String($0.dropFirst(2)) : String($0)
        }
    }

    /// Where a UEFI looks: at its own entries, and for a disk that it does not know at one path.
    func loader() throws -> [String] {
        // The firmware here is no business of a copy's.
        guard plan.firmware == .uefi, !plan.isDrill else { return [] }
        guard let partition = plan.partitions.first(where: { isEFISystem($0.type) }),
            let archive = partition.content?.archive
        else { return ["there is no EFI system partition with a boot loader"] }
        let files = try listing(archive).map { $0.lowercased() }
        let isFallback = files.contains { $0.hasPrefix("efi/boot/boot") && $0.hasSuffix(".efi") }
        guard let entry = plan.machine.bootEntry else {
            return isFallback
                ? []
                : [
                    "no loader is where every UEFI looks, in EFI/BOOT, and the firmware's own entry is not known"
                ]
        }
        let command = [
            "efibootmgr", "--quiet", "--create", "--disk", plan.target.path, "--part", "\(partition.number)",
            "--label", entry.label, "--loader", entry.loader,
        ]
        if exists("/sys/firmware/efi/efivars") {
            // Of a run before this one.
            let known =
                (try? Program.output(of: ["efibootmgr", "-v"])).map { String(decoding: $0, as: UTF8.self) }
                ?? ""
            let isKnown = known.split(separator: "\n").contains {
                $0.contains(entry.loader) && $0.lowercased().contains(partition.uuid ?? "no UUID")
            }
            if isKnown || (try? Program.run(command)) != nil { return [] }
        }
        return isFallback
            ? [] : ["the firmware does not know the loader; on the machine itself:  \(shellWords(command))"]
    }
}
