import DuneSeaProtocol
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTPTypes

/// A count in decimal digits and nothing else.
func number(_ text: String) -> UInt64? {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt64(text)
}

extension Request {
    var hasBody: Bool {
        headers[.transferEncoding] != nil || headers[.contentLength].map { $0 != "0" } ?? false
    }

    var wantsProgress: Bool { headers[.uploadProgress] == DuneSeaProtocol.yes }

    func query(_ name: Query) -> String? {
        for pair in (uri.query ?? "").split(separator: "&") where pair.hasPrefix("\(name.rawValue)=") {
            return String(pair.dropFirst(name.rawValue.utf8.count + 1))
        }
        return nil
    }
}

extension Connection {
    var peer: String { channel.remoteAddress?.ipAddress ?? "-" }

    /// Tells a client that asked for it how far its upload has come, and does not wait for it to hear.
    func report(_ offset: UInt64) {
        channel.writeAndFlush(
            HTTPResponsePart.head(
                HTTPResponse(
                    status: .init(.acknowledged),
                    headerFields: [.uploadOffset: "\(offset)"])), promise: nil)
    }

    /// Tells a client that asked first (`Expect: 100-continue`) to send its body.
    func goOn(_ request: Request) async throws {
        guard request.headers[.expect]?.lowercased() == "100-continue" else { return }
        try await channel.writeAndFlush(HTTPResponsePart.head(HTTPResponse(status: .continue)))
    }
}
