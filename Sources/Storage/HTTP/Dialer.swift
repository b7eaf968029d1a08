/// Makes the connections to an HTTP server that is not reached over the network itself: libcurl connects to a port of ours, and
/// what comes there goes on by other means.
protocol Dialer: AnyObject {
    /// A socket for libcurl to connect to that port with, or -1. Whoever calls it closes it.
    func socket() -> Int32

    /// Takes up the connection of that socket, if it has come; the one before is let go of. Called often while a request is under
    /// way.
    func attend() throws

    /// Why the last connection broke, after it did; nil where nothing is known of that.
    func reason() -> (any Error)?
}
