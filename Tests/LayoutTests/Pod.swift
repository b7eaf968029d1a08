@testable import Layout

/// A machine with 64 MiB for the firmware, a btrfs, and a swap area behind that, on a disk of 1 GiB.
enum Pod {
    static let root = "3b75f512-c6de-4b37-b51c-5bab59c6da5c"
    static let disk = "902c7cd3-00e2-3747-8511-9eae0c229312"
    private static let mebibyte: Int64 = 1 << 20

    static func disk(
        size: Int64 = 1024 * mebibyte, table: String = "gpt", id: String = disk, used: Int64 = 300 * mebibyte,
        firstType: String = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        swapType: String = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
    ) -> String {
        """
        {"name":"/dev/vda","size":\(size),"sector":512,"table":"\(table)","id":"\(id)","driver":"virtio_blk","partitions":[\
        {"number":1,"start":1048576,"size":67108864,"type":"\(firstType)","uuid":"487313d5-76d1-5a4c-b893-66dd8e794fc1",\
        "name":"EFI system","bootable":false,"content":{"kind":"vfat","uuid":"3345-351A","label":"ESP","used":0,"form":"32",\
        "archive":"efi.tar"},"mount":null},\
        {"number":2,"start":68157440,"size":838860800,"type":"0fc63daf-8483-4772-8e79-3d69d8477de4",\
        "uuid":"3ff1b4ff-1727-b64b-b24c-e67c169e7b41","bootable":false,"content":{"kind":"btrfs","uuid":"\(root)",\
        "label":"root","used":\(used),"form":"crc32c","archive":null},"mount":null},\
        {"number":3,"start":907018240,"size":104857600,"type":"\(swapType)",\
        "uuid":"0154a0fe-5024-154e-8c3a-1c29e1a2545f","bootable":false,"content":{"kind":"swap",\
        "uuid":"5535562e-c483-49d8-b93e-77c3c6b89808","label":"","used":0,"form":"","archive":null},"mount":null}]}
        """
    }

    static func text(disk: String = disk(), firmware: String = #"["uefi"]"#) -> String {
        """
        {"version":1,"host":"pod","architecture":"x86_64","kernel":"6.1","date":"2026-11-28T05:14:28Z","firmware":\(firmware),\
        "disk":\(disk),"subvolumes":[\
        {"label":"root","filesystem":"\(root)","path":"@","mount":"/","id":256,"default":true,"folder-time":0},\
        {"label":"home","filesystem":"\(root)","path":"@home","mount":"/home","id":257,"default":false,"folder-time":0}],\
        "containers":[],"swapfiles":[{"filesystem":"\(root)","subvolume":"@swap","name":"swapfile","size":8388608,\
        "uuid":"8a1c0a5e-31f3-4b0e-b0aa-6f7a2f0e4b11"}],"left-out":[],"boot-entry":null}
        """
    }

    static func machine(_ text: String = text()) throws -> Machine {
        try Machine(parsing: Array(text.utf8), at: "machine.json")
    }
}
