import Fuzzing

@main
enum Main {
    static func main() {
        fuzz([
            "answers": answers,
            "documents": documents,
            "envelope": envelope,
            "flags": flags,
            "frames": frames,
            "histories": histories,
            "history": history,
            "json": json,
            "key-file": keyFile,
            "machines": machines,
            "mountinfo": mountinfo,
            "parts": parts,
            "passphrase": passphrase,
            "receiver": receiver,
            "records": records,
            "sealed-bytes": sealedBytes,
            "sealed-stream": sealedStream,
            "send-stream": sendStream,
            "series": series,
            "transfer": transfer,
            "url": url,
            "wrapped-key": wrappedKey,
        ])
    }
}
