import Glibc
import NIOCore
import Synchronization

/// The connections that have shown no valid token yet, of which each address may have so many: the others keep their turn,
/// however many and slow those of one client are.
final class Strangers: Sendable {
    private struct State {
        var count: [[UInt8]: Int] = [:]
        var address: [ObjectIdentifier: [UInt8]] = [:]
    }

    private let state = Mutex(State())
    private let most: Int

    init(most: Int) { self.most = most }

    /// Counts a new connection until it leaves; false where its address has too many.
    func enter(_ channel: any Channel) -> Bool {
        guard let address = channel.remoteAddress.flatMap(Strangers.client) else { return true }
        return state.withLock { state in
            guard state.count[address, default: 0] < most else { return false }
            state.count[address, default: 0] += 1
            state.address[ObjectIdentifier(channel)] = address
            return true
        }
    }

    /// The connection has shown a valid token, or ends.
    func leave(_ channel: any Channel) {
        state.withLock { state in
            guard let address = state.address.removeValue(forKey: ObjectIdentifier(channel)) else { return }
            let count = (state.count[address] ?? 1) - 1
            state.count[address] = count > 0 ? count : nil
        }
    }

    /// What one client can be told by: an IPv4 address, or the network of an IPv6 address, of which a client has all.
    private static func client(_ address: SocketAddress) -> [UInt8]? {
        guard let text = address.ipAddress else { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, text, &bytes) == 1 else { return Array(text.utf8) }
        // RFC 4291, 2.5.5.2: an IPv4 address, as a listener for both kinds sees it.
        let isMapped = bytes.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
        return isMapped ? Array(bytes.suffix(4)) : Array(bytes.prefix(8))
    }
}

/// Closes a new connection of an address that has too many.
final class Doorway: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private let strangers: Strangers
    private let wasTurnedAway: @Sendable () -> Void

    init(_ strangers: Strangers, wasTurnedAway: @escaping @Sendable () -> Void) {
        self.strangers = strangers
        self.wasTurnedAway = wasTurnedAway
    }

    func handlerAdded(context: ChannelHandlerContext) {
        guard !strangers.enter(context.channel) else { return }
        wasTurnedAway()
        context.close(promise: nil)
    }

    // Before whoever counts all connections hears that this one is closed, and lets in the next.
    func handlerRemoved(context: ChannelHandlerContext) { strangers.leave(context.channel) }
}
