/// The kinds of store that there are. The next one is a folder beside this file, and a line here.
extension Drivers {
    public static let standard = Drivers([
        DirectoryDriver.self,
        DriveDriver.self,
        DuneSeaDriver.self,
        SSHDriver.self,
    ])
}
