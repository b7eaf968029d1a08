import Glibc
import Plumbing
import Testing

@testable import Storage

@Suite(.timeLimit(.minutes(5))) struct Rings {
    private final class Log: @unchecked Sendable {
        private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private var seen: [UInt8] = []

        init() { pthread_mutex_init(lock, nil) }
        deinit { lock.deallocate() }

        func add(_ byte: UInt8) {
            pthread_mutex_lock(lock)
            seen.append(byte)
            pthread_mutex_unlock(lock)
        }

        var all: [UInt8] {
            pthread_mutex_lock(lock)
            defer { pthread_mutex_unlock(lock) }
            return seen
        }
    }

    private func drain(_ ring: Ring, _ consumer: Int, holdingBack: Bool, into log: Log) throws -> Worker {
        try Worker {
            while let bytes = try? ring.next(for: consumer, holdingBack: holdingBack) {
                log.add(bytes[0])
                ring.release(by: consumer)
            }
        }
    }

    private func publish(_ numbers: Range<UInt8>, to ring: Ring) throws {
        for number in numbers {
            let buffer = try ring.claim()
            #expect(Int(bitPattern: buffer.baseAddress) % Ring.alignment == 0)
            buffer[0] = number
            ring.publish(buffer.count)
        }
    }

    @Test func theLastTwoWaitForApproval() throws {
        let (ring, eager, patient) = (Ring(consumers: 2), Log(), Log())
        let workers = [
            try drain(ring, 0, holdingBack: false, into: eager),
            try drain(ring, 1, holdingBack: true, into: patient),
        ]
        try publish(0..<40, to: ring)
        ring.end()
        workers[0].join()
        #expect(eager.all == Array(0..<40))
        while patient.all.count < 38 { usleep(1000) }
        usleep(20_000)
        #expect(patient.all == Array(0..<38))
        ring.approve()
        workers[1].join()
        #expect(patient.all == Array(0..<40))
    }

    @Test func aFailureFreesEveryoneAndKeepsTheTail() throws {
        let (ring, patient) = (Ring(consumers: 1), Log())
        let worker = try drain(ring, 0, holdingBack: true, into: patient)
        try publish(0..<2, to: ring)
        ring.end()
        ring.fail(Failure(.badData, "first", at: nil))
        ring.fail(Failure(.io, "second", at: nil))
        worker.join()
        #expect(patient.all.isEmpty)
        #expect(status { _ = try ring.claim() } == .badData)
    }
}
